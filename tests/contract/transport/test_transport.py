"""What ours and the oracle must agree on: whole answers, broken answers, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from proxy.core.errors import ErrorKind
from proxy.core.ports import Transport
from tests.contract.transport.asking import OK, Got, ask, outcome, read_all, strangers, wire
from tests.contract.transport.rawserver import Peer, always, each, once, serving

H = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H + b"transfer-encoding: chunked\r\n\r\n"


async def test_request_as_sent(transport: Transport) -> None:
    """The head holds host and length of ours, the caller's headers as given, and asks for no compression."""
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.answer(OK))

    async with serving(script) as server:
        request = wire(server.origin(), method="POST", path="/v1/x?a=%20b", headers=[(b"x-a", b"\xc3\xa9")], body=b"{}")
        await ask(transport, request)
    asked = seen[0]
    assert asked.line == b"POST /v1/x?a=%20b HTTP/1.1"
    assert asked.headers[b"host"] == b"127.0.0.1:%d" % server.port
    assert asked.headers[b"content-length"] == b"2"
    assert asked.headers[b"accept-encoding"] == b"identity"
    assert asked.headers[b"x-a"] == b"\xc3\xa9"
    assert asked.body == b"{}"


WHOLE = {
    "length": (H + b"content-length: 2\r\n\r\nok", b"ok", True),
    "length 0": (H + b"content-length: 0\r\n\r\n", b"", True),
    "chunked": (CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"ok", True),
    "chunked, upper case": (H + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", True),
    "chunk extension": (CHUNKED + b"2;a=b\r\nok\r\n0\r\n\r\n", b"ok", True),
    "trailers": (CHUNKED + b"2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n", b"ok", True),
    "empty chunked": (CHUNKED + b"0\r\n\r\n", b"", True),
    "100 and 103 first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK,
        b"ok",
        True,
    ),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", b"ok", True),
    "connection: close": (H + b"connection: close\r\ncontent-length: 2\r\n\r\nok", b"ok", False),
    "1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok", False),
    "1.0, kept": (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", b"ok", True),
    "redirect": (
        b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
        b"",
        True,
    ),
    "204": (b"HTTP/1.1 204 None\r\n\r\n", b"", True),
    "304 with a length": (b"HTTP/1.1 304 Same\r\ncontent-length: 5\r\n\r\n", b"", True),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("is_split", [False, True], ids=["whole", "by byte"])
async def test_whole_answers(transport: Transport, name: str, is_split: bool) -> None:
    """Every framing gives its body, however it is cut, and the connection is kept where it may be."""
    raw, body, is_kept = WHOLE[name]
    pieces = [raw[i : i + 1] for i in range(len(raw))] if is_split else [raw]
    async with serving(always(*pieces)) as server:
        request = wire(server.origin())
        status = int(raw.rpartition(b"HTTP/1.")[2][2:5])
        assert await ask(transport, request) == Got(status, body)
        assert await ask(transport, request) == Got(status, body)
        assert server.accepted == (1 if is_kept else 2)


@pytest.mark.parametrize("raw", [b"HTTP/1.0 200 OK\r\n\r\nto the end", H + b"\r\nto the end"])
async def test_close_ends_the_body(transport: Transport, raw: bytes) -> None:
    """Without a length the body lasts until the peer closes."""
    async with serving(once(raw[:20], raw[20:])) as server:
        assert await ask(transport, wire(server.origin())) == Got(200, b"to the end")


@pytest.mark.parametrize("is_kept", [True, False])
async def test_head_request_has_no_body(transport: Transport, is_kept: bool) -> None:
    """To HEAD a length is a statement, not a body."""
    raw = H + (b"" if is_kept else b"connection: close\r\n") + b"content-length: 5\r\n\r\n"
    async with serving(always(raw)) as server:
        request = wire(server.origin(), method="HEAD")
        assert await ask(transport, request) == Got(200, b"")
        assert await ask(transport, request) == Got(200, b"")
        assert server.accepted == (1 if is_kept else 2)


async def test_headers_are_lower_case_and_joined(transport: Transport) -> None:
    """Only the fields of the final head count."""
    raw = b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n" + H + b"X-A: 1 \r\nx-b:\r\nx-a:\t2\r\ncontent-length: 0\r\n\r\n"
    async with serving(always(raw)) as server:
        response = await transport.send(wire(server.origin()))
        response.close()
        assert response.headers["x-a"] == "1, 2"
        assert response.headers["x-b"] == ""
        assert "link" not in response.headers


async def test_pieces_come_as_they_are_sent(transport: Transport) -> None:
    """Nothing waits for more: each piece can be read before the next is sent."""
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED)
        for piece in (b"1\r\na\r\n", b"1\r\nb\r\n"):
            await peer.send(piece)
            await more.wait()
            more.clear()
        await peer.send(b"0\r\n\r\n")

    async with serving(script) as server:
        response = await transport.send(wire(server.origin()))
        for piece in (b"a", b"b"):
            assert await response.read() == piece
            more.set()
        assert await response.read() == b""
        assert await response.read() == b""
        response.close()


# Broken answers.

CUT = {
    "nothing": b"",
    "in the status": b"HTTP/1.1 20",
    "in the head": H + b"content-le",
    "in the head after 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "before the body": H + b"content-length: 5\r\n\r\n",
    "in the body": H + b"content-length: 5\r\n\r\nab",
    "in a chunk size": CHUNKED + b"2\r\nok\r\n1",
    "in a chunk": CHUNKED + b"5\r\nok",
    "between chunks": CHUNKED + b"2\r\nok\r\n",
    "in the last chunk": CHUNKED + b"2\r\nok\r\n0\r\n",
    "in the trailers": CHUNKED + b"2\r\nok\r\n0\r\nx-a: b\r\n",
}


@pytest.mark.parametrize("end", ["eof", "reset"])
@pytest.mark.parametrize("name", CUT)
async def test_cut_answers_fail(transport: Transport, name: str, end: str) -> None:
    """An answer that ends before its end is a fault, by FIN and by RST, at every point."""
    async with serving(once(CUT[name], end=end)) as server:
        assert await outcome(transport, wire(server.origin(), method="POST")) is ErrorKind.FAULT
        assert server.accepted == 1


REFUSED = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "length and chunked": H + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked and length": H + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": H + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok!",
    "list of lengths": H + b"content-length: 2, 3\r\n\r\nok!",
    "negative length": H + b"content-length: -2\r\n\r\nok",
    "signed length": H + b"content-length: +2\r\n\r\nok",
    "length in hex": H + b"content-length: 0x2\r\n\r\nok",
    "huge length": H + b"content-length: 99999999999999999999\r\n\r\nok",
    "chunk size in words": CHUNKED + b"two\r\nok\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "huge chunk size": CHUNKED + b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
    "long chunk": CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
    "space before the colon": H + b"a : b\r\ncontent-length: 2\r\n\r\nok",
    "header without a colon": H + b"nonsense\r\ncontent-length: 2\r\n\r\nok",
    "NUL in a header": H + b"a: \0\r\ncontent-length: 2\r\n\r\nok",
    "long field": H + b"a: " + b"b" * 70_000 + b"\r\ncontent-length: 2\r\n\r\nok",
    "1001 fields": H + b"a: b\r\n" * 1001 + b"content-length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_bad_framing_is_refused(transport: Transport, name: str) -> None:
    """The answer fails, the connection is closed at once, and the next request gets a clean one."""

    async def bad(peer: Peer) -> None:
        await peer.answer(REFUSED[name])
        await peer.gone()

    async with serving(each(bad, always(OK))) as server:
        request = wire(server.origin())
        assert await outcome(transport, request) is ErrorKind.FAULT
        await server.until(lambda: server.over == [0])
        assert await ask(transport, request) == Got(200, b"ok")
        assert server.accepted == 2


async def test_endless_header_is_cut_off(transport: Transport) -> None:
    """A field that never ends does not fill the memory."""

    async def script(peer: Peer) -> None:
        await peer.answer(H + b"x-a: ")
        while True:
            await peer.send(b"b" * 16_384)

    async with serving(script) as server:
        assert await outcome(transport, wire(server.origin())) is ErrorKind.FAULT


@pytest.mark.parametrize(
    "more", [b"more", b"HTTP/1.1 500 Smuggled\r\ncontent-length: 3\r\n\r\nbad"], ids=["text", "an answer"]
)
async def test_leftovers_never_answer_the_next_request(transport: Transport, more: bytes) -> None:
    """Bytes beyond the length belong to nobody; the connection that carried them is not used again."""
    async with serving(each(once(OK + more, end="stay"), always(OK))) as server:
        request = wire(server.origin())
        assert await outcome(transport, request) in (Got(200, b"ok"), ErrorKind.FAULT)
        await server.until(lambda: server.over == [0])
        assert await ask(transport, request) == Got(200, b"ok")
        assert server.accepted == 2


# The connection.


async def test_stale_connection_is_replaced(transport: Transport) -> None:
    """A kept connection that dies unheard costs the caller nothing."""

    async def stale(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.request()

    async with serving(each(stale, always(OK))) as server:
        request = wire(server.origin())
        assert await ask(transport, request) == Got(200, b"ok")
        assert await ask(transport, request) == Got(200, b"ok")
        assert server.accepted == 2


async def test_half_an_answer_is_not_asked_again(transport: Transport) -> None:
    """Once a byte has come back the request may have been acted upon."""

    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.answer(b"HTTP/1.1 2")

    async with serving(script) as server:
        request = wire(server.origin(), method="POST")
        assert await ask(transport, request) == Got(200, b"ok")
        assert await outcome(transport, request) is ErrorKind.FAULT
        assert server.accepted == 1


async def test_closing_early_aborts(transport: Transport) -> None:
    """An answer given up half way takes its connection with it, at once."""

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED + b"2\r\nok\r\n")
        await peer.gone()

    async with serving(each(script, always(OK))) as server:
        response = await transport.send(wire(server.origin()))
        assert await response.read() == b"ok"
        response.close()
        response.close()
        await server.until(lambda: server.over == [0])
        assert await ask(transport, wire(server.origin())) == Got(200, b"ok")


async def test_expired_reads_fail(transport: Transport) -> None:
    """`expire` ends the read that waits, with the kind it names, and the connection."""

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED + b"2\r\nok\r\n")
        await peer.gone()

    async with serving(script) as server:
        response = await transport.send(wire(server.origin()))
        assert await response.read() == b"ok"
        response.expire(ErrorKind.FIRST_TOKEN_TIMEOUT)
        with pytest.raises(Exception, match="first_token_timeout"):
            await response.read()
        response.close()
        await server.until(lambda: server.over == [0])


async def test_refused_connection(transport: Transport) -> None:
    async with serving(always(OK)) as server:
        pass
    assert await outcome(transport, wire(server.origin())) is ErrorKind.CONNECT


# Bodies.


async def test_large_request_and_answer(transport: Transport) -> None:
    """Back-pressure of the peer delays a large body and changes nothing in it."""
    body = bytes(range(256)) * 32 * 1024
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append((await peer.answer(H + b"content-length: %d\r\n\r\n" % len(body), body)).body)

    async with serving(script) as server:
        assert await ask(transport, wire(server.origin(), method="POST", body=body)) == Got(200, body)
    assert seen == [body]


async def test_answer_before_the_request_is_whole(transport: Transport) -> None:
    """A peer that refuses a body without reading it is heard, and its connection is not used again."""

    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Large\r\ncontent-length: 3\r\n\r\nbig")
        await peer.gone()

    async with serving(each(early, always(OK))) as server:
        request = wire(server.origin(), method="POST", body=b"x" * 16_000_000)
        assert await ask(transport, request) == Got(413, b"big")
        assert await ask(transport, wire(server.origin())) == Got(200, b"ok")
        assert server.accepted == 2


async def test_answer_while_the_request_is_still_sent(transport: Transport) -> None:
    """A peer may begin its answer early and still want all of the request."""
    body = b"x" * 8_000_000
    seen = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED + b"2\r\nok\r\n")
        seen.append(await peer.reader.readexactly(len(body)))
        await peer.send(b"0\r\n\r\n")

    async with serving(script) as server:
        assert await ask(transport, wire(server.origin(), method="POST", body=body)) == Got(200, b"ok")
    assert seen == [body]


async def test_slow_reader_stops_the_peer(transport: Transport) -> None:
    """While nobody reads, the peer cannot send without end; then all of it arrives."""
    size = 32 * 1024 * 1024
    stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(H + b"content-length: %d\r\n\r\n" % size)
        peer.writer.write(bytes(size))
        left, turns = size, 0
        while turns < 200 and left:
            await asyncio.sleep(0)
            now = peer.writer.transport.get_write_buffer_size()
            left, turns = now, turns + 1 if now == left else 0
        assert left > size // 4
        stuck.set()
        await peer.writer.drain()

    async with serving(script) as server:
        response = await transport.send(wire(server.origin()))
        await stuck.wait()
        assert len(await read_all(response)) == size
        response.close()


RAW_DEFLATE = zlib.compressobj(wbits=-15)
COMPRESSED = {
    "gzip": gzip.compress(b"words " * 50),
    "deflate": zlib.compress(b"words " * 50),
    "Deflate": RAW_DEFLATE.compress(b"words " * 50) + RAW_DEFLATE.flush(),
}


@pytest.mark.parametrize("coding", COMPRESSED)
@pytest.mark.parametrize("is_split", [False, True], ids=["whole", "by byte"])
async def test_compressed_unasked(transport: Transport, coding: str, is_split: bool) -> None:
    """We ask for no compression; who compresses all the same is understood."""
    data = COMPRESSED[coding]
    pieces = [data[i : i + 1] for i in range(len(data))] if is_split else [data]
    head = H + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (coding.encode(), len(data))
    async with serving(always(head, *pieces)) as server:
        assert await ask(transport, wire(server.origin())) == Got(200, b"words " * 50)


async def test_damaged_compression_is_a_fault(transport: Transport) -> None:
    head = H + b"content-encoding: gzip\r\ncontent-length: 11\r\n\r\n"
    async with serving(always(head + b"plain words")) as server:
        assert await outcome(transport, wire(server.origin())) is ErrorKind.FAULT


# Leaving.


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2", CHUNKED], ids=["nothing", "half a head", "a head"])
async def test_cancelling_closes_the_connection(transport: Transport, said: bytes) -> None:
    """Whoever stops waiting, for the head or for the body, leaves neither connection nor task behind."""
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(said)
        arrived.set()
        await peer.gone()

    async with serving(script) as server:
        known = asyncio.all_tasks()
        task = asyncio.create_task(ask(transport, wire(server.origin(), method="POST")))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda: server.over == [0])
        await asyncio.sleep(0)
        assert strangers(known) == set()
