"""Signs of life for a streaming client that waits: SSE comments, which no SDK takes for data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_BEAT = b": keep-alive\n\n"


class Heartbeat:
    """Sends a comment after `first` seconds of silence, then whenever nothing was sent for `every` seconds.

    The first beat of a request that has not begun to answer calls `begin`, the soft commit: status 200 and headers go
    out, so from then on an error can only be told inside the stream. Times are seconds of the loop's clock.
    """

    __slots__ = ("_begin", "_every", "_last", "_loop", "_task", "_timer", "_write")

    def __init__(
        self,
        first: float,
        every: float,
        begin: Callable[[], Awaitable[None]],
        write: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._every = every
        self._begin = begin
        self._write = write
        self._last = 0.0
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(first, self._tick)

    def heard(self) -> None:
        """Something else was just sent."""
        self._last = self._loop.time()

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _tick(self) -> None:
        due = self._last + self._every
        if self._last and due > self._loop.time():
            self._timer = self._loop.call_at(due, self._tick)
        else:
            self._task = self._loop.create_task(self._beat())

    async def _beat(self) -> None:
        await self._begin()
        await self._write(_BEAT)
        self.heard()
        self._timer = self._loop.call_later(self._every, self._tick)
