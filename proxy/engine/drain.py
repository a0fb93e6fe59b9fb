"""The end of a process in good order: what is under way is finished, for a while, and the rest is told so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.engine.door import Door
from proxy.engine.live import Live

log = logging.getLogger("failsoft")

_GRACE = 5.0  # seconds in which balancers notice that this process is not ready any more
_LAST_WORD = 1.0  # seconds for telling a client that it is over


class Drain:
    """Begins with the first call of `ask` and hurries with the next. `leave` stops the server from listening.

    New requests are taken as long as others are under way, for _GRACE seconds at most; their connections close after
    the answer. After `server.drain` seconds what is still under way is cancelled, which ends streams with an error
    event.
    """

    def __init__(self, live: Live, door: Door) -> None:
        self._live = live
        self._door = door
        self._work: asyncio.Task[None] | None = None
        self._has_left = False

    def ask(self, leave: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if self._work is None:
            self._live.draining = True
            log.info("draining: %d requests are under way", len(self._door.inside))
            self._work = loop.create_task(self._run(leave, loop.time() + self._live.server.drain))
        else:
            self._work.cancel()
            self._work = loop.create_task(self._end(leave))

    async def _run(self, leave: Callable[[], None], end: float) -> None:
        loop = asyncio.get_running_loop()
        await self._emptied(min(end, loop.time() + _GRACE))
        self._leave(leave)
        await self._emptied(end)
        await self._end(leave)

    async def _end(self, leave: Callable[[], None]) -> None:
        """Cancel what is left; twice, for the first time it may wait for a client to read the last word."""
        self._leave(leave)
        for _ in range(2):
            for task in self._door.inside:
                task.cancel()
            await self._emptied(asyncio.get_running_loop().time() + _LAST_WORD)

    async def _emptied(self, until: float) -> None:
        """Until nobody is inside, or `until` on the loop's clock."""
        loop = asyncio.get_running_loop()
        while self._door.inside and (left := until - loop.time()) > 0:
            await asyncio.wait(self._door.inside, timeout=left)

    def _leave(self, leave: Callable[[], None]) -> None:
        if not self._has_left:
            self._has_left = True
            leave()
