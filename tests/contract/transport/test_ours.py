"""What only ours promises: its timers, its pool, its limits, and where it is stricter than the oracle."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from proxy.adapters.http1 import dial
from proxy.adapters.transport_http import HttpTransport
from proxy.core.decision import Origin
from proxy.core.errors import ErrorKind, UpstreamFailure
from tests.contract.transport.asking import (
    OK,
    PATIENT,
    Got,
    ask,
    cancel_at_every_turn,
    outcome,
    read_all,
    strangers,
    wire,
)
from tests.contract.transport.rawserver import Peer, always, each, once, serving

H = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H + b"transfer-encoding: chunked\r\n\r\n"
Make = Callable[..., HttpTransport]


async def mute(peer: Peer) -> None:
    """Read what comes and say nothing until the client leaves."""
    await peer.gone()


# Timers: each runs short against a server that never does what is waited for.


async def test_first_byte_timer(ours: Make) -> None:
    """A request that was sent and is not answered; half a head is not an answer."""
    for said in (b"", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"):
        async with serving(once(said, end="stay")) as server:
            request = wire(server.origin(), timeouts=replace(PATIENT, first_byte=0.05))
            with pytest.raises(UpstreamFailure, match="first_byte_timeout: no answer within") as caught:
                await ask(ours(), request)
            assert caught.value.sent
            await server.until(lambda: server.over == [0])


async def test_first_byte_timer_on_a_kept_connection(ours: Make) -> None:
    """Silence is not staleness: no second try, and the pool's younger timers do not end the first."""
    transport = ours()

    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.gone()

    async with serving(script) as server:
        assert await ask(transport, wire(server.origin())) == Got(200, b"ok")
        request = wire(server.origin(), timeouts=replace(PATIENT, first_byte=0.05))
        assert await outcome(transport, request) is ErrorKind.FIRST_BYTE_TIMEOUT
        assert server.accepted == 1


@pytest.mark.parametrize("said", [CHUNKED, CHUNKED + b"2\r\nok\r\n", H + b"content-length: 5\r\n\r\nab"])
async def test_idle_timer(ours: Make, said: bytes) -> None:
    """Silence after the head, or between bytes of the body; what came before is still read."""
    async with serving(once(said, end="stay")) as server:
        response = await ours().send(wire(server.origin(), timeouts=replace(PATIENT, idle=0.05)))
        got = b""
        with pytest.raises(UpstreamFailure, match="idle_timeout: silent for"):  # noqa: PT012
            while True:
                got += await response.read()
        assert got == said.partition(b"\r\n\r\n")[2].removeprefix(b"2\r\n").removesuffix(b"\r\n")
        response.close()
        await server.until(lambda: server.over == [0])


async def test_idle_timer_waits_for_the_slow_reader(ours: Make) -> None:
    """While we do not listen, the upstream's silence is ours: the timer stands still and starts anew."""
    size = 4 * 1024 * 1024
    async with serving(once(H + b"content-length: %d\r\n\r\n" % size, bytes(size), end="stay")) as server:
        response = await ours().send(wire(server.origin()))
        while not response._is_paused:  # noqa: ASYNC110
            await asyncio.sleep(0)
        deadline = response._connection.deadline
        assert deadline._at == inf
        got = len(await response.read())
        assert deadline._at < inf
        assert got + len(await read_all(response)) == size
        response.close()


async def test_write_timer(ours: Make) -> None:
    """A peer that stops taking the request is left."""

    async def deaf(peer: Peer) -> None:
        await peer.head()
        await asyncio.get_running_loop().create_future()

    async with serving(deaf) as server:
        request = wire(server.origin(), method="POST", body=bytes(32_000_000), timeouts=replace(PATIENT, write=0.05))
        with pytest.raises(UpstreamFailure, match="fault: the request was not taken for"):
            await ask(ours(), request)


async def test_write_timer_asks_for_progress_only(ours: Make) -> None:
    """However slowly the peer takes the request, something must go in each span of the timer, and no more."""
    transport = ours()
    taken = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(16_000_000)
        taken.set()
        await asyncio.get_running_loop().create_future()

    async with serving(slow) as server:
        request = wire(server.origin(), method="POST", body=bytes(48_000_000))
        task = asyncio.create_task(outcome(transport, request))
        await taken.wait()
        (connection,) = transport._places[server.origin()].pool._connections
        exchange = connection._exchange
        assert exchange is not None
        exchange.overdue()
        assert connection.is_open
        exchange.overdue()
        assert await task is ErrorKind.FAULT


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose queue is full: Linux drops further SYNs, as a black hole does."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    queued = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        queued.append(sock)
    return listener, queued


async def test_connect_timer(ours: Make) -> None:
    """An address that swallows the connection is given up; nothing was sent."""
    listener, queued = full_listener()
    try:
        origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
        with pytest.raises(UpstreamFailure, match="connect: no connection within") as caught:
            await ask(ours(), wire(origin, timeouts=replace(PATIENT, connect=0.05)))
        assert not caught.value.sent
    finally:
        for sock in (listener, *queued):
            sock.close()


async def test_happy_eyeballs(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A black hole among the addresses costs the stagger, not the connect timer; a refusal costs nothing."""
    monkeypatch.setattr(dial, "STAGGER", 0.01)
    listener, queued = full_listener()
    closed = socket.create_server(("127.0.0.1", 0))
    refused = closed.getsockname()
    closed.close()
    known = asyncio.all_tasks()
    try:
        async with serving(always(OK)) as server:
            found = [listener.getsockname(), refused, ("127.0.0.1", server.port)]
            answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
            transport = ours()
            assert await ask(transport, wire(Origin("http", "some.test", 80))) == Got(200, b"ok")
            await transport.aclose()
        answer[2:] = []
        short = replace(PATIENT, connect=0.05)
        assert await outcome(ours(), wire(Origin("http", "some.test", 80), timeouts=short)) is ErrorKind.CONNECT
        assert {task for task in strangers(known) if "_connect" in str(task.get_coro())} == set()
    finally:
        for sock in (listener, *queued):
            sock.close()


async def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's first choice of family leads, then they alternate (RFC 8305, 4)."""
    six, four = socket.AF_INET6, socket.AF_INET
    found = [(six, "a"), (six, "b"), (six, "c"), (four, "d")]
    answer: list[Any] = [(family, socket.SOCK_STREAM, 6, "", (name, 80)) for family, name in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    assert [address[0] for _, address in dial.look_up("some.test", 80)] == ["a", "d", "b", "c"]


async def test_slow_names_are_looked_up_once(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead name server ends the attempt after the connect timer and holds one thread, not one per request."""
    asked, release = [], threading.Event()

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        release.wait()
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    transport = ours()
    slow = wire(Origin("http", "slow.test", 80), timeouts=replace(PATIENT, connect=0.05))
    try:
        kinds = await asyncio.gather(*(outcome(transport, slow) for _ in range(10)))
        assert set(kinds) == {ErrorKind.CONNECT}
        assert asked == ["slow.test"]
    finally:
        release.set()
    with pytest.raises(UpstreamFailure, match="the name cannot be resolved"):
        await ask(transport, wire(Origin("http", "none.test", 80)))


async def test_leaving_a_lookup_does_not_end_it_for_others(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ask for the same name; one is cancelled, the other is answered."""
    asked, release = threading.Event(), threading.Event()

    async with serving(always(OK)) as server:

        def getaddrinfo(*_: object, **__: object) -> list[Any]:
            asked.set()
            release.wait()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        transport = ours()
        tasks = [asyncio.create_task(ask(transport, wire(Origin("http", "a.test", 80)))) for _ in range(2)]
        await asyncio.get_running_loop().run_in_executor(None, asked.wait)
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        release.set()
        assert await tasks[1] == Got(200, b"ok")


# The pool.


async def test_keep_alive_is_last_in_first_out(ours: Make) -> None:
    """Of several free connections the one used last is taken."""
    transport = ours()
    served: list[int] = []

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            served.append(peer.number)
            await peer.send(OK)
            assert asked.line == b"GET / HTTP/1.1"

    async with serving(script) as server:
        request = wire(server.origin())
        responses = [await transport.send(request) for _ in range(3)]
        for number in (0, 2, 1):
            assert await read_all(responses[number]) == b"ok"
            responses[number].close()
        for _ in range(4):
            await ask(transport, request)
    assert served == [0, 1, 2, 1, 1, 1, 1]


async def test_unused_connections_are_closed(ours: Make) -> None:
    """After `keep_alive` seconds without use the peer gets its socket back."""
    transport = ours(keep_alive=0.05)
    async with serving(always(OK)) as server:
        responses = [await transport.send(wire(server.origin())) for _ in range(3)]
        for response in responses:
            response.close()
        await server.until(lambda: len(server.over) == 3)
        assert await ask(transport, wire(server.origin())) == Got(200, b"ok")


async def test_what_comes_unasked_closes_a_kept_connection(ours: Make) -> None:
    """Between two requests there is nothing to say: a late 408 must not answer the next one."""
    transport = ours()
    idle = asyncio.Event()

    async def talker(peer: Peer) -> None:
        await peer.answer(OK)
        await idle.wait()
        await peer.send(b"HTTP/1.1 408 Late\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async with serving(each(talker, always(OK))) as server:
        assert await ask(transport, wire(server.origin())) == Got(200, b"ok")
        idle.set()
        await server.until(lambda: server.over == [0])
        assert await ask(transport, wire(server.origin())) == Got(200, b"ok")


async def test_leftovers_that_come_later_spoil_the_connection(ours: Make) -> None:
    """Also what arrives between the end of an answer and its `close` belongs to nobody."""
    transport = ours()
    more = asyncio.Event()

    async def liar(peer: Peer) -> None:
        await peer.answer(OK)
        await more.wait()
        await peer.send(OK)
        await peer.gone()

    async with serving(each(liar, always(OK))) as server:
        response = await transport.send(wire(server.origin()))
        assert await read_all(response) == b"ok"
        more.set()
        for _ in range(1000):
            await asyncio.sleep(0)
            if not response._may_reuse:
                break
        response.close()
        await server.until(lambda: server.over == [0])
        assert await ask(transport, wire(server.origin())) == Got(200, b"ok")


async def test_stale_post_is_sent_again_once(ours: Make) -> None:
    """Also a POST: the peer closed without a byte, as a peer does that has tired of waiting. A fresh one is final."""
    transport = ours()

    async def stale(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.request()

    async def broken(peer: Peer) -> None:
        await peer.request()

    async with serving(each(stale, broken)) as server:
        request = wire(server.origin(), method="POST", body=b"{}")
        assert await ask(transport, request) == Got(200, b"ok")
        assert await outcome(transport, request) is ErrorKind.FAULT
        assert server.accepted == 2


async def test_limit_and_queue(ours: Make) -> None:
    """Beyond the limit `send` queues: for a connection given back, for the place of a lost one, or in vain."""
    transport = ours(limit=1)
    async with serving(always(OK)) as server:
        request = wire(server.origin())
        first = await transport.send(request)
        short = wire(server.origin(), timeouts=replace(PATIENT, pool=0.05))
        with pytest.raises(UpstreamFailure, match="connect: no free connection within"):
            await transport.send(short)
        waiting = [asyncio.create_task(ask(transport, request)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        first.close()
        assert await waiting[1] == await waiting[2] == Got(200, b"ok")
        assert server.accepted == 1
        aborted = await transport.send(request)
        waiting = [asyncio.create_task(ask(transport, request)) for _ in range(2)]
        await asyncio.sleep(0)
        aborted.expire(ErrorKind.DEADLINE)
        aborted.close()
        waiting[0].cancel()  # after the place was handed to it
        assert await waiting[1] == Got(200, b"ok")
        assert server.accepted == 2
        assert transport._places[server.origin()].pool._places == 0


async def test_fresh_connection_at_the_limit(ours: Make) -> None:
    """Who must have a fresh one takes the place of an idle one."""
    transport = ours(limit=1)
    async with serving(always(OK)) as server:
        assert await ask(transport, wire(server.origin())) == Got(200, b"ok")
        fresh = await transport._places[server.origin()].pool.lease(PATIENT, fresh=True)
        assert fresh.served == 0
        await server.until(lambda: server.over == [0])


async def test_aclose(ours: Make) -> None:
    """All connections close: the idle, those in use, and those queued for; nothing can be sent any more."""
    transport = ours(limit=2)
    async with serving(each(always(OK), once(CHUNKED, end="stay"))) as server:
        request = wire(server.origin())
        await ask(transport, request)
        first = await transport.send(request)
        reading = await transport.send(request)
        queued = asyncio.create_task(outcome(transport, request))
        pending = asyncio.create_task(reading.read())
        await asyncio.sleep(0)
        await transport.aclose()
        with pytest.raises(UpstreamFailure, match="fault"):
            await pending
        assert await queued is ErrorKind.CONNECT
        for response in (first, reading):
            response.close()
        await server.until(lambda: len(server.over) == 2)
        assert await outcome(transport, request) is ErrorKind.CONNECT


async def test_cancelled_at_every_turn(ours: Make) -> None:
    """However far a call has come, cancelling it gives its place back and closes its connection."""
    async with serving(always(CHUNKED, b"2\r\nok\r\n", b"0\r\n\r\n")) as server:
        await cancel_at_every_turn(ours, server.origin())
        await server.until(lambda: len(server.over) == server.accepted)


# Limits, and where ours is stricter.


@pytest.mark.parametrize("name", ["x-a", "host"])
@pytest.mark.parametrize("value", [b"a\r\nx-b: c", b"a\nb", b"a\rb", b"a\0b"])
async def test_header_injection_is_refused(ours: Make, name: str, value: bytes) -> None:
    """A value that would start another line is not sent at all."""
    async with serving(always(OK)) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await ask(ours(), wire(server.origin(), headers=[(name.encode(), value)]))
        assert not caught.value.sent
        assert server.accepted == 0


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx: y", "/é"])
async def test_path_injection_is_refused(ours: Make, path: str) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        await ask(ours(), wire(Origin("http", "127.0.0.1", 9), path=path))
    assert not caught.value.sent


STRICT = {
    "endless trailer": (CHUNKED + b"2\r\nok\r\n0\r\nx-a: " + b"b" * 600_000, "stay"),
    "too many trailers": (CHUNKED + b"2\r\nok\r\n0\r\n" + b"a: b\r\n" * 1001 + b"\r\n", "stay"),
    "endless 1xx": (b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n" * 2000, "stay"),
    "reset of a body that the close would end": (H + b"\r\nsome", "reset"),
    "upgrade": (b"HTTP/1.1 101 Switch\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "stay"),
    "HTTP/2.0": (b"HTTP/2.0 200 OK\r\n\r\n", "stay"),
    "status 099": (b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n", "stay"),
    "chunked in 1.0": (b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "stay"),
    "gzip, chunked": (H + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "stay"),
    "chunked twice": (H + b"transfer-encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", "stay"),
    "not chunked": (H + b"transfer-encoding: identity\r\n\r\nsome", "eof"),
    "bare LF": (H.replace(b"\r\n", b"\n") + b"content-length: 0\n\n", "stay"),
    "folded header": (H + b"a: b\r\n c\r\ncontent-length: 0\r\n\r\n", "stay"),
    "unknown coding": (H + b"content-encoding: br\r\ncontent-length: 2\r\n\r\nok", "stay"),
    "two codings": (H + b"content-encoding: gzip, gzip\r\ncontent-length: 2\r\n\r\nok", "stay"),
    "cut gzip": (H + b"content-encoding: gzip\r\ncontent-length: 15\r\n\r\n" + gzip.compress(b"a")[:15], "stay"),
    "more than deflate": (
        H + b"content-encoding: deflate\r\ncontent-length: 20\r\n\r\n" + zlib.compress(b"a") + bytes(20),
        "stay",
    ),
    "cut gzip, by close": (H + b"content-encoding: gzip\r\n\r\n" + gzip.compress(b"a" * 100)[:15], "eof"),
}


@pytest.mark.parametrize("name", STRICT)
async def test_strictness(ours: Make, name: str) -> None:
    """Doubt about where an answer ends, or what it is, is a fault, and the connection is closed."""
    raw, end = STRICT[name]
    async with serving(once(raw, end=end)) as server:
        assert await outcome(ours(), wire(server.origin())) is ErrorKind.FAULT
        await server.until(lambda: server.over == [0])


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_decompression_bomb(ours: Make, coding: str) -> None:
    """A body that grows more than a hundredfold is cut off before it fills the memory."""
    packed = (gzip.compress if coding == "gzip" else zlib.compress)(bytes(20_000_000))
    head = H + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (coding.encode(), len(packed))
    got = 0
    async with serving(once(head, packed, end="stay")) as server:
        response = await ours().send(wire(server.origin()))
        with pytest.raises(UpstreamFailure, match="the compressed body is too large"):  # noqa: PT012
            while True:
                got += len(await response.read())
        response.close()
    assert got <= 100 * len(packed)


async def test_decoded_headers_tell_of_the_decoded_body(ours: Make) -> None:
    """Who reads the decoded body must not see the coding and the length of the other one."""
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    head = H + b"content-encoding: x-gzip\r\ncontent-length: %d\r\nx-a: b\r\n\r\n" % len(packed)
    async with serving(always(head + packed)) as server:
        response = await ours().send(wire(server.origin()))
        assert dict(response.headers) == {"x-a": "b"}
        assert await read_all(response) == b"onetwo"
        response.close()


async def test_pieces_of_one_arrival_are_joined(ours: Make) -> None:
    """Chunks that come together are read together: no artificial splitting."""
    async with serving(always(CHUNKED + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")) as server:
        response = await ours().send(wire(server.origin()))
        assert await response.read() == b"abc"
        assert await response.read() == b""
        response.close()


async def test_answers_leave_no_garbage_cycles(ours: Make) -> None:
    """A finished answer is freed by reference count: the collector has nothing to find on the hot path."""
    import gc

    from proxy.adapters.http1.response import Response

    transport = ours()
    async with serving(always(OK)) as server:
        await ask(transport, wire(server.origin()))
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                await ask(transport, wire(server.origin()))
            assert [thing for thing in gc.get_objects() if isinstance(thing, Response)] == []
        finally:
            gc.enable()
