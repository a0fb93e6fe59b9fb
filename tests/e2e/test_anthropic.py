"""Claude behind OpenAI's face: the official SDK through the proxy to a fake that the vendor's own SDK agrees with."""

from __future__ import annotations

import json

import openai
import pydantic
import pytest

from tests.e2e.harness import CANARY, document, upstream
from tests.upstream import Script, ToolCall, Usage
from tests.upstream.dialects.anthropic_messages import SIGNATURE

MODEL = "claude-sonnet-5"
ASKED = {"model": MODEL, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "time")
]
BOTH = (ToolCall("weather", id="toolu_1"), ToolCall("time", ('{"zo', 'ne":"CET"}'), id="toolu_2"))


@pytest.fixture
async def proxy(serve, one):
    return await serve(document({"claude": upstream(one, provider="anthropic")}))


@pytest.fixture
async def sdk(proxy):
    async with proxy.sdk() as client:
        yield client


def sent(fake):
    """What the upstream was asked last."""
    return fake.seen[-1].request.json


async def test_a_whole_answer(one, proxy):
    one.script(Script(usage=Usage(20, 9, cached=5, cache_write=3, reasoning=4)))
    answer = await proxy.post("/v1/chat/completions", ASKED | {"max_tokens": 50, "stop": ["END"], "seed": 7})
    assert (answer.status, answer.text) == (200, "Hello, world!")
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert answer.json["usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    assert answer.headers["x-failsoft-mode"] == "translate"
    assert "seed" in answer.headers["x-failsoft-lossy"]
    [seen] = one.seen
    assert seen.path.endswith("/v1/messages")
    assert (seen.headers["x-api-key"], seen.headers["anthropic-version"]) == (CANARY, "2023-06-01")
    assert not {"authorization", "origin"} & seen.headers.keys()
    assert sent(one) == {
        "model": MODEL,
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stop_sequences": ["END"],
    }


async def test_a_long_answer_is_asked_for_as_a_stream_and_told_whole(one, sdk):
    """Without a limit the model may write 128,000 tokens, for which nobody waits in silence."""
    one.script(Script(reasoning=("hm",), tool_calls=BOTH))
    answer = await sdk.chat.completions.create(**ASKED, tools=TOOLS)
    assert (sent(one)["max_tokens"], sent(one)["stream"]) == (128_000, True)
    message = answer.choices[0].message
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [{"city": "Paris"}, {"zone": "CET"}]
    assert (message.reasoning_content, answer.usage.total_tokens) == ("hm", 11)


@pytest.mark.parametrize("asks", [True, False])
async def test_a_streamed_answer(sdk, asks):
    options = {"stream_options": {"include_usage": True}} if asks else {}
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASKED, stream=True, **options)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello, world!"
    assert {chunk.id for chunk in chunks} == {"msg_fake"}
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == ([11] if asks else [])


async def test_two_calls_at_once_and_a_second_turn_with_their_results(one, sdk):
    """The SDK's own accumulator puts the calls and the signed thinking together; sent back, they are as they came."""
    one.script(Script(reasoning=("let me ", "see"), tool_calls=BOTH))
    async with sdk.chat.completions.stream(**ASKED, tools=TOOLS, reasoning_effort="high") as stream:
        answer = await stream.get_final_completion()
    assert sent(one)["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert sent(one)["output_config"] == {"effort": "high"}
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [(call.id, json.loads(call.function.arguments)) for call in message.tool_calls] == [
        ("toolu_1", {"city": "Paris"}),
        ("toolu_2", {"zone": "CET"}),
    ]
    assert message.reasoning_content == "let me see"
    results = [{"role": "tool", "tool_call_id": call.id, "content": call.function.name} for call in message.tool_calls]
    history = [*ASKED["messages"], message.to_dict(), *reversed(results), {"role": "user", "content": "and now?"}]
    again = await sdk.chat.completions.create(model=MODEL, messages=history, tools=TOOLS)
    assert again.choices[0].message.content == "Hello, world!"
    assert sent(one)["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "let me see", "signature": SIGNATURE},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {"zone": "CET"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "time"},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "weather"},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]


async def test_images(one, sdk):
    pictures = ["data:image/png;base64,aGk=", "https://example.org/cat.png"]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    await sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])
    assert sent(one)["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}},
    ]


async def test_parse_with_a_schema(one, sdk):
    class Place(pydantic.BaseModel):
        city: str
        people: int

    one.script(Script(deltas=('{"city":"Par', 'is","people":2}')))
    answer = await sdk.chat.completions.parse(**ASKED, response_format=Place)
    assert answer.choices[0].message.parsed == Place(city="Paris", people=2)
    form = sent(one)["output_config"]["format"]
    assert (form["type"], form["schema"]["additionalProperties"]) == ("json_schema", False)


async def test_a_refusal_is_told_as_one(one, sdk):
    stop = {"type": "refusal", "category": "bio", "explanation": "I will not help with that."}
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    body |= {"stop_reason": "refusal", "stop_details": stop, "usage": {"input_tokens": 1, "output_tokens": 0}}
    one.script(Script(body=json.dumps(body).encode()))
    answer = await sdk.chat.completions.create(**ASKED, max_tokens=9)
    assert (answer.choices[0].finish_reason, answer.choices[0].message.refusal) == (
        "content_filter",
        "I will not help with that.",
    )


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script(status=400, error={"message": "messages: bad"}), openai.BadRequestError),
        (Script(status=400, error={"message": "prompt is too long: 2 tokens > 1 maximum"}), openai.BadRequestError),
        (Script(status=404), openai.NotFoundError),
        (Script(status=429, headers=(("retry-after", "3"),)), openai.RateLimitError),
        (Script(status=529), openai.InternalServerError),
    ],
)
async def test_errors_are_typed(serve, one, script, kind):
    proxy = await serve(document({"claude": upstream(one, provider="anthropic")}, offline={"levels": []}))
    one.script(script, times=None)
    async with proxy.sdk() as sdk:
        with pytest.raises(kind):
            await sdk.chat.completions.create(**ASKED)


async def test_an_error_inside_a_stream_moves_on_before_the_first_word_and_breaks_it_after(serve, one, two):
    proxy = await serve(document({"claude": upstream(one, provider="anthropic"), "two": upstream(two)}))
    busy = {"type": "overloaded_error", "message": "Overloaded"}
    one.script(Script(error=busy, error_after=3), times=1)
    answer = await proxy.post("/v1/chat/completions", ASKED | {"stream": True})
    assert (answer.text, answer.headers["x-failsoft-upstream"]) == ("Hello, world!", "two")
    gate = one.gate()
    one.script(Script(error=busy, error_after=5, pauses={5: gate}))
    async with proxy.sdk() as sdk:
        stream = await sdk.chat.completions.create(**ASKED, stream=True)
        while not (await anext(stream)).choices[0].delta.content:
            pass
        gate.open()
        with pytest.raises(openai.APIError, match="interrupted"):
            [chunk async for chunk in stream]


async def test_what_cannot_be_represented_is_refused_before_anything_is_sent(one, proxy):
    sound = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
    answer = await proxy.post("/v1/chat/completions", ASKED | {"messages": [{"role": "user", "content": [sound]}]})
    assert (answer.status, answer.error["param"]) == (400, "messages[0].content[0]")
    assert not one.seen


@pytest.mark.parametrize("stream", [False, True])
async def test_legacy_completions(one, proxy, stream):
    one.script(Script(reasoning=("hm",)))
    answer = await proxy.post("/v1/completions", {"model": MODEL, "prompt": "Say: ", "stream": stream})
    assert answer.status == 200, answer.body
    whole = [frame.removeprefix(b"data: ") for frame in answer.frames[:-1]] if stream else [answer.body]
    choices = [choice for chunk in whole for choice in json.loads(chunk)["choices"]]
    assert "".join(choice["text"] for choice in choices) == "Hello, world!"
    assert sent(one)["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say: "}]}]


async def test_its_models_are_listed(proxy):
    listed = await proxy.get("/v1/models")
    assert "claude/fake-small" in [model["id"] for model in listed.json["data"]]


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (("adaptive", "disabled"), {"thinking": {"type": "disabled"}}),
        (("adaptive",), {"output_config": {"effort": "low"}}),
    ],
)
async def test_thinking_is_switched_off_where_the_list_of_models_allows_it(serve, one, kinds, told):
    """The shipped table does not know; the vendor's own list does, model by model."""
    types = {kind: {"supported": kind in kinds} for kind in ("adaptive", "between_tools", "disabled", "enabled")}
    efforts = {level: {"supported": True} for level in ("low", "medium", "high")}
    capabilities = {"thinking": {"supported": True, "types": types}, "effort": {"supported": True, **efforts}}
    models = {"data": [{"id": MODEL, "max_input_tokens": 200_000, "max_tokens": 4096, "capabilities": capabilities}]}
    one.script(Script(body=json.dumps(models).encode()), path="/models", times=None)
    proxy = await serve(document({"claude": upstream(one, provider="anthropic")}))
    answer = await proxy.chat(model=MODEL, reasoning_effort="none")
    body = sent(one)
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == told
    assert body["max_tokens"] == 4096
    assert ("x-failsoft-lossy" in answer.headers) == ("disabled" not in kinds)
