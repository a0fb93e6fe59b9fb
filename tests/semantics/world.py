"""The whole product in virtual time and without sockets: the application as it is assembled, its clients in memory."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from proxy import bootstrap
from proxy.config.compile import Snapshot
from proxy.core.clock import FakeClock
from tests.semantics.wire import Wire
from tests.unit.engine.virtual import VirtualLoop

ADMIN = "admin-canary-83b2a6"
NO_FILE = "no-such-file.yaml"
_INSTANT = 0.001
"""Seconds; what is ready to run has run before they have passed."""

T = TypeVar("T")


class WorldLoop(VirtualLoop):
    """What other loops leave to threads is done at once: threads do not live in virtual time."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(slots=True)
class LoopClock(FakeClock):
    """The loop's time."""

    loop: asyncio.AbstractEventLoop | None = None

    def monotonic(self) -> float:
        assert self.loop is not None
        return self.loop.time()

    def wall(self) -> datetime:
        self.now = self.monotonic()
        return FakeClock.wall(self)


class View:
    """An answer as its client sees it."""

    def __init__(self) -> None:
        self.status = 0
        self.head: dict[str, str] = {}
        self.body = b""
        self.is_whole = False
        """True once the server said that there is no more."""
        self.first_byte: float | None = None

    @property
    def is_stream(self) -> bool:
        return self.head.get("content-type", "").startswith("text/event-stream")

    @cached_property
    def frames(self) -> list[str]:
        """Of a stream, without blank lines."""
        assert self.body.endswith(b"\n\n") or not self.is_whole, "a stream ends with a whole frame"
        return [frame for frame in self.body.decode().split("\n\n") if frame]

    @cached_property
    def data(self) -> list[Any]:
        """The JSON of a whole answer, or of each frame of a stream but `[DONE]`."""
        if not self.is_stream:
            return [json.loads(self.body)]
        texts = [frame.removeprefix("data: ") for frame in self.frames if not frame.startswith(":")]
        return [json.loads(text) for text in texts if text != "[DONE]"]

    @property
    def end_marks(self) -> int:
        return self.frames.count("data: [DONE]")

    @property
    def choices(self) -> list[Any]:
        return [choice for document in self.data for choice in document.get("choices", ())]

    @property
    def finishes(self) -> list[str]:
        return [choice["finish_reason"] for choice in self.choices if choice.get("finish_reason")]

    @property
    def errors(self) -> list[str | None]:
        """The codes of all errors that the client was told."""
        return [document["error"]["code"] for document in self.data if "error" in document]

    @property
    def text(self) -> str:
        said = [choice.get("delta") or choice.get("message") for choice in self.choices]
        return "".join(message.get("content") or "" for message in said if message)

    @cached_property
    def receipt(self) -> dict[str, str]:
        """The `x-failsoft-*` headers, wherever they stand: in the head, or in comments of a stream that had begun."""
        comments = [line[2:] for frame in self.frames for line in frame.split("\n")] if self.is_stream else []
        said = dict(line.split(": ", 1) for line in comments if line.startswith("x-failsoft-"))
        return {name: value for name, value in {**self.head, **said}.items() if name.startswith("x-failsoft-")}


class Client:
    """One request; `leave` hangs up."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.view = View()
        self.at = self.ended = 0.0
        self.task: asyncio.Task[None] | None = None
        self.has_left = False
        self._request = [{"type": "http.request", "body": body}]
        self._left = asyncio.Event()
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8080),
        }

    @property
    def is_over(self) -> bool:
        return self.task is not None and self.task.done()

    async def live(self, app: Any) -> None:
        loop = asyncio.get_running_loop()
        self.at = loop.time()
        try:
            await app(self._scope, self._receive, self._send)
        finally:
            self.ended = loop.time()

    def leave(self) -> None:
        self.has_left = True
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        if self._request:
            return self._request.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self.has_left:
            return
        view = self.view
        if message["type"] == "http.response.start":
            assert not view.status, "one answer has one head"
            view.status = message["status"]
            view.head = {name.decode(): value.decode() for name, value in message["headers"]}
            view.first_byte = asyncio.get_running_loop().time()
        else:
            assert view.status, "the head comes first"
            assert not view.is_whole, "nothing comes after the end"
            view.body += message["body"]
            view.is_whole = not message.get("more_body", False)


class World:
    """One loop, one wire, and one process at a time that serves what `read` reads (or raises ConfigError)."""

    def __init__(self, wire: Wire, read: Callable[[], Snapshot]) -> None:
        self.loop = WorldLoop()
        self.wire = wire
        self._read = read
        self._folder = tempfile.TemporaryDirectory()
        self._app: Any = None
        self._lifespan: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    @property
    def now(self) -> float:
        return self.loop.time()

    def start(self) -> None:
        """A new process: it remembers nothing."""
        snapshot = self._read()
        self._app = bootstrap.assemble(
            snapshot, snapshot.server.admin_keys, self._read, Path(self._folder.name), LoopClock(loop=self.loop),
            transport=self.wire,
        )  # fmt: skip
        self._stop = asyncio.Event()
        self._lifespan = self.loop.create_task(self._live())
        self.settle()

    def stop(self) -> None:
        """Its end; nothing of it is left on the loop."""
        assert self._lifespan is not None
        self._stop.set()
        self.loop.run_until_complete(self._lifespan)
        self.settle()
        assert not asyncio.all_tasks(self.loop), "a task is left"

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        self._folder.cleanup()

    def settle(self) -> None:
        """Whatever can happen without waiting happens."""
        self.pass_time(_INSTANT)

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def begin(self, client: Client) -> Client:
        client.task = self.loop.create_task(client.live(self._app))
        return client

    def admin(self, method: str, path: str) -> View:
        """What the operator is told."""
        client = Client(method, f"/admin/{path}", {"authorization": f"Bearer {ADMIN}"})
        self.loop.run_until_complete(client.live(self._app))
        return client.view

    async def _live(self) -> None:
        async def receive() -> dict[str, str]:
            if not started.done():
                return {"type": "lifespan.startup"}
            await self._stop.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Mapping[str, Any]) -> None:
            assert message["type"] in ("lifespan.startup.complete", "lifespan.shutdown.complete"), message
            if not started.done():
                started.set_result(None)

        started: asyncio.Future[None] = self.loop.create_future()
        await self._app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
