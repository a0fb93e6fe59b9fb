"""Certificates and tunnels: whom we talk to, and that nobody else is talked to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from proxy.adapters.transport_http import HttpTransport
from proxy.core.decision import Origin
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import Transport
from tests.contract.transport.asking import OK, PATIENT, Got, ask, cancel_at_every_turn, outcome, wire
from tests.contract.transport.rawserver import Peer, RawServer, always, serving


@dataclass(frozen=True)
class Trust:
    """An authority of the test's own, and the file that names it."""

    authority: trustme.CA
    file: str


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    path: Path = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return Trust(authority, str(path))


def presenting(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    certificate.configure_cert(context)
    return context


def issue(authority: trustme.CA, name: str, not_after: datetime | None = None) -> trustme.LeafCert:
    return authority.issue_cert(name, not_after=not_after, key_type=trustme.KeyType.ECDSA)


async def test_good_certificate(transport: Transport, trust: Trust) -> None:
    """A certificate of the authority in `ca_file`, for this host, is taken; the connection is kept."""
    async with serving(always(OK), presenting(issue(trust.authority, "127.0.0.1"))) as server:
        request = wire(server.origin(ca_file=trust.file), method="POST", body=b"{}")
        assert await ask(transport, request) == Got(200, b"ok")
        assert await ask(transport, request) == Got(200, b"ok")
        assert server.accepted == 1


async def test_large_bodies_over_tls(transport: Transport, trust: Trust) -> None:
    """Back-pressure both ways works through TLS too."""
    body = bytes(range(256)) * 16 * 1024
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
        seen.append((await peer.answer(head, body)).body)

    async with serving(script, presenting(issue(trust.authority, "127.0.0.1"))) as server:
        request = wire(server.origin(ca_file=trust.file), method="POST", body=body)
        assert await ask(transport, request) == Got(200, body)
    assert seen == [body]


BAD = {
    "expired": ("the certificate has expired", "127.0.0.1", datetime(2020, 1, 1, tzinfo=UTC)),
    "for another host": ("the certificate is for another", "other.test", None),
    "of an unknown authority": ("the certificate is of an unknown authority", "127.0.0.1", None),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_certificates(transport: Transport, trust: Trust, name: str) -> None:
    """Nothing is sent to who cannot prove to be the host; the reason is said without the certificate's text."""
    detail, host, not_after = BAD[name]
    authority = trustme.CA() if name == "of an unknown authority" else trust.authority
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.reader.read())

    async with serving(script, presenting(issue(authority, host, not_after))) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await ask(transport, wire(server.origin(ca_file=trust.file)))
        assert caught.value.kind is ErrorKind.TLS
        assert not caught.value.sent
        if "aiohttp" not in type(transport).__module__:
            assert caught.value.detail.startswith(detail)
    assert heard in ([], [b""])


async def test_the_systems_trust_store_does_not_know_us(transport: Transport, trust: Trust) -> None:
    """Without `ca_file` the system's authorities count, and only they."""
    async with serving(always(OK), presenting(issue(trust.authority, "127.0.0.1"))) as server:
        assert await outcome(transport, wire(server.origin())) is ErrorKind.TLS


async def test_no_tls_at_the_port(transport: Transport, trust: Trust) -> None:
    """A plain answer to a handshake is no answer."""

    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(script) as server:
        origin = Origin("https", "127.0.0.1", server.port, trust.file)
        assert await outcome(transport, wire(origin)) is ErrorKind.TLS


# Through a proxy.


@asynccontextmanager
async def proxying(answer: bytes, asked: list[bytes]) -> AsyncIterator[RawServer]:
    """A CONNECT proxy that tunnels if its answer says so; it notes the request lines in `asked`."""

    async def script(peer: Peer) -> None:
        line, _ = await peer.head()
        asked.append(line)
        await peer.send(answer)
        if b" 200 " not in answer:
            return
        host, _, port = line.split()[1].partition(b":")
        reader, writer = await asyncio.open_connection(host.decode(), int(port))

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
            target.close()

        ways = [asyncio.create_task(copy(peer.reader, writer)), asyncio.create_task(copy(reader, peer.writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.transport.abort()
            peer.writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async with serving(script) as server:
        yield server


async def test_tunnel(transport: Transport, trust: Trust) -> None:
    """TLS runs inside the tunnel, to the origin and not to the proxy; the tunnel is kept like a connection."""
    asked: list[bytes] = []
    async with (
        serving(always(OK), presenting(issue(trust.authority, "127.0.0.1"))) as server,
        proxying(b"HTTP/1.1 200 Connection established\r\n\r\n", asked) as proxy,
    ):
        origin = server.origin(ca_file=trust.file, via=f"127.0.0.1:{proxy.port}")
        assert await ask(transport, wire(origin)) == Got(200, b"ok")
        assert await ask(transport, wire(origin)) == Got(200, b"ok")
        assert proxy.accepted == server.accepted == 1
        assert asked == [b"CONNECT 127.0.0.1:%d HTTP/1.1" % server.port]
        await transport.aclose()


@pytest.mark.parametrize("status", [b"407 Who are you", b"502 Bad"])
async def test_refused_tunnel(transport: Transport, trust: Trust, status: bytes) -> None:
    """A proxy that gives no tunnel is a failure to connect."""
    async with proxying(b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % status, []) as proxy:
        origin = Origin("https", "127.0.0.1", 9, trust.file, f"127.0.0.1:{proxy.port}")
        assert await outcome(transport, wire(origin)) is ErrorKind.CONNECT


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"", "gave no answer"),
        (b"SSH-2.0\r\n\r\n", "is none"),
        (b"HTTP/1.1 299 OK\r\n\r\nmore", "said more than its answer"),
    ],
)
async def test_no_proxy_at_the_port(
    ours: Callable[..., HttpTransport], trust: Trust, answer: bytes, detail: str
) -> None:
    """Who closes, speaks otherwise or says more than was asked is no proxy."""
    async with proxying(answer, []) as proxy:
        origin = Origin("https", "127.0.0.1", 9, trust.file, f"127.0.0.1:{proxy.port}")
        with pytest.raises(UpstreamFailure, match=f"connect: the proxy {detail}"):
            await ask(ours(), wire(origin))


async def test_unreadable_authority(ours: Callable[..., HttpTransport], tmp_path: Path) -> None:
    """A `ca_file` that is not there is no reason to trust the system's authorities instead."""
    origin = Origin("https", "127.0.0.1", 9, str(tmp_path / "absent.pem"))
    assert await outcome(ours(), wire(origin)) is ErrorKind.TLS


@pytest.mark.parametrize("is_tunnelled", [False, True], ids=["direct", "tunnel"])
async def test_silent_handshake(ours: Callable[..., HttpTransport], trust: Trust, is_tunnelled: bool) -> None:
    """Who accepts and then says nothing is left after the TLS timer, or the proxy's."""

    async def mute(peer: Peer) -> None:
        await peer.gone()

    async with serving(mute) as server:
        port = server.port
        origin = Origin("https", "127.0.0.1", port, trust.file, f"127.0.0.1:{port}" if is_tunnelled else None)
        short = replace(PATIENT, connect=0.05) if is_tunnelled else replace(PATIENT, tls=0.05)
        with pytest.raises(UpstreamFailure, match="no tunnel within" if is_tunnelled else "no handshake within"):
            await ask(ours(), wire(origin, timeouts=short))
        await server.until(lambda: server.over == [0])


@pytest.mark.parametrize("scheme", ["https", "tunnel"])
async def test_cancelled_at_every_turn(ours: Callable[..., HttpTransport], trust: Trust, scheme: str) -> None:
    """However far the handshake or the tunnel has come, a cancelled call gives its place back and closes."""
    async with (
        serving(always(OK), presenting(issue(trust.authority, "127.0.0.1"))) as server,
        proxying(b"HTTP/1.1 200 OK\r\n\r\n", []) as proxy,
    ):
        via = f"127.0.0.1:{proxy.port}" if scheme == "tunnel" else None
        await cancel_at_every_turn(ours, server.origin(ca_file=trust.file, via=via))
        await server.until(lambda: len(server.over) == server.accepted)
