"""The vendor's own client talks to the fake: what it understands is the format that the proxy must read."""

from __future__ import annotations

import anthropic
import pytest

from tests.upstream import FakeUpstream, Script, ToolCall, Usage
from tests.upstream.dialects.anthropic_messages import SIGNATURE

ASKED = {"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
FULL = Script(
    reasoning=("let me ", "see"),
    tool_calls=(ToolCall("weather", id="toolu_1"), ToolCall("time", (), id="toolu_2")),
    usage=Usage(20, 9, cached=5, cache_write=3, reasoning=4),
)


@pytest.fixture
async def fake():
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def sdk(fake):
    root = fake.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=root, api_key="k", max_retries=0) as client:
        yield client


async def test_whole_answer(sdk):
    answer = await sdk.messages.create(**ASKED)
    assert (answer.content[0].text, answer.stop_reason, answer.model) == ("Hello, world!", "end_turn", "claude-x")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 4)


async def test_streamed_and_whole_are_one_message(fake, sdk):
    """Thinking with its signature, two calls (one without arguments), and the counts of a cache."""
    fake.script(FULL, times=2)
    whole = await sdk.messages.create(**ASKED, tools=[WEATHER])
    async with sdk.messages.stream(**ASKED, tools=[WEATHER]) as stream:
        streamed = await stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "tool_use", "tool_use"]
    assert whole.content[0].signature == SIGNATURE
    assert [block.input for block in whole.content[1:]] == [{"city": "Paris"}, {}]
    assert whole.usage.input_tokens == 12
    assert whole.content == streamed.content
    assert (streamed.stop_reason, streamed.usage) == ("tool_use", whole.usage)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_errors_are_typed(fake, sdk, status, kind):
    fake.script(Script(status=status))
    with pytest.raises(kind) as caught:
        await sdk.messages.create(**ASKED)
    assert caught.value.body["error"]["message"] == f"scripted {status}"


async def test_an_error_inside_a_stream(fake, sdk):
    fake.script(Script(error={"message": "boom"}, error_after=4))
    with pytest.raises(anthropic.APIStatusError, match="boom"):
        async with sdk.messages.stream(**ASKED) as stream:
            await stream.get_final_message()


async def test_models(sdk):
    assert "fake-small" in [model.id async for model in sdk.models.list()]
