"""The fake Gemini is held against Google's own SDK, talking to it directly."""

from __future__ import annotations

import httpx2
import pytest
from google import genai
from google.genai import errors, types

from tests.upstream import FakeUpstream, Script, ToolCall
from tests.upstream.dialects.gemini_generate import SIGNATURE, refuses
from tests.upstream.dialects.openai_models import MODELS

MODEL = "gemini-3.8-flash"


@pytest.fixture
async def fake():
    async with FakeUpstream() as fake:
        fake.script(Script(status=400), when=refuses, times=None)
        yield fake


@pytest.fixture
async def models(fake):
    http = httpx2.AsyncClient()
    url = f"http://127.0.0.1:{fake.port}"
    options = types.HttpOptions(base_url=url, api_version="v1beta", httpx_async_client=http)
    client = genai.Client(api_key="k", http_options=options)
    yield client.aio.models
    await http.aclose()
    client.close()


async def test_whole_answer(fake, models):
    answer = await models.generate_content(model=MODEL, contents="hi", config={"candidate_count": 2})
    assert answer.text == "Hello, world!"
    assert [candidate.finish_reason for candidate in answer.candidates] == [types.FinishReason.STOP] * 2
    assert (answer.usage_metadata.total_token_count, answer.model_version) == (11, MODEL)
    [seen] = fake.seen
    assert (seen.path, seen.headers["x-goog-api-key"]) == (f"/v1beta/models/{MODEL}:generateContent", "k")


async def test_streamed_answer(fake, models):
    fake.script(Script(reasoning=("hm",)))
    chunks = [chunk async for chunk in await models.generate_content_stream(model=MODEL, contents="hi")]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    assert "".join(part.text for part in parts if not part.thought) == "Hello, world!"
    assert [part.text for part in parts if part.thought] == ["hm"]
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.total_token_count == 11
    assert fake.seen[0].request.target.endswith(":streamGenerateContent?alt=sse")


async def test_a_tool_call_and_its_result(fake, models):
    """What the SDK sends back of the answer is what the rules of the fake ask for: the signature, the name, the id."""
    fake.script(Script(tool_calls=(ToolCall("weather"), ToolCall("time", ("{}",), "call_2"))))
    chat = [types.Content(role="user", parts=[types.Part(text="hi")])]
    chunks = [chunk async for chunk in await models.generate_content_stream(model=MODEL, contents=chat)]
    said = chunks[0].candidates[0].content
    assert [(call.id, call.name, call.args) for call in chunks[0].function_calls] == [
        ("call_1", "weather", {"city": "Paris"}),
        ("call_2", "time", {}),
    ]
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": 1}))
        for call in chunks[0].function_calls
    ]
    chat += [said, types.Content(role="user", parts=results)]
    assert (await models.generate_content(model=MODEL, contents=chat)).text == "Hello, world!"
    sent = fake.seen[1].request.json["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in sent] == [SIGNATURE, None]


@pytest.mark.parametrize(
    ("model", "spoil"),
    [
        (MODEL, lambda chat: chat[1].parts[0].__setattr__("thought_signature", None)),
        ("gemini-2.5-flash", lambda chat: None),
        (MODEL, lambda chat: chat.pop(0)),
        (MODEL, lambda chat: chat[2].parts.pop()),
    ],
    ids=["no signature", "an id that is not known", "the model begins", "a result is missing"],
)
async def test_the_fake_refuses_what_gemini_refuses(models, model, spoil):
    call = types.Part(function_call=types.FunctionCall(id="a", name="f", args={}), thought_signature=b"s")
    result = types.Part(function_response=types.FunctionResponse(id="a", name="f", response={}))
    other = types.Part(text="x")
    chat = [
        types.Content(role=role, parts=list(parts))
        for role, parts in (("user", (other,)), ("model", (call,)), ("user", (result,)))
    ]
    spoil(chat)
    if not chat[-1].parts:
        chat[-1].parts.append(other)
    with pytest.raises(errors.ClientError):
        await models.generate_content(model=model, contents=chat)


async def test_errors_before_and_inside_a_stream(fake, models):
    fake.script(Script(status=429, error={"message": "slow"}))
    with pytest.raises(errors.ClientError, match="slow") as caught:
        await models.generate_content(model=MODEL, contents="hi")
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    fake.script(Script(error={"message": "boom", "code": 503, "status": "UNAVAILABLE"}, error_after=2))
    with pytest.raises(errors.ServerError, match="boom"):
        [chunk async for chunk in await models.generate_content_stream(model=MODEL, contents="hi")]
    assert fake.seen[-1].frames == 3


async def test_models(models):
    listed = [model async for model in await models.list()]
    assert [model.name for model in listed] == [f"models/{name}" for name in MODELS]
    assert listed[0].input_token_limit == 1_048_576
