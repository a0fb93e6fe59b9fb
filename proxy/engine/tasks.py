"""Background work that must not end unnoticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("failsoft")

Duty = Callable[[], Awaitable[None]]
"""Something that is done for as long as the process runs."""

_PAUSE = 5.0  # seconds before a task that failed is started again


async def whenever(asked: asyncio.Event, act: Callable[[], Awaitable[object]]) -> None:
    """For ever: `act` once after each time that `asked` was set; several times at once count as one."""
    while True:
        await asked.wait()
        asked.clear()
        await act()


async def supervise(name: str, work: Duty) -> None:
    """Run `work`; log what ends it and start it again, until cancelled."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("background task %s failed; it starts again in %g s", name, _PAUSE)
        await asyncio.sleep(_PAUSE)
