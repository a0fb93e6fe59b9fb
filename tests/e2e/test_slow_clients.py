"""Clients that send or read too slowly, and more of them than one process can bear."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.e2e.harness import ADMIN, CHAT, document, upstream
from tests.e2e.test_disconnect import idle, post
from tests.upstream import Script

pytestmark = pytest.mark.both_loops

WAYS = ["/v1/chat/completions", "/v1/chat/completions?way=asgi"]
LARGE = CHAT | {"user": "x" * 80_000}
SMALL = CHAT | {"user": "x" * 1000}


async def connect(proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


# The head


@pytest.mark.fault(57)
async def test_a_head_that_does_not_come_is_cut_off(serve, one):
    proxy = await serve(document({"one": upstream(one)}, server={"header_timeout": "50ms"}))
    reader, writer = await connect(proxy)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: local")
    answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "request_timeout"
    writer.close()


@pytest.mark.fault(57)
async def test_a_head_byte_by_byte_gets_no_more_time(serve, one):
    """A byte now and then does not start the time anew."""
    proxy = await serve(document({"one": upstream(one)}, server={"header_timeout": "100ms"}))
    reader, writer = await connect(proxy)
    writer.write(b"GET / HTTP/1.1\r\nx-slow: ")
    answered = asyncio.create_task(reader.read())
    while not answered.done():
        writer.write(b"x")
        await asyncio.wait([answered], timeout=0.01)
    assert answered.result().startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_connection_that_says_nothing_is_closed_without_a_word(serve, one):
    proxy = await serve(document({"one": upstream(one)}, server={"header_timeout": "50ms"}))
    reader, writer = await connect(proxy)
    assert await reader.read() == b""
    writer.close()


async def test_a_second_head_is_given_the_same_time(serve, one):
    proxy = await serve(document({"one": upstream(one)}, server={"header_timeout": "50ms"}))
    reader, writer = await post(proxy, "/v1/chat/completions", CHAT | {"stream": True})
    assert b"200" in await reader.readline()
    await reader.readuntil(b"[DONE]\n\n\r\n0\r\n\r\n")
    writer.write(b"GET / HT")
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_an_answer_may_take_longer_than_a_head(serve, one):
    """Also if the next request has begun to arrive: it has to wait for its turn."""
    proxy = await serve(document({"one": upstream(one)}, server={"header_timeout": "20ms"}))
    one.script(Script(before_head=0.1))
    reader, writer = await post(proxy, "/v1/chat/completions", CHAT)
    writer.write(b"GET / HT")
    assert b"200" in await reader.readline()
    assert b"Hello, world!" in await reader.readuntil(b"world!")
    writer.close()


# The answer


@pytest.mark.parametrize("path", WAYS, ids=["hot", "asgi"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.fault(56)
async def test_who_does_not_read_is_cut_off(serve, one, path, stream):
    """The upstream is read no further, and let go when the time is over; that is the client's own doing."""
    proxy = await serve(document({"one": upstream(one)}, server={"write_timeout": "100ms"}))
    one.script(Script(deltas=("x" * 100_000,) * (1 if stream else 200), endless=stream))
    _, writer = await post(proxy, path, CHAT | {"stream": stream})
    writer.transport.pause_reading()
    seen = await one.arrived()
    await seen.closed() if stream else await seen.finished()
    statistics = await idle(proxy)
    assert seen.left is stream
    assert (statistics["client_disconnects"], statistics["upstreams"]["one"]["errors"]) == (1, 0)
    writer.transport.abort()
    assert (await proxy.chat()).headers["x-failsoft-upstream"] == "one"


async def test_who_reads_slowly_but_steadily_gets_everything(serve, one):
    proxy = await serve(document({"one": upstream(one)}, server={"write_timeout": "5s"}))
    text = "x" * 100_000
    one.script(Script(deltas=(text,) * 100))
    reader, writer = await post(proxy, "/v1/chat/completions", CHAT)
    got = b""
    while piece := await reader.read(1 << 16):
        got += piece
        if got.endswith(b"}"):
            break
    assert got.count(b"x") >= 100 * len(text)
    writer.close()


# The house


async def test_more_requests_than_the_process_takes_are_turned_away(serve, one):
    proxy = await serve(document({"one": upstream(one)}, server={"max_in_flight": 1}))
    gate = one.gate()
    one.script(Script(before_head=gate))
    first = asyncio.create_task(proxy.chat())
    await gate.reached()
    for path in WAYS:
        refused = await proxy.post(path, CHAT)
        assert (refused.status, refused.error["code"]) == (503, "server_overloaded")
        assert refused.headers["x-should-retry"] == "true"
        assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert (await proxy.chat({"authorization": f"Bearer {ADMIN}"})).status == 200
    gate.open()
    assert (await first).status == 200
    assert (await proxy.chat()).status == 200


@pytest.mark.parametrize("path", WAYS, ids=["hot", "asgi"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.fault(66)
async def test_large_bodies_wait_until_there_is_memory_for_them(serve, one, path, chunked):
    """A body counts until its answer has begun; small ones are always taken."""
    proxy = await serve(document({"one": upstream(one)}, server={"max_buffered": "100KiB"}))
    before_head, in_stream = one.gate(), one.gate()
    one.script(Script(before_head=before_head, pauses={3: in_stream}))

    async def send(body) -> int:
        async def pieces():
            data = json.dumps(body).encode()
            for start in range(0, len(data), 10_000):
                yield data[start : start + 10_000]

        data = pieces() if chunked else json.dumps(body).encode()
        async with proxy.session.post(proxy.url + path, data=data) as answer:
            await answer.read()
            return answer.status

    first = asyncio.create_task(proxy.post(path, LARGE | {"stream": True}))
    await before_head.reached()
    assert await send(LARGE) == 503
    assert await send(SMALL) == 200
    before_head.open()
    await in_stream.reached()
    assert await send(LARGE) == 200
    in_stream.open()
    assert (await first).status == 200


@pytest.mark.parametrize("path", WAYS, ids=["hot", "asgi"])
async def test_nothing_is_held_of_requests_that_came_to_nothing(serve, one, path):
    """Neither of bodies that are no requests, nor of such as are too large, or that their clients broke off."""
    proxy = await serve(document({"one": upstream(one)}, server={"max_buffered": "100KiB", "max_body": "90KiB"}))
    for body in (b"{" * 80_000, b"x" * 95_000):
        assert (await proxy.post(path, body)).status in (400, 413)
    for size in (70_000, 200_000):  # the second is refused by its head, and what was sent of it is never read
        _, writer = await connect(proxy)
        writer.write(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n".encode())
        writer.write(b"x" * 60_000)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    one.script(Script(status=500), times=2)
    assert (await proxy.post(path, LARGE, {"x-failsoft-offline": "never"})).status == 502
    while (answer := await proxy.post(path, LARGE)).status == 503:  # what was broken off is noticed by and by
        pass
    assert answer.status == 200
