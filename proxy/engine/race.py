"""Two attempts at one answer: the first to commit gives it, and the other is called off in the same moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure

log = logging.getLogger("failsoft")

Attempting = Coroutine[Any, Any, bool]
"""An attempt on its way; true if the client got its answer by it."""


class Race:
    """For one target of one request and the one that may be started beside it. Each attempt runs as a task."""

    __slots__ = ("_first", "_second", "_winner")

    def __init__(self) -> None:
        self._first: asyncio.Task[bool] | None = None
        self._second: asyncio.Task[bool] | None = None
        self._winner: asyncio.Task[Any] | None = None

    @property
    def is_second(self) -> bool:
        """True within the attempt that was started beside the first."""
        return self._second is not None and asyncio.current_task() is self._second

    @property
    def has_second(self) -> bool:
        """True once a second attempt was started."""
        return self._second is not None

    @property
    def is_lost(self) -> bool:
        """True within an attempt that nobody needs any more."""
        return self._winner is not None and asyncio.current_task() is not self._winner

    def commit(self) -> Literal["first", "second"] | None:
        """The attempt that calls this answers, and the other ends; which of the two it is, None while it is alone.

        Raises UpstreamFailure if the other was faster.
        """
        if self.is_lost:
            raise UpstreamFailure(ErrorKind.HEDGED)
        self._winner = asyncio.current_task()
        if self._second is None:
            return None
        loser = self._first if self.is_second else self._second
        assert loser is not None
        loser.cancel()
        return "second" if self.is_second else "first"

    async def run(self, first: Attempting, seconds: float, second: Callable[[], Attempting | None]) -> bool:
        """True if one of them has answered. `second` is called after `seconds` if `first` has not committed by then.

        Who fails leaves it to the other. A ProxyError of the first is raised at once, one of the second only if the
        first failed too.
        """
        self._first = asyncio.create_task(first)
        try:
            await asyncio.wait((self._first,), timeout=seconds)
            if self._winner is None and not self._first.done() and (beside := second()) is not None:
                self._second = asyncio.create_task(beside)
            return await self._has_answered(self._first) or (
                self._second is not None and await self._has_answered(self._second)
            )
        finally:
            await self._end()

    async def _has_answered(self, runner: asyncio.Task[bool]) -> bool:
        """Wait for its end. One that was called off has not answered, even if it ended in that moment by itself."""
        await asyncio.wait((runner,))
        is_lost = self._winner is not None and runner is not self._winner
        return not is_lost and not runner.cancelled() and runner.result()

    async def _end(self) -> None:
        """Nobody waits any more: whatever still runs is called off, and has let go of everything on return."""
        runners = [runner for runner in (self._first, self._second) if runner is not None]
        if self._winner is None and self._first is not None and self._first.done() and _error(self._first) is not None:
            self._winner = self._first  # it settled the matter without an answer
        running = [runner for runner in runners if not runner.done()]
        for runner in running:
            runner.cancel()
        if running:
            await asyncio.wait(running)
        if self._second is not None and not isinstance(error := _error(self._second), ProxyError | None):
            log.error("a second attempt failed", exc_info=error)  # perhaps nobody else looks at it


def _error(runner: asyncio.Task[bool]) -> BaseException | None:
    return None if runner.cancelled() else runner.exception()
