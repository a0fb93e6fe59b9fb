"""The fake does what it is told: it is the yardstick, so it is measured first, with other people's clients."""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import openai
import pytest

from tests.upstream import FakeUpstream, Script, ToolCall

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def fake():
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def sdk(fake):
    async with openai.AsyncOpenAI(base_url=fake.url, api_key="k", max_retries=0) as client:
        yield client


async def raw(fake: FakeUpstream, body: dict, path: str = "/v1/chat/completions") -> bytes:
    """All bytes of the answer to one request on a connection of its own, up to EOF or reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
    data = json.dumps(body).encode()
    writer.write(b"POST %s HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(data), data))
    got = b""
    try:
        while piece := await reader.read(65536):
            got += piece
    finally:
        writer.close()
    return got


def frames(body: bytes) -> list[bytes]:
    return [frame for frame in body.split(b"\n\n") if frame]


async def test_whole_answer(fake, sdk):
    answer = await sdk.chat.completions.create(**CHAT, n=2)
    assert [choice.message.content for choice in answer.choices] == ["Hello, world!"] * 2
    assert answer.usage.total_tokens == 11
    [seen] = fake.seen
    assert (seen.method, seen.path, seen.headers["authorization"]) == ("POST", "/v1/chat/completions", "Bearer k")


async def test_streamed_answer_with_usage_only_when_asked(fake, sdk):
    for asked in (True, False):
        stream = await sdk.chat.completions.create(
            **CHAT, stream=True, stream_options={"include_usage": True} if asked else openai.omit
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello, world!"
        assert bool(chunks[-1].usage) is asked
    assert frames(bytes(fake.seen[0].sent))[-1] == b"data: [DONE]"


async def test_tools_and_reasoning_in_a_stream(fake, sdk):
    fake.script(Script(tool_calls=(ToolCall("weather"), ToolCall("time", id="call_2")), reasoning=("hm",)))
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**CHAT, stream=True)]
    calls = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert "".join(call.function.arguments for call in calls if call.index == 1) == '{"city":"Paris"}'
    assert chunks[1].choices[0].delta.reasoning_content == "hm"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_legacy_prompts_make_choices_in_order(fake, sdk):
    fake.default = Script(deltas=("!",))
    answer = await sdk.completions.create(model="m", prompt=["a", "b"], n=2, echo=True, logprobs=1)
    assert [choice.text for choice in answer.choices] == ["a!", "a!", "b!", "b!"]
    assert answer.choices[3].logprobs.tokens == ["!"]
    answer = await sdk.completions.create(model="m", prompt=[[1, 2], [3]], echo=True)
    assert [choice.text for choice in answer.choices] == ["<1 2>!", "<3>!"]
    stream = await sdk.completions.create(model="m", prompt="a", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "!"


async def test_models(sdk):
    assert "vendor/fake:q4" in [model.id async for model in await sdk.models.list()]
    assert (await sdk.models.retrieve("fake-small")).id == "fake-small"


async def test_scripted_errors_are_typed(fake, sdk):
    fake.script(Script(status=429, headers=(("retry-after", "3"),)), model="m")
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.chat.completions.create(**CHAT)
    assert caught.value.response.headers["retry-after"] == "3"
    assert (await sdk.chat.completions.create(**CHAT)).choices, "a script is used once"


async def test_an_error_inside_a_stream_ends_it(fake, sdk):
    fake.script(Script(error={"message": "boom"}, error_after=2))
    with pytest.raises(openai.APIError, match="boom"):
        [chunk async for chunk in await sdk.chat.completions.create(**CHAT, stream=True)]
    assert fake.seen[0].frames == 3


async def test_gzip_and_every_framing(fake):
    async with aiohttp.ClientSession(fake.url + "/") as session:
        for framing in ("chunked", "length", "close"):
            for stream in (True, False):
                fake.script(Script(framing=framing, gzip=True, frames_per_write=2))
                async with session.post("chat/completions", json=CHAT | {"stream": stream}) as answer:
                    assert await answer.read() == fake.seen[-1].sent


async def test_byte_by_byte_and_crlf(fake):
    fake.script(Script(write_size=1, line_end="\r\n", ending="close"))
    got = await raw(fake, CHAT | {"stream": True})
    assert b"data: [DONE]\r\n\r\n" in got
    assert fake.seen[0].sent.count(b"\r\n\r\n") == fake.seen[0].frames == 7


async def test_half_a_frame_then_fin(fake):
    fake.script(Script(cut_frames=2.5, ending="close", framing="close"))
    got = await raw(fake, CHAT | {"stream": True})
    body = got.partition(b"\r\n\r\n")[2]
    assert body.count(b"\n\n") == 2
    assert not body.endswith(b"\n\n")


async def test_cut_after_bytes_then_clean_end(fake):
    fake.script(Script(cut_after=10, ending="clean", framing="close"))
    got = await raw(fake, CHAT)
    assert len(got.partition(b"\r\n\r\n")[2]) == 10


async def test_reset_in_the_head(fake):
    fake.script(Script(cut_head=12, ending="reset"))
    with pytest.raises(ConnectionResetError):
        await raw(fake, CHAT)


async def test_missing_finish_and_missing_done(fake):
    fake.script(Script(finish="", done=False, ending="close", framing="close"))
    got = await raw(fake, CHAT | {"stream": True})
    assert b"[DONE]" not in got
    assert b'"finish_reason":"stop"' not in got


async def test_a_gate_holds_a_stream_and_a_leaving_client_is_noticed(fake, sdk):
    gate = fake.gate()
    fake.script(Script(pauses={2: gate}))
    stream = await sdk.chat.completions.create(**CHAT, stream=True)
    await gate.reached()
    [seen] = fake.seen
    assert seen.frames == 2
    await stream.close()
    await seen.closed()
    assert seen.left
    assert seen.answered is None


async def test_an_endless_stream_stops_at_a_reader_that_does_not_read(fake):
    """Back-pressure is real: an unread connection holds the script."""
    fake.script(Script(deltas=("x" * 60_000,), endless=True))
    _, writer = await asyncio.open_connection("127.0.0.1", fake.port, limit=1024)
    data = json.dumps(CHAT | {"stream": True}).encode()
    writer.write(b"POST /chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data))
    seen = await fake.arrived()
    await seen.stuck()
    writer.transport.abort()
    await seen.closed()
    assert seen.left


async def test_refusing_and_resetting_connections(fake):
    fake.on_connect = "reset"
    with pytest.raises(ConnectionResetError):
        await raw(fake, CHAT)
    await fake.stop()
    with pytest.raises(ConnectionRefusedError):
        await raw(fake, CHAT)


async def test_as_a_program_with_control():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.upstream", stdout=asyncio.subprocess.PIPE
    )
    url = (await process.stdout.readline()).decode().split()[-1]
    root = url.removesuffix("/v1")
    script = {"deltas": ["bye"], "usage": {"prompt": 1, "completion": 2}, "before_head": {"gate": "g"}}
    async with aiohttp.ClientSession() as session:
        async with session.post(root + "/_control/script", json={"script": script, "model": "m"}) as answer:
            assert answer.status == 200
        async with session.post(root + "/_control/script", json={"script": {"no": 1}}) as answer:
            assert answer.status == 400
        async with session.post(root + "/_control/gate", json={"open": "g"}):
            pass
        async with session.post(url + "/chat/completions", json=CHAT) as answer:
            whole = await answer.json()
        assert whole["choices"][0]["message"]["content"] == "bye"
        assert whole["usage"]["total_tokens"] == 3
        async with session.get(root + "/_control/seen") as answer:
            [seen] = await answer.json()
        assert json.loads(seen["body"]) == CHAT
    process.terminate()
    assert await process.wait() == 0
