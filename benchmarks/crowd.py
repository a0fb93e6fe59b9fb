"""Both ends of a proxy under strain: upstreams of a known capacity that can be made to fail, and an open-loop crowd."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from benchmarks.machine import LOOPBACK

MODEL = "crowd-model"
_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
).encode()
_MODELS = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
_CHUNK = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Yes."}, "finish_reason": None}],
    }
).encode()


def _head(status: int, kind: bytes, length: int | None) -> bytes:
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"HTTP/1.1 %d x\r\ncontent-type: %s\r\n%s\r\n\r\n" % (status, kind, framing)


GOOD = _head(200, b"application/json", len(_ANSWER)) + _ANSWER
_FRAME = b"data: " + _CHUNK + b"\n\n"
_PIECE = b"%x\r\n%s\r\n" % (len(_FRAME), _FRAME)
SILENT = _head(200, b"text/event-stream", None) + _PIECE
"""The beginning of a stream that says nothing more."""
FAULT = _head(500, b"application/json", 2) + b"{}"
BUSY = _head(503, b"application/json", 2) + b"{}"
CUT = GOOD[:-20]
"""An answer whose connection breaks before its end."""
LIST = _head(200, b"application/json", len(_MODELS)) + _MODELS


@dataclass
class Upstream:
    """Works on `capacity` requests at once, `seconds` for each; the others wait, as they would in a model's server.

    `reply` gives what each request is answered with, None to reset its connection. `arrivals` are monotonic seconds.
    """

    capacity: int = 1000
    seconds: float = 0.02
    reply: Callable[[], bytes | None] = lambda: GOOD
    arrivals: list[float] = field(default_factory=list)
    open: int = 0
    port: int = 0

    async def start(self) -> None:
        """Listen on a port of its own."""
        self._places = asyncio.Semaphore(self.capacity)
        self._server = await asyncio.start_server(self._connected, LOOPBACK, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        self._server.close()

    def rate(self, since: float, until: float) -> float:
        """Requests per second that came in between two moments."""
        return sum(since <= moment < until for moment in self.arrivals) / (until - since)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the proxy let go of it, or the measurement is over
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; false if the connection is to be closed."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(LIST)
            return True
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.arrivals.append(time.monotonic())
        async with self._places:
            await asyncio.sleep(self.seconds)
        reply = self.reply()
        if reply is None:
            return False
        writer.write(reply)
        if reply is SILENT:
            await reader.read()
        return reply is not CUT and reply is not SILENT


@dataclass(frozen=True, slots=True)
class Told:
    """What one caller saw: when it asked, how long it took, the status (0: none) and the kind of answer."""

    at: float
    seconds: float
    status: int
    is_offline: bool

    @property
    def is_good(self) -> bool:
        """A model answered."""
        return self.status == 200 and not self.is_offline


class Crowd:
    """Callers of one proxy; they come at their time, whether the earlier ones have been served or not."""

    def __init__(self, url: str, session: aiohttp.ClientSession, headers: dict[str, str] | None = None) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._session = session
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Is it so?"}]}).encode()

    async def come(self, rate: float, seconds: float) -> Sequence[Told]:
        """`rate` callers per second, evenly, for so long; returns when the last of them has been served."""
        start, tasks = time.monotonic(), []
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            tasks.append(asyncio.create_task(self._ask(due)))
        return await asyncio.gather(*tasks)

    async def take_turns(self, callers: int, requests: int) -> None:
        """So many callers at once, one request after another, until all requests have been made."""
        left = iter(range(requests))

        async def caller() -> None:
            for _ in left:
                await self._ask(time.monotonic())

        await asyncio.gather(*(caller() for _ in range(callers)))

    async def _ask(self, due: float) -> Told:
        status, is_offline = 0, False
        try:
            async with self._session.post(self._url, data=self._body, headers=self._headers) as answer:
                await answer.read()
                status, is_offline = answer.status, "x-failsoft-offline" in answer.headers
        except (aiohttp.ClientError, TimeoutError):
            pass
        return Told(due, time.monotonic() - due, status, is_offline)
