"""Time as a value: policies and the engine ask a `Clock`, never the machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two readings: `monotonic` measures, `wall` dates."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back, ignores changes of the wall clock."""
        ...

    def wall(self) -> datetime:
        """The present time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()
    monotonic = staticmethod(time.monotonic)  # as it is: a request reads it some twenty times

    def wall(self) -> datetime:
        return datetime.now(UTC)


@dataclass(slots=True)
class FakeClock:
    """A clock that moves only when told, so that virtual hours pass in a test's microseconds."""

    now: float = 0.0
    epoch: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.epoch.timestamp() + self.now, UTC)

    def advance(self, seconds: float) -> None:
        """Move both readings `seconds` ahead."""
        self.now += seconds
