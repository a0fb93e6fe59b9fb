"""The vendor's own client talks to the fake: what it understands is the format that the proxy must read."""

from __future__ import annotations

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.upstream import FakeUpstream, Script, ToolCall, Usage
from tests.upstream.dialects.openai_responses import DIALECT, SEALED
from tests.upstream.request import Request

ASKED = {"model": "gpt-x", "input": "hi", "include": ["reasoning.encrypted_content"]}
TOOLS = [
    {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False},
    {"type": "custom", "name": "code"},
]
FULL = Script(
    reasoning=("let me ", "see"),
    tool_calls=(ToolCall("weather", id="call_a"), ToolCall("code", ("a", "b"), id="call_b")),
    usage=Usage(20, 9, cached=5, cache_write=3, reasoning=4),
)


@pytest.fixture
async def fake():
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def sdk(fake):
    async with openai.AsyncOpenAI(base_url=fake.url, api_key="k", max_retries=0) as client:
        yield client


async def test_whole_answer(sdk):
    answer = await sdk.responses.create(**ASKED)
    assert (answer.output_text, answer.status, answer.model) == ("Hello, world!", "completed", "gpt-x")
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 4, 11)


async def test_streamed_and_whole_are_one_response(fake, sdk):
    """Reasoning with its sealed content, a function call and a custom one, and the counts of a cache."""
    fake.script(FULL, times=2)
    whole = await sdk.responses.create(**ASKED, tools=TOOLS)
    async with sdk.responses.stream(**ASKED, tools=TOOLS) as stream:
        streamed = await stream.get_final_response()
    assert [item.type for item in whole.output] == ["reasoning", "function_call", "custom_tool_call"]
    assert (whole.output[0].encrypted_content, whole.output[0].summary[0].text) == (SEALED, "let me see")
    assert (whole.output[1].arguments, whole.output[2].input) == ('{"city":"Paris"}', "ab")
    assert [item.to_dict() for item in streamed.output] == [
        item.to_dict() | ({"parsed_arguments": None} if item.type == "function_call" else {}) for item in whole.output
    ]
    assert (streamed.usage, streamed.usage.output_tokens_details.reasoning_tokens) == (whole.usage, 4)


@pytest.mark.parametrize("script", [Script(), FULL, Script(finish="refusal"), Script(finish="length")])
def test_every_event_is_of_the_vendor_s_types(script):
    """Read strictly, not with the client's patience: an event with a field missing fails."""
    body = b'{"model":"m","stream":true,"input":"x","tools":[{"type":"custom","name":"code"}]}'
    request = Request("POST", "/v1/responses", (), body)
    events: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
    for frame in DIALECT.frames(request, script):
        events.validate_json(frame.partition(b"data: ")[2])
    Response.model_validate_json(DIALECT.whole(request, script))


@pytest.mark.parametrize(("status", "kind"), [(400, openai.BadRequestError), (429, openai.RateLimitError)])
async def test_errors_are_typed(fake, sdk, status, kind):
    fake.script(Script(status=status))
    with pytest.raises(kind, match=f"scripted {status}"):
        await sdk.responses.create(**ASKED)


async def test_failures_inside_a_stream(fake, sdk):
    fake.script(Script(error={"message": "broke"}, error_after=5, finish="failed"))
    kinds = [event.type async for event in await sdk.responses.create(**ASKED, stream=True)]
    assert kinds[-1] == "response.failed"
    fake.script(Script(error={"message": "broke"}, error_after=5))
    kinds = [event.type async for event in await sdk.responses.create(**ASKED, stream=True)]
    assert kinds[-1] == "error"
