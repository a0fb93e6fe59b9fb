"""Feels the pulse of the event loop, so that `/livez` can say that it stood still."""

from __future__ import annotations

import asyncio
import logging

from proxy.policy.lag import BLOCKED, Lag

log = logging.getLogger("failsoft")

_PERIOD = 0.5  # seconds


class Pulse:
    """One per process."""

    def __init__(self) -> None:
        self._lag: Lag | None = None

    async def beat(self) -> None:
        """For ever: tick."""
        loop = asyncio.get_running_loop()
        self._lag = Lag(_PERIOD, loop.time())
        while True:
            await asyncio.sleep(_PERIOD)
            late = self._lag.tick(loop.time())
            if late >= BLOCKED:
                log.warning("the event loop stood still for %.1f s", late)

    @property
    def lag(self) -> float:
        """Seconds of the longest standstill lately."""
        return 0.0 if self._lag is None else self._lag.worst(asyncio.get_running_loop().time())

    @property
    def is_blocked(self) -> bool:
        return self.lag >= BLOCKED
