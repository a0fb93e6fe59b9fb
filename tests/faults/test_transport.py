"""Faults 1 to 16: names, connections, TLS, heads, framing, codings."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.core.clock import SystemClock
from tests.contract.transport.rawserver import Peer, serving
from tests.e2e.harness import upstream
from tests.faults.scenario import Fault, play, plays
from tests.faults.stage import FIRST_WORDS, PROMPT, SECOND_WORDS, Stage
from tests.upstream import Script

pytestmark = pytest.mark.both_loops

TWICE = ("one fault", "one fault", "two success")
REFUSED = ("one connect", "one connect", "two success")
MODES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": FIRST_WORDS}, "finish_reason": "stop"}]}
BOMB = json.dumps({"pad": " " * (8 << 20)} | ANSWER).encode()
"""An answer, but for its size: gzip makes a thousandth of it."""


def raw(*pieces: bytes) -> Script:
    """Exactly these bytes; then the upstream waits for the proxy to close."""
    return Script(head=b"".join(pieces), framing="close", body=b"", ending="hang")


def coded(coding: str, body: bytes) -> Script:
    return Script(headers=(("content-encoding", coding),), body=body)


def sixfold(body: bytes) -> bytes:
    for _ in range(6):
        body = gzip.compress(body, 1)
    return body


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
FRAMINGS: Mapping[str, Script] = {
    "length and chunked": raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    ),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello"),
    "no chunk size": raw(CHUNKED, b"ZZ\r\nhello\r\n0\r\n\r\n"),
    "a huge chunk size": raw(CHUNKED, b"f" * 17 + b"\r\nhello\r\n"),
    "bytes between chunks": raw(CHUNKED, b"5\r\nhello??5\r\nhello\r\n0\r\n\r\n"),
    "chunked with HTTP 1.0": raw(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "an unknown transfer coding": raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n"),
    "a folded header": raw(b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 5\r\n\r\nhello"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
}
CODINGS: Mapping[str, Script] = {
    "brotli": coded("br", b"\x8b\x02\x80hello\x03"),
    "zstd": coded("zstd", b"\x28\xb5\x2f\xfd\x04\x00"),
    "a wrong label": coded("gzip", json.dumps(ANSWER).encode()),
    "six times gzip": coded(", ".join(["gzip"] * 6), sixfold(json.dumps(ANSWER).encode())),
    "damaged gzip": coded("gzip", gzip.compress(json.dumps(ANSWER).encode())[:-12] + b"xxxxxxxxxxxx"),
    "cut gzip": coded("gzip", gzip.compress(json.dumps(ANSWER).encode())[:-12]),
    "a bomb": coded("gzip", gzip.compress(BOMB, 9)),
    "a bomb by deflate": coded("deflate", gzip.zlib.compress(BOMB, 9)),  # type: ignore[attr-defined]
}

FAULTS = (
    *(
        Fault(
            number=7, name=f"{ending} before the head", one=Script(cut_head=0, ending=ending), tries=TWICE, hurts=2,
            seen=3, billed=True, alone=(502, "upstream_fault"),
        )  # the first was sent on a kept connection, so it was sent again before it counted
        for ending in ("reset", "close")
    ),
    *(
        Fault(
            number=8, name=f"{ending} in the head", one=Script(cut_head=20, ending=ending), tries=TWICE, hurts=2,
            billed=True, alone=(502, "upstream_fault"),
        )
        for ending in ("reset", "close")
    ),
    Fault(
        number=9, name="200 KB of header", one=Script(headers=(("x-big", "x" * 200_000),)), tries=TWICE, hurts=2,
        billed=True,
    ),
    Fault(
        number=9, name="1001 headers", one=Script(headers=tuple((f"x-{n}", "y") for n in range(1001))), tries=TWICE,
        hurts=2, billed=True,
    ),
    *(
        Fault(
            number=10, name=name, one=script, tries=TWICE, hurts=2, billed=True,
            also=lambda stage, _answer, _record: _left(stage),
        )
        for name, script in FRAMINGS.items()
    ),
    *(
        Fault(
            number=11, name=f"{ending} in the body", one=Script(framing="length", cut_after=40, ending=ending),
            only="whole", tries=TWICE, hurts=2, billed=True, alone=(502, "upstream_fault"),
        )
        for ending in ("close", "reset")
    ),
    Fault(
        number=14, name="100 and 103 before the answer", by="one", tries=("one success",), hurts=0,
        one=Script(interim=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3),
    ),
    Fault(
        number=14, name="101 in place of an answer", tries=TWICE, hurts=2, billed=True,
        one=raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
    ),
    Fault(number=15, name="gzip unasked", one=Script(gzip=True), by="one", tries=("one success",), hurts=0),
    *(
        Fault(number=15, name=name, one=script, tries=TWICE, hurts=2, billed=True)
        for name, script in CODINGS.items()
    ),
)  # fmt: skip


def _left(stage: Stage) -> None:
    """None of the connections carried another request."""
    assert len({seen.connection for seen in stage.one.seen}) == len(stage.one.seen)


@plays(FAULTS)
async def test_fault(stage: Stage, fault: Fault, stream: bool, alone: bool) -> None:
    await play(stage, fault, stream, alone)


async def moves_on(
    stage: Stage, stream: bool, tries: tuple[str, ...], one: Mapping[str, Any], begin: Callable[[], None] = lambda: None
) -> None:
    """With `one` as the first upstream's entry the second answers, once the fault has begun."""
    await stage.serve({"one": one, "two": upstream(stage.two)})
    begin()
    answer = await stage.ask(stream)
    assert (answer.text, answer.headers["x-failsoft-upstream"]) == (SECOND_WORDS, "two")
    assert stage.told() == tries
    assert not stage.records[0].may_be_billed
    assert (await stage.health())["failures"] == len(tries) - 1


# Names.


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], None]]:
    """What the system's resolver does for some names; all others are resolved as usual."""
    known: dict[str, Callable[[], None]] = {}
    resolve = socket.getaddrinfo

    def stub(host: Any, *arguments: Any, **named: Any) -> Any:
        if host in known:
            known[host]()
        return resolve(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", stub)
    return known


def fail(code: int) -> None:
    raise socket.gaierror(code, "resolver-words")


@pytest.mark.fault(1)
@MODES
@pytest.mark.parametrize("code", ["EAI_NONAME", "EAI_AGAIN", "EAI_FAIL"])
async def test_1_a_name_does_not_resolve(
    stage: Stage, names: dict[str, Callable[[], None]], stream: bool, code: str
) -> None:
    names["nowhere.test"] = lambda: fail(getattr(socket, code))
    await moves_on(stage, stream, REFUSED, upstream("http://nowhere.test/v1", insecure=True))
    assert "resolver-words" not in str(stage.records)


@pytest.mark.fault(2)
@MODES
async def test_2_a_name_resolves_late(stage: Stage, names: dict[str, Callable[[], None]], stream: bool) -> None:
    """It is waited for no longer than for a connection, and not once more."""
    stage.clock = SystemClock()
    late = threading.Event()
    names["late.test"] = lambda: fail(socket.EAI_NONAME)  # until the test begins

    def begin() -> None:
        names["late.test"] = lambda: fail(0) if late.wait(60) else None

    try:
        entry = upstream("http://late.test/v1", insecure=True, timeouts={"connect": "100ms"})
        await moves_on(stage, stream, ("one connect", "two success"), entry, begin)
    finally:
        late.set()


# Connections.


@contextmanager
def black_hole() -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that refuses connections until, by the call, its queue is full: then Linux drops further SYNs."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))

        def begin() -> None:
            listener.listen(0)
            for _ in range(4):
                queued = stack.enter_context(socket.socket())
                queued.setblocking(False)
                queued.connect_ex(listener.getsockname())

        yield listener.getsockname()[1], begin


@pytest.mark.fault(3)
@MODES
async def test_3_nobody_answers_a_connection(stage: Stage, stream: bool) -> None:
    stage.clock = SystemClock()
    with black_hole() as (port, begin):
        entry = upstream(f"http://127.0.0.1:{port}/v1", timeouts={"connect": "100ms"})
        await moves_on(stage, stream, ("one connect", "two success"), entry, begin)


@pytest.mark.fault(4)
@MODES
async def test_4_a_connection_is_refused(stage: Stage, stream: bool) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        await moves_on(stage, stream, REFUSED, upstream(f"http://127.0.0.1:{closed.getsockname()[1]}/v1"))


@pytest.mark.fault(4)
@MODES
@pytest.mark.parametrize("fate", ["reset", "close"])
async def test_4_a_connection_is_reset_at_once(stage: Stage, stream: bool, fate: Any) -> None:
    """Whether the request was on its way already depends on who is faster."""
    stage.one.on_connect = fate
    await stage.serve()
    answer = await stage.ask(stream)
    assert answer.text == SECOND_WORDS
    assert set(stage.told()[:-1]) <= {"one connect", "one fault"}
    assert len(stage.told()) == 3
    assert not stage.one.seen


@pytest.mark.fault(6)
@MODES
@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_6_a_kept_connection_is_closed_as_it_is_used(stage: Stage, stream: bool, ending: Any) -> None:
    """The request is sent once more on a new connection; that was no failure of anybody."""
    await stage.serve()
    await stage.ask(stream)
    stage.one.script(Script(cut_head=0, ending=ending))
    answer = await stage.ask(stream)
    assert (answer.text, answer.headers["x-failsoft-attempts"]) == (FIRST_WORDS, "1")
    assert stage.told() == ("one success",)
    kept, closed, fresh = (seen.connection for seen in stage.one.seen)
    assert kept == closed != fresh
    assert (await stage.health())["failures"] == 0
    assert not stage.two.seen


@pytest.mark.fault(12)
async def test_12_bytes_beyond_the_length_are_nobodys(stage: Stage) -> None:
    """They never reach the next request, and neither does their connection."""
    await stage.serve()
    body = json.dumps(ANSWER).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    stray = json.dumps(ANSWER).replace(FIRST_WORDS, "stray words").encode()
    stage.one.script(raw(head % len(body), body, head % len(stray), stray))
    assert (await stage.ask()).text == FIRST_WORDS
    for stream in (False, True):
        answer = await stage.ask(stream)
        assert (answer.text, answer.headers["x-failsoft-upstream"]) == (FIRST_WORDS, "one")
    first, *later = (seen.connection for seen in stage.one.seen)
    assert first not in later


@pytest.mark.fault(16)
@MODES
async def test_16_an_upstream_stops_reading(stage: Stage, stream: bool) -> None:
    """A large request that is not taken is given up; each span of time in which some of it is taken is fine."""

    async def deaf(peer: Peer) -> None:
        line, _ = await peer.head()
        if line.startswith(b"POST"):
            await asyncio.Event().wait()

    async with serving(deaf) as server:
        entry = upstream(f"http://127.0.0.1:{server.port}/v1", timeouts={"write": "100ms"})
        await stage.serve({"one": entry, "two": upstream(stage.two)})
        answer = await stage.ask(stream, messages=[{"role": "user", "content": PROMPT + "x" * (5 << 20)}])
    assert answer.text == SECOND_WORDS
    assert stage.told() == TWICE
    assert stage.records[0].may_be_billed


# TLS.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    """An authority of the test's own, and the file that names it."""
    made = trustme.CA(key_type=trustme.KeyType.ECDSA)
    file: Path = tmp_path_factory.mktemp("authority") / "ca.pem"
    made.cert_pem.write_to_path(str(file))
    return made, str(file)


def presenting(authority: trustme.CA, host: str = "127.0.0.1", not_after: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert(
        host, not_after=not_after, key_type=trustme.KeyType.ECDSA, organization_name="certificate-words"
    )
    certificate.configure_cert(context)
    return context


def old_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = presenting(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSVersion.TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return context


BAD_TLS: Mapping[str, Callable[[trustme.CA], ssl.SSLContext]] = {
    "expired": lambda authority: presenting(authority, not_after=datetime(2020, 1, 1, tzinfo=UTC)),
    "another host": lambda authority: presenting(authority, "other.test"),
    "an unknown authority": lambda _authority: presenting(trustme.CA(key_type=trustme.KeyType.ECDSA)),
    "TLS 1.1 at most": old_tls,
}


@pytest.mark.fault(5)
@MODES
@pytest.mark.parametrize("name", BAD_TLS)
async def test_5_who_cannot_prove_to_be_the_host_is_told_nothing(
    stage: Stage, authority: tuple[trustme.CA, str], stream: bool, name: str
) -> None:
    heard: list[bytes] = []

    async def listen(peer: Peer) -> None:
        heard.append(await peer.reader.read())

    async with serving(listen, BAD_TLS[name](authority[0])) as server:
        entry = upstream(f"https://127.0.0.1:{server.port}/v1", ca_file=authority[1])
        await moves_on(stage, stream, ("one tls", "two success"), entry)
    assert b"".join(heard) == b""
    assert "certificate-words" not in str(stage.answers)


@pytest.mark.fault(13)
@MODES
async def test_13_http_2_is_never_offered(stage: Stage, authority: tuple[trustme.CA, str], stream: bool) -> None:
    """A server that would rather speak it gets HTTP/1.1; one that speaks it all the same is no upstream."""
    chosen: list[str | None] = []

    async def goaway(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await peer.head()
        await peer.send(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8))

    context = presenting(authority[0])
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(goaway, context) as server:
        entry = upstream(f"https://127.0.0.1:{server.port}/v1", ca_file=authority[1])
        await stage.serve({"one": entry, "two": upstream(stage.two)})
        answer = await stage.ask(stream)
    assert answer.text == SECOND_WORDS
    assert stage.told() == TWICE
    assert set(chosen) == {"http/1.1"}
