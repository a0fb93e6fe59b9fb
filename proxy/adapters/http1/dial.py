"""Opens sockets: names to addresses, addresses to a TCP connection, through a proxy if told, then TLS."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias

from proxy.adapters.http1.connection import Connection
from proxy.adapters.http1.deadline import within
from proxy.core.decision import Origin, Timeouts
from proxy.core.errors import ErrorKind, UpstreamFailure

STAGGER: Final = 0.25
"""Seconds that an address gets before the next is tried beside it (RFC 8305, 5: 250 ms is recommended)."""

_PROXY_HEAD_LIMIT: Final = 64 * 1024
_PROXY_AGREED: Final = re.compile(rb"HTTP/1\.[01] 2\d\d[ \r]")
_PROXY_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")

_Address: TypeAlias = tuple[socket.AddressFamily, Any]  # a socket address has the form of its family
_Lookup: TypeAlias = "asyncio.Future[list[_Address]]"
LookUp: TypeAlias = Callable[[str, int], list[_Address]]
"""The addresses of a host name and a port, in the order to try them. Blocks; raises OSError."""

# X509_V_ERR_* of OpenSSL: the number says it shortly; OpenSSL's own text can quote the certificate.
_CERTIFICATE_FAULTS: Final = {
    9: "is not yet valid",
    10: "has expired",
    18: "is self-signed",
    19: "is of an unknown authority",
    20: "is of an unknown authority",
    62: "is for another host",
    64: "is for another address",
}


def look_up(host: str, port: int) -> list[_Address]:
    """Blocks. The families take turns, beginning with the one the system prefers (RFC 8305, 4)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("not a host name") from None
    first = [(family, address) for family, _, _, _, address in found if family == found[0][0]]
    others = [(family, address) for family, _, _, _, address in found if family != found[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, others)) if address is not None]


class Dialler:
    """Opens connections; caches one TLS context per trust store and shares name lookups under way.

    With `admits`, a name or address leads somewhere only if all of the addresses it stands for are admitted. Names are
    looked up on `threads`, by default the loop's own.
    """

    def __init__(
        self,
        look_up: LookUp = look_up,
        admits: Callable[[str], bool] | None = None,
        threads: Executor | None = None,
    ) -> None:
        self._look_up = look_up
        self._admits = admits
        self._threads = threads
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    async def dial(self, origin: Origin, timeouts: Timeouts, connection: Connection) -> None:
        """Open `connection` to `origin`. Raises `UpstreamFailure` CONNECT or TLS, `sent` false."""
        loop = asyncio.get_running_loop()
        context = self._context(origin.ca_file) if origin.scheme == "https" else None
        host, port = _host_and_port(origin.via) if origin.via else (origin.host, origin.port)
        addresses = await self._resolve(loop, host, port, timeouts.connect)
        if self._admits is not None and not all(self._admits(address[0]) for _, address in addresses):
            raise _refusal("an address that may not be connected to")
        sock = await _reach(loop, addresses, timeouts.connect)
        if origin.via:
            await _tunnel(loop, sock, origin, timeouts.connect)
        try:
            await loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=context,
                server_hostname=origin.host if context else None,
                ssl_handshake_timeout=timeouts.tls if context else None,
            )
        except OSError as error:
            raise _distrust(_tls_detail(error, timeouts.tls)) from None

    def _context(self, ca_file: str | None) -> ssl.SSLContext:
        context = self._contexts.get(ca_file)
        if context is None:
            try:
                context = ssl.create_default_context(cafile=ca_file)
            except OSError:
                raise _distrust("the file of certificate authorities cannot be read") from None
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            self._contexts[ca_file] = context
        return context

    async def _resolve(self, loop: asyncio.AbstractEventLoop, host: str, port: int, seconds: float) -> list[_Address]:
        """The addresses of `host` in the order to try them.

        Callers who ask for the same name at once share one lookup, so that a dead name server holds one thread per
        name and not one per request.
        """
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        key = (host, port)
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = loop.run_in_executor(self._threads, self._look_up, host, port)
            lookup.add_done_callback(lambda done: self._looked_up(key, done))
        try:
            async with within(seconds):
                return await asyncio.shield(lookup)
        except TimeoutError:
            raise _refusal(f"the name was not resolved within {seconds:g} s") from None
        except OSError:
            raise _refusal("the name cannot be resolved") from None

    def _looked_up(self, key: tuple[str, int], lookup: _Lookup) -> None:
        del self._lookups[key]
        if not lookup.cancelled():
            lookup.exception()  # taken note of, though all who asked may have left


def _literal(host: str, port: int) -> _Address | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family, (host, port)
    return None


async def _reach(loop: asyncio.AbstractEventLoop, addresses: list[_Address], seconds: float) -> socket.socket:
    """A connected socket to the first address that answers; each gets `seconds` (happy eyeballs, RFC 8305)."""
    if len(addresses) == 1:
        return await _connect(loop, addresses[0], seconds)
    waiting: Iterator[_Address] = iter(addresses)
    attempts: set[asyncio.Task[socket.socket]] = set()
    winner: socket.socket | None = None
    failure = _refusal("the name has no address")
    try:
        while True:
            address = next(waiting, None)
            if address is not None:
                attempts.add(loop.create_task(_connect(loop, address, seconds)))
            elif not attempts:
                raise failure
            done, _ = await asyncio.wait(
                attempts,
                timeout=None if address is None else STAGGER,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                try:
                    winner = attempt.result()
                except UpstreamFailure as error:
                    failure = error
                    attempts.discard(attempt)
                else:
                    return winner
    finally:
        for attempt in attempts:
            attempt.cancel()
        for late in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(late, socket.socket) and late is not winner:
                late.close()


async def _connect(loop: asyncio.AbstractEventLoop, address: _Address, seconds: float) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    is_connected = False
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with within(seconds):
            await loop.sock_connect(sock, address[1])
        is_connected = True
    except TimeoutError:
        raise _refusal(f"no connection within {seconds:g} s") from None
    except OSError as error:
        raise _refusal(f"connect: {_words(error)}") from None
    finally:
        if not is_connected:
            sock.close()
    return sock


async def _tunnel(loop: asyncio.AbstractEventLoop, sock: socket.socket, origin: Origin, seconds: float) -> None:
    """Ask the proxy at the other end of `sock` for a tunnel to `origin` (RFC 9110, 9.3.6); else close `sock`."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    asked = f"CONNECT {host}:{origin.port} HTTP/1.1\r\nhost: {host}:{origin.port}\r\n\r\n"
    is_through = False
    try:
        async with within(seconds):
            await loop.sock_sendall(sock, asked.encode("ascii"))
            head = await _proxy_head(loop, sock)
        if not _PROXY_AGREED.match(head):
            status = _PROXY_STATUS.match(head)
            raise _refusal(f"the proxy answered {status[1].decode()}" if status else "the proxy is none")
        if not head.endswith(b"\r\n\r\n"):
            raise _refusal("the proxy said more than its answer")  # in both schemes the client speaks first
        is_through = True
    except TimeoutError:
        raise _refusal(f"the proxy gave no tunnel within {seconds:g} s") from None
    except OSError as error:
        raise _refusal(f"the proxy: {_words(error)}") from None
    finally:
        if not is_through:
            sock.close()


async def _proxy_head(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    """What the proxy says up to a blank line, and what came with it."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await loop.sock_recv(sock, 4096)
        if not piece or len(head) > _PROXY_HEAD_LIMIT:
            raise _refusal("the proxy gave no answer")
        head += piece
    return head


def _host_and_port(via: str) -> tuple[str, int]:
    host, _, port = via.rpartition(":")
    return host.strip("[]"), int(port)


def _tls_detail(error: OSError, seconds: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(error.verify_code, f"is refused (code {error.verify_code})")
        return f"the certificate {fault}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "failed").lower().replace("_", " ")
    if isinstance(error, ConnectionAbortedError):
        return f"no handshake within {seconds:g} s"
    return _words(error)


def _words(error: OSError) -> str:
    """The system's words for an error number: its own text may hold addresses."""
    return os.strerror(error.errno).lower() if error.errno else "failed"


def _distrust(detail: str) -> UpstreamFailure:
    return UpstreamFailure(ErrorKind.TLS, detail, sent=False)


def _refusal(detail: str) -> UpstreamFailure:
    return UpstreamFailure(ErrorKind.CONNECT, detail, sent=False)
