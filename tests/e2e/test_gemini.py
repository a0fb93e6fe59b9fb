"""Gemini behind OpenAI's face: the official SDK through the proxy to a fake that Google's own SDK agrees with."""

from __future__ import annotations

import json

import openai
import pydantic
import pytest

from tests.e2e.harness import CANARY, document, upstream
from tests.upstream import Script, ToolCall
from tests.upstream.dialects.gemini_generate import SIGNATURE, refuses
from tests.upstream.dialects.openai_models import MODELS

NEW, OLD = "gemini-3.8-flash", "gemini-2.5-flash"
HI = {"role": "user", "content": "hi"}
ASKED = {"model": NEW, "messages": [{"role": "system", "content": "Be brief."}, HI]}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")]
BOTH = (ToolCall("a", id="fc-1"), ToolCall("b", ('{"zo', 'ne":"CET"}'), id="fc-2"))


@pytest.fixture
async def proxy(serve, one):
    one.script(Script(status=400), when=refuses, times=None)
    return await serve(document({"gemini": upstream(one, provider="gemini")}))


@pytest.fixture
async def sdk(proxy):
    async with proxy.sdk() as client:
        yield client


def sent(fake):
    """What the upstream was asked last."""
    return fake.seen[-1].request.json


async def test_a_whole_answer(one, proxy):
    answer = await proxy.post(
        "/v1/chat/completions", ASKED | {"max_tokens": 50, "stop": ["END"], "logit_bias": {"1": 2}}
    )
    assert (answer.status, answer.text) == (200, "Hello, world!"), answer.body
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert answer.json["usage"]["total_tokens"] == 11
    assert answer.headers["x-failsoft-mode"] == "translate"
    assert "logit_bias" in answer.headers["x-failsoft-lossy"]
    [seen] = one.seen
    assert seen.request.target == f"/v1/models/{NEW}:generateContent"
    assert seen.headers["x-goog-api-key"] == CANARY
    assert "authorization" not in seen.headers
    assert sent(one) == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {
            "maxOutputTokens": 50,
            "stopSequences": ["END"],
            "thinkingConfig": {"includeThoughts": True},
        },
    }


async def test_a_stream(one, sdk):
    one.script(Script(reasoning=("let me", " see")))
    options = {"include_usage": True}
    chunks = [c async for c in await sdk.chat.completions.create(**ASKED, stream=True, stream_options=options)]
    assert one.seen[0].request.target == f"/v1/models/{NEW}:streamGenerateContent?alt=sse"
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "Hello, world!"
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "let me see"
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [11]
    assert {chunk.model for chunk in chunks} == {NEW}


@pytest.mark.parametrize("model", [NEW, OLD])
async def test_two_parallel_calls_in_a_stream_and_the_turn_with_their_results(one, sdk, model):
    """The second turn obeys the rules of each generation: signatures and ids from 3 on, no ids before."""
    made = BOTH if model == NEW else tuple(ToolCall(call.name, call.pieces, "") for call in BOTH)
    one.script(Script(tool_calls=made), when=lambda request: not refuses(request))
    asked = ASKED | {"model": model, "tools": TOOLS}
    async with sdk.chat.completions.stream(**asked) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    said = final.choices[0].message
    assert [(call.function.name, json.loads(call.function.arguments)) for call in said.tool_calls] == [
        ("a", {"city": "Paris"}),
        ("b", {"zone": "CET"}),
    ]
    assert len({call.id for call in said.tool_calls}) == 2
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": text}
        for call, text in zip(reversed(said.tool_calls), ('{"t": 20}', "sunny"), strict=True)
    ]
    turn = said.model_dump(exclude_none=True, include={"role", "tool_calls"})
    turn["tool_calls"] = [
        call.model_dump(include={"id", "type", "extra_content"})
        | {"function": call.function.model_dump(include={"name", "arguments"})}
        for call in said.tool_calls
    ]
    answer = await sdk.chat.completions.create(**asked | {"messages": [*ASKED["messages"], turn, *results]})
    assert answer.choices[0].message.content == "Hello, world!"
    _, calls, told = sent(one)["contents"]
    assert [part.get("thoughtSignature") for part in calls["parts"]] == [SIGNATURE, None]
    results = [part["functionResponse"] for part in told["parts"]]
    assert [(one["name"], one["response"]) for one in results] == [("a", {"output": "sunny"}), ("b", {"t": 20})]
    assert [one.get("id") for one in results] == ([call.id for call in BOTH] if model == NEW else [None, None])


async def test_calls_that_another_vendor_made_get_the_stand_in(one, proxy):
    call = {"id": "call_x", "type": "function", "function": {"name": "a", "arguments": "{}"}}
    turns = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_x", "content": "1"}]
    body = ASKED | {"messages": [HI, *turns], "tools": TOOLS}
    answer = await proxy.post("/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    assert "signature" in answer.headers["x-failsoft-lossy"]


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


async def test_a_schema_is_held_by_the_vendor(one, sdk):
    one.script(Script(deltas=('{"city":"Paris",', '"degrees":20}')))
    answer = await sdk.chat.completions.parse(**ASKED, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Paris", degrees=20)
    config = sent(one)["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"].keys() == {"city", "degrees"}


async def test_pictures(one, sdk):
    pictures = ("data:image/png;base64,iVBORw0KGgo=", "https://example.org/a.webp?x=1")
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    await sdk.chat.completions.create(
        model=NEW, messages=[{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}]
    )
    assert sent(one)["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"fileUri": "https://example.org/a.webp?x=1", "mimeType": "image/webp"}},
        {"text": "?"},
    ]


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        (NEW, "none", {"thinkingLevel": "LOW", "includeThoughts": True}),
        (NEW, "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (OLD, "none", {"thinkingBudget": 0}),
        (OLD, "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
    ],
)
async def test_effort(one, sdk, model, effort, thinking):
    await sdk.chat.completions.create(**ASKED | {"model": model}, reasoning_effort=effort)
    assert sent(one)["generationConfig"]["thinkingConfig"] == thinking


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_prompt_is_an_answer(one, proxy, stream):
    """It is not put to the next upstream, nor is it an error."""
    told = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}
    body = json.dumps(told).encode()
    one.script(Script(chunks=(b"data: " + body + b"\n\n",)) if stream else Script(body=body))
    answer = await proxy.post("/v1/chat/completions", ASKED | {"stream": stream})
    assert answer.status == 200
    assert answer.text == ""
    assert b'"finish_reason":"content_filter"' in answer.body


async def test_typed_errors(one, proxy):
    sdk = proxy.sdk(default_headers={"x-failsoft-offline": "never"})
    one.script(Script(status=400, error={"message": "Invalid value at 'contents'", "status": "INVALID_ARGUMENT"}))
    with pytest.raises(openai.BadRequestError, match="Invalid value at 'contents'"):
        await sdk.chat.completions.create(**ASKED)
    with pytest.raises(openai.BadRequestError, match=r"messages\[0\]"):
        await sdk.chat.completions.create(model=NEW, messages=[{"role": "tool", "tool_call_id": "x", "content": "1"}])
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "46s"}
    one.script(Script(status=429, error={"message": "slow", "details": [delay]}))
    with pytest.raises(openai.RateLimitError) as throttled:
        await sdk.chat.completions.create(**ASKED)
    assert throttled.value.response.headers["retry-after"] == "46"
    one.script(Script(status=400, error={"message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}))
    with pytest.raises(openai.InternalServerError) as caught:
        await sdk.chat.completions.create(**ASKED | {"model": "gemini-2.5-flash"})
    assert caught.value.code == "upstream_auth"
    await sdk.close()


async def test_a_stream_that_breaks_says_so(one, sdk):
    one.script(Script(error={"message": "boom", "code": 503, "status": "UNAVAILABLE"}, error_after=2))
    with pytest.raises(openai.APIError) as caught:
        [chunk async for chunk in await sdk.chat.completions.create(**ASKED, stream=True)]
    assert caught.value.code == "stream_interrupted"


async def test_a_model_that_fails_at_its_call_moves_on(serve, one, two):
    one.script(Script(deltas=(), finish="MALFORMED_FUNCTION_CALL"), times=None)
    proxy = await serve(document({"gemini": upstream(one, provider="gemini"), "two": upstream(two)}))
    for stream in (False, True):
        answer = await proxy.post("/v1/chat/completions", ASKED | {"stream": stream})
        assert (answer.headers["x-failsoft-upstream"], answer.text) == ("two", "Hello, world!")


async def test_legacy_completions_cross_too(proxy, one):
    answer = await proxy.post("/v1/completions", {"model": NEW, "prompt": ["a", "b"], "n": 2})
    assert [choice["text"] for choice in answer.json["choices"]] == ["Hello, world!"] * 4
    assert [seen.request.json["contents"][0]["parts"][0]["text"] for seen in one.seen] == ["a", "b"]


async def test_its_models_are_listed(sdk, one):
    listed = [model.id async for model in await sdk.models.list()]
    assert {f"gemini/{name}" for name in MODELS} <= set(listed)
    assert "/v1/models?pageSize=1000" in {seen.request.target for seen in one.everything}
