"""The official SDK's chat completions, answered by an upstream that takes tools on its responses endpoint only."""

from __future__ import annotations

import base64
import json

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import running
from tests.e2e.harness import ADMIN, document, upstream
from tests.upstream import Script, ToolCall, Usage
from tests.upstream.dialects.openai_responses import SEALED

MODEL = "gpt-6-astra"
"""Takes function tools on the responses endpoint only."""
PRO = "gpt-5.5-pro"
"""Is served there alone."""
TURN = [{"role": "user", "content": "Weather and time in Paris?"}]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "time")
]
CALLS = (ToolCall("weather", id="call_a"), ToolCall("time", ('{"zone":', '"CET"}'), "call_b"))
USAGE = Usage(20, 9, cached=5, cache_write=3, reasoning=4)


@pytest.fixture
async def proxy(serve, one):
    return await serve(document({"one": upstream(one, provider="openai")}))


@pytest.fixture
async def sdk(proxy):
    async with proxy.sdk() as client:
        yield client


async def test_text_whole_and_streamed(sdk, one):
    one.script(Script(usage=USAGE), times=2)
    asked = {"model": PRO, "messages": TURN}
    whole = await sdk.chat.completions.create(**asked)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Hello, world!", "stop")
    options = {"include_usage": True}
    chunks = [c async for c in await sdk.chat.completions.create(**asked, stream=True, stream_options=options)]
    assert [chunk.choices[0].delta.content for chunk in chunks[:-1]] == ["", "Hello", ",", " world", "!", None]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (20, 9, 29)
    assert whole.usage.prompt_tokens_details.cached_tokens == 5
    assert whole.usage.completion_tokens_details.reasoning_tokens == 4
    assert {seen.path for seen in one.seen} == {"/v1/responses"}


async def test_two_parallel_calls_in_a_stream_and_the_turn_after_them(sdk, one):
    """The second turn carries the calls, their results, and the sealed reasoning that led to them."""
    one.script(Script(reasoning=("let me ", "see"), tool_calls=CALLS))
    async with sdk.chat.completions.stream(model=MODEL, messages=TURN, tools=TOOLS) as stream:
        message = (await stream.get_final_completion()).choices[0].message
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("call_a", "weather", '{"city":"Paris"}'),
        ("call_b", "time", '{"zone":"CET"}'),
    ]
    assert message.reasoning_content == "let me see"
    results = [
        {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_b", "content": "noon"},
    ]
    # What an application keeps of a streamed turn is the message; the parsed arguments are the SDK's own.
    turn = message.model_dump(exclude_none=True, exclude={"parsed": True, "tool_calls": {"__all__": {"function": {
        "parsed_arguments"}}}})  # fmt: skip
    answer = await sdk.chat.completions.create(model=MODEL, messages=[*TURN, turn, *results], tools=TOOLS)
    assert answer.choices[0].message.content == "Hello, world!"
    first, second = (seen.request.json for seen in one.seen)
    assert first["tools"][0] == {
        "type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False,
    }  # fmt: skip
    assert (first["store"], first["include"]) == (False, ["reasoning.encrypted_content"])
    assert second["input"] == [
        {"type": "message", "role": "user", "content": TURN[0]["content"]},
        {
            "type": "reasoning", "id": "rs_fake", "encrypted_content": SEALED,
            "summary": [{"type": "summary_text", "text": "let me see"}],
        },
        {"type": "function_call", "call_id": "call_a", "name": "weather", "arguments": '{"city":"Paris"}'},
        {"type": "function_call", "call_id": "call_b", "name": "time", "arguments": '{"zone":"CET"}'},
        {"type": "function_call_output", "call_id": "call_a", "output": "sunny"},
        {"type": "function_call_output", "call_id": "call_b", "output": "noon"},
    ]  # fmt: skip


async def test_images(sdk, one):
    pixel = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": pixel, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    await sdk.chat.completions.create(model=PRO, messages=[{"role": "user", "content": parts}])
    assert one.seen[0].request.json["input"][0]["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": pixel, "detail": "low"},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
    ]


async def test_parse_with_a_schema(sdk, one):
    class City(BaseModel):
        name: str
        people: int

    one.script(Script(deltas=('{"name":"Par', 'is","people":2}')))
    answer = await sdk.chat.completions.parse(model=PRO, messages=TURN, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Paris", people=2)
    told = one.seen[0].request.json["text"]["format"]
    assert (told["type"], told["name"], told["strict"]) == ("json_schema", "City", True)
    assert told["schema"]["properties"].keys() == {"name", "people"}


async def test_reasoning(sdk, one):
    """The effort crosses, and so does the wish for a summary, which comes as reasoning_content."""
    one.script(Script(reasoning=("hm ", "yes"), usage=USAGE))
    answer = await sdk.chat.completions.create(
        model=PRO, messages=TURN, reasoning_effort="high", extra_body={"reasoning": {"summary": "auto"}}
    )
    assert one.seen[0].request.json["reasoning"] == {"effort": "high", "summary": "auto"}
    assert answer.choices[0].message.reasoning_content == "hm yes"


async def test_a_refusal(sdk, one):
    one.script(Script(finish="refusal", deltas=("I must ", "not.")))
    answer = await sdk.chat.completions.create(model=PRO, messages=TURN)
    assert (answer.choices[0].message.refusal, answer.choices[0].message.content) == ("I must not.", None)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_an_incomplete_answer_says_why(sdk, one, finish):
    one.script(Script(finish=finish), times=2)
    asked = {"model": PRO, "messages": TURN}
    assert (await sdk.chat.completions.create(**asked)).choices[0].finish_reason == finish
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**asked, stream=True)]
    assert chunks[-1].choices[0].finish_reason == finish


TYPED = [
    (Script(status=400), openai.BadRequestError, "scripted 400"),
    (Script(status=429), openai.RateLimitError, "throttling"),
    (Script(status=500), openai.InternalServerError, "failed"),
    (Script(error={"code": "server_error"}, finish="failed"), openai.InternalServerError, "failed"),
    (Script(error={"code": "server_error"}), openai.InternalServerError, "failed"),
    (Script(error={"code": "rate_limit_exceeded"}, finish="failed"), openai.RateLimitError, "throttling"),
    (Script(error={"code": "context_length_exceeded"}), openai.BadRequestError, "too long|scripted"),
    (
        Script(error={"code": "invalid_image", "message": "no image"}, finish="failed"),
        openai.BadRequestError,
        "refused|no image",
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("script", "kind", "words"), TYPED)
async def test_errors_are_typed(proxy, one, stream, script, kind, words):
    """Those of the status line, `response.failed` and the `error` event: before a word was said they are the same."""
    one.script(script, times=None)
    async with proxy.sdk(default_headers={"x-failsoft-offline": "never"}) as sdk:
        with pytest.raises(kind, match=words):
            await sdk.chat.completions.create(model=PRO, messages=TURN, stream=stream)


@pytest.mark.parametrize("finish", [None, "failed"])
async def test_a_failure_after_the_first_word_is_an_error_in_the_stream(sdk, one, finish):
    gate = one.gate()
    one.script(Script(error={"code": "server_error"}, error_after=6, finish=finish, pauses={6: gate}))
    stream = await sdk.chat.completions.create(model=PRO, messages=TURN, stream=True)
    said = [await anext(stream) for _ in range(3)]
    assert [chunk.choices[0].delta.content for chunk in said] == ["", "Hello", ","]
    gate.open()
    with pytest.raises(openai.APIError, match="interrupted"):
        await anext(stream)


async def test_a_stream_without_its_end_is_broken(sdk, one):
    one.script(Script(done=False), times=None)
    with pytest.raises(openai.APIError, match="interrupted"):
        [chunk async for chunk in await sdk.chat.completions.create(model=PRO, messages=TURN, stream=True)]


WITHOUT_RESPONSES = {
    "no tools": (MODEL, {}),
    "custom tools alone": (MODEL, {"tools": [{"type": "custom", "custom": {"name": "code"}}]}),
    "reasoning turned off": ("gpt-5.5", {"tools": TOOLS, "reasoning_effort": "none"}),
    "an older model": ("gpt-5.2", {"tools": TOOLS}),
}


@pytest.mark.parametrize(("model", "fields"), WITHOUT_RESPONSES.values(), ids=WITHOUT_RESPONSES)
async def test_what_chat_completions_serve_stays_there(sdk, one, model, fields):
    raw = await sdk.chat.completions.with_raw_response.create(model=model, messages=TURN, **fields)
    assert raw.headers["x-failsoft-mode"] == "identity"
    assert one.seen[0].path == "/v1/chat/completions"


@pytest.mark.parametrize("fields", [{"reasoning_effort": "low"}, {}])
async def test_tools_with_reasoning_go_to_responses(sdk, one, fields):
    raw = await sdk.chat.completions.with_raw_response.create(model="gpt-5.5", messages=TURN, tools=TOOLS, **fields)
    assert raw.headers["x-failsoft-mode"] == "translate"
    assert one.seen[0].path == "/v1/responses"


async def test_the_receipt_names_what_was_lost_in_header_log_and_explanation(one, capfd):
    asked = {"model": PRO, "messages": TURN, "seed": 7, "temperature": 0.3, "stop": ["x"]}
    lost = ["temperature: the model does not take it"]
    lost += [f"{name}: the responses endpoint has no such field" for name in ("seed", "stop")]
    async with running(document({"one": upstream(one, provider="openai")})) as proxy:
        answer = await proxy.post("/v1/chat/completions", asked)
        explained = await proxy.post("/admin/explain", {"request": asked}, {"authorization": f"Bearer {ADMIN}"})
    assert answer.headers["x-failsoft-lossy"] == "; ".join(lost)
    assert not {"seed", "temperature", "stop"} & one.seen[0].request.json.keys()
    assert f"loses {'; '.join(lost)}" in explained.body.decode()
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"losses"' in line]
    assert [line["losses"] for line in logged] == [lost]


async def test_a_strict_route_goes_on_to_a_target_that_takes_everything(serve, one, two):
    fakes = {"one": upstream(one, provider="openai"), "two": upstream(two, provider="openai")}
    routes = [
        {"name": "all", "match": {"model": "*"}, "use": [f"one/{PRO}", "two/gpt-5.2"], "strict_translation": True}
    ]
    proxy = await serve(document(fakes, routes=routes))
    answer = await proxy.post("/v1/chat/completions", {"model": "m", "messages": TURN, "seed": 7})
    assert (answer.status, answer.headers["x-failsoft-upstream"], len(one.seen)) == (200, "two", 0)
    assert "x-failsoft-lossy" not in answer.headers


@pytest.mark.parametrize(("fields", "path"), [({"seed": 7}, "seed"), ({"logit_bias": {"1": 2}}, "logit_bias")])
async def test_a_strict_route_refuses_every_loss_before_anything_is_sent(serve, one, fields, path):
    routes = [{"name": "all", "match": {"model": "*"}, "use": ["one/*"], "strict_translation": True}]
    proxy = await serve(document({"one": upstream(one, provider="openai")}, routes=routes))
    answer = await proxy.post("/v1/chat/completions", {"model": PRO, "messages": TURN} | fields)
    assert (answer.status, answer.error["param"]) == (400, path)
    assert f"{path}: the responses endpoint has no such field" in answer.error["message"]
    assert not one.seen
    answer = await proxy.post("/v1/chat/completions", {"model": PRO, "messages": TURN})
    assert answer.status == 200
