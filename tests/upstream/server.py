"""The fake upstream: a real HTTP/1.1 server on a raw socket that does to its clients what tests script.

In a test: `async with FakeUpstream() as fake`, then `fake.script(Script(...))`; what came in is in `fake.seen`.
A script is used once, in the order of scripting, by the first request that suits it; `fake.default` answers the rest.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self, cast

from tests.upstream.control import is_control, obey
from tests.upstream.dialects import Dialect, discover
from tests.upstream.local import LocalServer
from tests.upstream.play import play
from tests.upstream.request import MalformedRequest, Request, RequestReader
from tests.upstream.script import PATIENCE, Gate, Script
from tests.upstream.seen import Seen

_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Scripted:
    """A script that waits for its requests; `times` None never runs out."""

    script: Script
    suits: Callable[[Request], bool]
    times: int | None


class FakeUpstream:
    """Listens on a loopback port (0: any). With `keep` false it only counts, which long runs want."""

    def __init__(self, port: int = 0, *, keep: bool = True) -> None:
        self.port = port
        self.default = Script()
        self.on_connect: Literal["serve", "close", "reset"] = "serve"
        """What happens to a connection as soon as it is accepted."""
        self.connections: set[Connection] = set()
        self.connected = 0
        """How many connections there have ever been."""
        self.simulation: LocalServer | None = None
        """A local server that is asked before anything else."""
        self._dialects = discover()
        self._scripts: list[_Scripted] = []
        self._gates: dict[str, Gate] = {}
        self._seen: deque[Seen] = deque(maxlen=None if keep else 0)
        self.requests = 0
        self.keeps = keep
        self._arrival = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Refuse new connections and abort the open ones."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.abort()
        await self._empty.wait()

    @property
    def url(self) -> str:
        """What an upstream's `url` is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def everything(self) -> list[Seen]:
        """All requests so far, in the order of their coming."""
        return list(self._seen)

    @property
    def seen(self) -> list[Seen]:
        """The prompts among them: clients that look around (`GET /models`) are in nobody's way."""
        return [seen for seen in self._seen if seen.method == "POST"]

    def script(
        self,
        script: Script,
        *,
        model: str | None = None,
        path: str | None = None,
        when: Callable[[Request], bool] | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer the next `times` requests (None: all) like this: those for a model, a path's end, or a predicate.

        Without a path, only prompts (`POST`) are meant.
        """

        def suits(request: Request) -> bool:
            return (
                (path is not None or request.method == "POST")
                and (model is None or request.json.get("model") == model)
                and (path is None or request.path.endswith(path))
                and (when is None or when(request))
            )

        self._scripts.append(_Scripted(script, suits, times))

    def simulate(self, server: LocalServer) -> None:
        """Let `server` answer what is its own."""
        self.simulation = server
        server.seen = lambda: self._seen

    def gate(self, name: str = "") -> Gate:
        """The gate of that name; a new one if there is none, or without a name."""
        return self._gates.setdefault(name, Gate(name)) if name else Gate()

    def reset(self) -> None:
        """Forget scripts, gates and what was seen."""
        self._scripts.clear()
        self._gates.clear()
        self._seen.clear()

    async def arrived(self, count: int = 1) -> Seen:
        """Wait until `count` prompts have come in; the last of them."""
        async with asyncio.timeout(PATIENCE):
            while len(self.seen) < count:
                await self._arrival.wait()
        return self.seen[count - 1]

    def choose(self, request: Request) -> Script:
        """The script for a request; it is used up by that."""
        for scripted in self._scripts:
            if scripted.suits(request):
                if scripted.times is not None:
                    scripted.times -= 1
                    if not scripted.times:
                        self._scripts.remove(scripted)
                return scripted.script
        return self.default

    def dialect(self, request: Request) -> Dialect | None:
        return next((dialect for dialect in self._dialects if dialect.answers(request)), None)

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.connected += 1
        self._empty.clear()

    def lost(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def note(self, seen: Seen) -> None:
        """A request has come in."""
        self.requests += 1
        self._seen.append(seen)
        self._arrival.set()
        self._arrival = asyncio.Event()


class Connection(asyncio.Protocol):
    """One client connection: requests are answered one after another, in a task that dies with the connection."""

    _numbers = itertools.count(1)

    def __init__(self, fake: FakeUpstream) -> None:
        self._fake = fake
        self._reader = RequestReader()
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._seen: list[Seen] = []
        self._ended_here = False
        self._room = asyncio.Event()
        self._room.set()
        self.number = next(Connection._numbers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without being derived from it
        self._fake.opened(self)
        if self._fake.on_connect == "reset":
            self.reset()
        elif self._fake.on_connect == "close":
            self.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._waiting.extend(self._reader.feed(data))
        except MalformedRequest as error:
            self.abort()
            raise AssertionError(f"the fake was sent something that is not HTTP: {error}") from error
        if self._waiting and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    def eof_received(self) -> None:
        self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over()
        self._fake.lost(self)

    def pause_writing(self) -> None:
        self._room.clear()
        for seen in self._seen:
            seen.stalled = seen.answered is None
            seen.mark()

    def resume_writing(self) -> None:
        self._room.set()

    async def write(self, data: bytes) -> None:
        self._transport.write(data)
        await self._room.wait()

    def close(self) -> None:
        self._ended_here = True
        self._transport.close()

    def reset(self) -> None:
        self._ended_here = True
        raw: socket.socket = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    def abort(self) -> None:
        self._ended_here = True
        self._transport.abort()

    def _over(self) -> None:
        """The peer has closed, or we have: nothing more is answered here."""
        now = time.monotonic()
        for seen in self._seen:
            if seen.gone is None:
                seen.gone, seen.left = now, seen.answered is None and not self._ended_here
                seen.mark()
        self._seen.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _work(self) -> None:
        while self._waiting:
            await self._answer(self._waiting.popleft())
        self._task = None

    async def _answer(self, request: Request) -> None:
        if is_control(request):
            await self.write(await obey(request, self._fake))
            return
        seen = Seen(request, self.number)
        self._seen.append(seen)
        self._fake.note(seen)
        simulation = self._fake.simulation
        simulated = await simulation.answer(request) if simulation is not None else None
        dialect = self._fake.dialect(request)
        script = simulated or self._fake.choose(request)
        if dialect is None:
            dialect = self._fake.dialect(Request("POST", "/v1/chat/completions", (), b"{}"))
            script = script if script is not self._fake.default else Script(status=404)
        assert dialect is not None
        await play(script, dialect, self, seen)
        if not self._fake.keeps:
            self._seen.remove(seen)
