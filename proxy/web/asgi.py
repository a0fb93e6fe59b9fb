"""Raw ASGI in three parts: read a body within limits, answer, and notice that the client has left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from proxy.core.errors import ErrorKind, ProxyError
from proxy.engine.door import Hold

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""On every answer; a page of the dashboard replaces the policy by its own."""


CLOSE = (b"connection", b"close")
"""On the last answer of a connection."""


def timing_headers(seconds: float) -> tuple[tuple[bytes, bytes], ...]:
    """How long it took until the head of the answer went out."""
    return ((b"x-process-time", b"%.6f" % seconds), (b"server-timing", b"total;dur=%.3f" % (seconds * 1000)))


_PORTION = 128 << 10  # bytes; with the 64 KiB that a transport buffers before it says stop, below 256 KiB
_SLOWEST = 1024  # bytes a second: a body that comes slower than this is cut off


def check_declared(headers: Iterable[tuple[bytes, bytes]], limit: int, hold: Hold | None = None) -> None:
    """Refuse by the head alone what will be too large or is compressed: TOO_LARGE, UNSUPPORTED_MEDIA, OVERLOADED."""
    for name, value in headers:
        if name == b"content-length":
            if int(value) > limit:
                raise ProxyError(ErrorKind.TOO_LARGE, f"The body has {int(value)} bytes; at most {limit} are taken.")
            if hold is not None:
                hold.expect(int(value))
        if name == b"content-encoding" and value.lower() != b"identity":
            raise ProxyError(ErrorKind.UNSUPPORTED_MEDIA)


def body_deadline(patience: float, received: int) -> float:
    """Seconds after its beginning by which a body must be complete, when `received` bytes of it have come."""
    return patience + received / _SLOWEST


async def read_body(scope: Scope, receive: Receive, limit: int, patience: float, hold: Hold | None = None) -> bytes:
    """The whole body, at most `limit` bytes, arriving within `patience` seconds plus one for each KiB.

    Raises ProxyError: TOO_LARGE, SLOW_REQUEST, UNSUPPORTED_MEDIA, CLIENT_GONE, and OVERLOADED if `hold` says so.
    """
    check_declared(scope["headers"], limit, hold)
    try:
        async with asyncio.timeout(patience) as timer:
            begun = asyncio.get_running_loop().time()
            pieces: list[bytes] = []
            size = 0
            while True:
                message = await receive()
                pieces.append(_checked(message, limit - size))
                size += len(pieces[-1])
                if hold is not None:
                    hold.take(len(pieces[-1]))
                if not message.get("more_body"):
                    return b"".join(pieces)
                timer.reschedule(begun + body_deadline(patience, size))
    except TimeoutError:
        raise ProxyError(ErrorKind.SLOW_REQUEST) from None


def _checked(message: Message, room: int) -> bytes:
    if message["type"] == "http.disconnect":
        raise ProxyError(ErrorKind.CLIENT_GONE)
    body: bytes = message.get("body", b"")
    if len(body) > room:
        raise ProxyError(ErrorKind.TOO_LARGE)
    return body


def portions(data: bytes) -> Sequence[bytes]:
    """`data` in pieces, at least one, of which a client's send buffer takes one at a time."""
    if len(data) <= _PORTION:
        return (data,)
    return [data[start : start + _PORTION] for start in range(0, len(data), _PORTION)]


class AsgiReply:
    """The engine's `Reply` over ASGI `send`; every head carries the headers of `base` too."""

    __slots__ = ("_base", "_begun", "_send", "client_left", "finished", "started")

    def __init__(self, send: Send, base: Sequence[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._base = base
        self._begun = time.perf_counter()
        self.started = False
        self.finished = False
        self.client_left = False

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.started = True
        head = [*headers, *self._base, *timing_headers(time.perf_counter() - self._begun), *SECURITY_HEADERS]
        await self._send({"type": "http.response.start", "status": status, "headers": head})

    async def write(self, data: bytes) -> None:
        for piece in portions(data):
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        *pieces, last = portions(data)
        for piece in pieces:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self.finished = True
        await self._send({"type": "http.response.body", "body": last})


@contextmanager
def until_disconnect(receive: Receive, reply: AsgiReply) -> Iterator[None]:
    """Cancel the present task as soon as the client leaves, whatever it waits for; `reply.client_left` says so then.

    The ASGI server's `send` says nothing of a client that has left; only `receive` does, so a task listens to it.
    """
    task = asyncio.current_task()
    assert task is not None

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not reply.finished:
            reply.client_left = True
            task.cancel()

    listener = asyncio.get_running_loop().create_task(listen())
    try:
        yield
    finally:
        listener.cancel()
