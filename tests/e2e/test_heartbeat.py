"""A streaming client that waits gets SSE comments as signs of life, and nobody else does."""

from __future__ import annotations

import json

import pytest

from tests.e2e.harness import CHAT, document, upstream
from tests.upstream import Script

BEAT = b": keep-alive\n\n"


@pytest.fixture
async def proxy(serve, one):
    server = {"heartbeat": {"first": "50ms", "every": "30ms"}}
    return await serve(document({"one": upstream(one)}, server=server, offline={"levels": []}))


async def streaming(proxy, **fields):
    return proxy.session.post(f"{proxy.url}/v1/chat/completions", json=CHAT | {"stream": True} | fields)


async def test_beats_come_while_the_upstream_thinks(proxy, one):
    gate = one.gate()
    one.script(Script(before_head=gate))
    async with await streaming(proxy, stream_options={"include_usage": True}) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        got = await answer.content.readexactly(2 * len(BEAT))
        assert got == 2 * BEAT
        gate.open()
        rest = await answer.content.read()
    frames = [frame for frame in rest.split(b"\n\n") if frame and not frame.startswith(b":")]
    assert b"\n\n".join(frames) + b"\n\n" == one.seen[0].sent


async def test_beats_come_between_words(proxy, one):
    gate = one.gate()
    one.script(Script(pauses={2: gate}))
    async with await streaming(proxy) as answer:
        await answer.content.readuntil(b"Hello")
        await answer.content.readuntil(BEAT)
        gate.open()
        rest = await answer.content.read()
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_the_sdk_does_not_mind(proxy, one):
    gate = one.gate()
    one.script(Script(before_first=gate))
    async with proxy.sdk() as sdk:
        stream = await sdk.chat.completions.create(**CHAT, stream=True)
        gate.open()
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello, world!"


async def test_after_a_beat_the_receipt_comes_as_comments(proxy, one):
    """The head is gone by then."""
    gate = one.gate()
    one.script(Script(before_head=gate))
    async with await streaming(proxy) as answer:
        assert "x-failsoft-upstream" not in answer.headers
        await answer.content.readuntil(BEAT)
        gate.open()
        rest = await answer.content.read()
    assert b"\n: x-failsoft-upstream: one\n" in b"\n" + rest


async def test_after_a_beat_a_failure_is_told_in_the_stream(proxy, one):
    gate = one.gate()
    one.script(Script(before_head=gate, status=500), times=None)
    async with await streaming(proxy) as answer:
        await answer.content.readuntil(BEAT)
        gate.open()
        rest = await answer.content.read()
    [event] = [frame for frame in rest.split(b"\n\n") if frame.startswith(b"data:")]
    assert json.loads(event[6:])["error"]["code"] == "upstream_fault"
    assert b"[DONE]" not in rest


async def test_after_a_beat_the_next_upstream_may_still_answer(serve, one, two):
    server = {"heartbeat": {"first": "50ms", "every": "30ms"}}
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}, server=server))
    gate = one.gate()
    one.script(Script(before_head=gate, status=500), times=None)
    async with await streaming(proxy) as answer:
        await answer.content.readuntil(BEAT)
        gate.open()
        rest = await answer.content.read()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert len(two.seen) == 1


async def test_a_whole_answer_gets_no_beats(proxy, one):
    """Its status would be lost."""
    one.script(Script(before_head=0.2, status=500), times=None)
    answer = await proxy.chat()
    assert answer.status == 502
    assert answer.body.startswith(b"{")


async def test_nothing_is_sent_after_the_end(proxy, one):
    """An upstream that does not end its stream after `[DONE]` keeps nobody waiting, and no beat follows the end."""
    one.script(Script(ending="hang"))
    answer = await proxy.chat(stream=True)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert BEAT not in answer.body
    second = await proxy.chat(stream=True)
    assert second.text == "Hello, world!"


async def test_a_client_that_leaves_between_beats(proxy, one):
    one.script(Script(before_head="never"))
    async with proxy.sdk() as sdk:
        stream = await sdk.chat.completions.create(**CHAT, stream=True)
        await stream.close()
    await one.seen[0].closed()
    assert one.seen[0].left
