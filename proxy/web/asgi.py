"""Raw ASGI in three parts: read a body within limits, answer, and notice that the client has left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from proxy.core.errors import ErrorKind, ProxyError

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

_SLOWEST = 1024  # bytes a second: a body that comes slower than this is cut off


class ClientGone(Exception):
    """The client closed its connection before it had its answer."""


async def read_body(scope: Scope, receive: Receive, limit: int, patience: float) -> bytes:
    """The whole body, at most `limit` bytes, arriving within `patience` seconds plus one for each KiB.

    Raises ProxyError: TOO_LARGE, SLOW_REQUEST, UNSUPPORTED_MEDIA; ClientGone.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > limit:
            raise ProxyError(ErrorKind.TOO_LARGE, f"The body has {int(value)} bytes; at most {limit} are taken.")
        if name == b"content-encoding" and value.lower() != b"identity":
            raise ProxyError(ErrorKind.UNSUPPORTED_MEDIA)
    try:
        async with asyncio.timeout(patience) as timer:
            message = await receive()
            if not message.get("more_body"):
                return _checked(message, limit)
            pieces, size = [], 0
            deadline = timer.when() or 0.0
            while True:
                piece = _checked(message, limit - size)
                pieces.append(piece)
                size += len(piece)
                if not message.get("more_body"):
                    return b"".join(pieces)
                timer.reschedule(deadline + size / _SLOWEST)
                message = await receive()
    except TimeoutError:
        raise ProxyError(ErrorKind.SLOW_REQUEST) from None


def _checked(message: Message, room: int) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if len(body) > room:
        raise ProxyError(ErrorKind.TOO_LARGE)
    return body


class AsgiReply:
    """The engine's `Reply` over ASGI `send`; every head carries the headers of `base` too."""

    __slots__ = ("_base", "_begun", "_send", "finished", "started")

    def __init__(self, send: Send, base: Sequence[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._base = base
        self._begun = time.perf_counter()
        self.started = False
        self.finished = False

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.started = True
        seconds = time.perf_counter() - self._begun
        head = [
            *headers,
            *self._base,
            (b"x-process-time", b"%.6f" % seconds),
            (b"server-timing", b"total;dur=%.3f" % (seconds * 1000)),
            *SECURITY_HEADERS,
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": head})

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        self.finished = True
        await self._send({"type": "http.response.body", "body": data})


@contextmanager
def until_disconnect(receive: Receive, reply: AsgiReply) -> Iterator[None]:
    """Cancel what runs inside as soon as the client leaves, whatever it waits for, and raise `ClientGone` instead.

    The ASGI server's `send` says nothing of a client that has left; only `receive` does, so a task listens to it.
    """
    task = asyncio.current_task()
    assert task is not None
    left = False

    async def listen() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        if not reply.finished:
            left = True
            task.cancel()

    listener = asyncio.get_running_loop().create_task(listen())
    try:
        yield
    except asyncio.CancelledError:
        if not left or task.uncancel() > 0:
            raise
        raise ClientGone from None
    finally:
        listener.cancel()
