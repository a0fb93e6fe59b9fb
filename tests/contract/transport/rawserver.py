"""A server that says whatever a script tells it to, byte by byte: no framework would send broken HTTP."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy.core.decision import Origin


@dataclass(frozen=True)
class Asked:
    """A request as it came over the wire."""

    line: bytes
    headers: dict[bytes, bytes]
    body: bytes


class Peer:
    """The server's end of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def head(self) -> tuple[bytes, dict[bytes, bytes]]:
        """Read the request's line and headers."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *rest = raw[:-4].split(b"\r\n")
        return line, {name.lower(): value.strip() for name, _, value in (item.partition(b":") for item in rest)}

    async def request(self) -> Asked:
        """Read a whole request."""
        line, headers = await self.head()
        body = await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        return Asked(line, headers, body)

    async def send(self, *pieces: bytes) -> None:
        """Send each piece in a write of its own, and let the loop turn after each."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self, *pieces: bytes) -> Asked:
        """Read a request, then send."""
        asked = await self.request()
        await self.send(*pieces)
        return asked

    async def reset(self) -> None:
        """Send RST instead of FIN, after what was sent."""
        while self.writer.transport.get_write_buffer_size():  # noqa: ASYNC110
            await asyncio.sleep(0)
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Return when the client has closed the connection, whatever it sent before."""
        try:
            while await self.reader.read(65536):
                pass
        except OSError:
            pass


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class RawServer:
    """A listening server; `peers` are the connections it has accepted, `over` the scripts that have ended."""

    script: Script
    context: ssl.SSLContext | None = None
    peers: list[Peer] = field(default_factory=list)
    over: list[int] = field(default_factory=list)
    wrong: list[BaseException] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def accepted(self) -> int:
        return len(self.peers)

    def origin(self, *, host: str = "127.0.0.1", ca_file: str | None = None, via: str | None = None) -> Origin:
        return Origin("https" if self.context else "http", host, self.port, ca_file, via)

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for a state of the server that connections coming or scripts ending bring about."""
        while not is_true():
            self._changed.clear()
            await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(len(self.peers), reader, writer)
        self.peers.append(peer)
        self._changed.set()
        try:
            await self.script(peer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client closed while the script was still talking, or the test is over
        except Exception as error:
            self.wrong.append(error)
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()
            self.over.append(peer.number)
            self._changed.set()
            self._tasks.discard(task)


@asynccontextmanager
async def serving(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serve on a free port of 127.0.0.1; afterwards what went wrong in a script goes wrong in the test."""
    server = RawServer(script, context)
    listener = await asyncio.start_server(server._serve, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        tasks = tuple(server._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in server.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)
    if server.wrong:
        raise server.wrong[0]


def each(*scripts: Script) -> Script:
    """The first connection follows the first script and so on; the last script serves all the rest."""

    async def script(peer: Peer) -> None:
        await scripts[min(peer.number, len(scripts) - 1)](peer)

    return script


def always(*pieces: bytes) -> Script:
    """Answer each request with `pieces` for as long as the client stays."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.answer(*pieces)

    return script


def once(*pieces: bytes, end: str = "eof") -> Script:
    """Answer one request, then close (`eof`), reset, or wait for the client to leave (`stay`)."""

    async def script(peer: Peer) -> None:
        await peer.answer(*pieces)
        if end == "reset":
            await peer.reset()
        elif end == "stay":
            await peer.gone()

    return script
