"""An event loop whose hours pass in no time: it never waits, but moves its clock to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Leaping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Takes what would be waited for as passed."""

    leapt = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing will ever happen: a deadlock")
        self.leapt += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 1000 s."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return 1000.0 + self._leaping.leapt

    def stand_still(self, seconds: float) -> None:
        """As if a callback had taken so long."""
        self._leaping.leapt += seconds


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)
