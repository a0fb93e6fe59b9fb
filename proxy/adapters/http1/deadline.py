"""A timer that is moved at every byte and rings almost never: moving it later costs one assignment.

It is lenient: if it goes off late because the loop stood still, it waits for as long once more before it rings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf

from proxy.policy.lag import grace


class Deadline:
    """Calls `ring` once the loop's clock has passed the time last `set`.

    The loop's timer is not touched when the time moves later: when it goes off too early it is armed again for
    the rest. `call_later` and `cancel` per chunk would cost more than parsing the chunk does.
    """

    __slots__ = ("_armed", "_at", "_handle", "_lenient", "_loop", "_ring")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring: Callable[[], None] | None = ring
        self._at = inf
        self._armed = inf
        self._lenient = -inf  # the time that was set by ourselves: no leniency twice
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring at `at`, a time of the loop's clock, instead of at any time set before."""
        self._at = at
        if at < self._armed:
            self._arm(at)

    def clear(self) -> None:
        """Do not ring until `set` again."""
        self._at = inf

    def close(self) -> None:
        """Drop the timer and the callback, for good."""
        self._at = inf
        self._ring = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = at
        self._handle = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._handle = None
        armed, self._armed = self._armed, inf
        now = self._loop.time()
        if self._at > now:
            if self._at < inf:
                self._arm(self._at)
        elif self._at != self._lenient and (more := grace(armed, now)):
            self._at = self._lenient = now + more
            self._arm(self._at)
        elif self._ring is not None:
            self._at = inf
            self._ring()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raises TimeoutError if what is done inside takes longer, in a loop that turns.

    `asyncio.timeout` would also cancel what has come to its end while the loop stood still.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        deadline = Deadline(loop, lambda: scope.reschedule(loop.time()))
        deadline.set(loop.time() + seconds)
        try:
            yield
        finally:
            deadline.close()
