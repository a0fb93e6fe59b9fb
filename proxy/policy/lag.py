"""Whether the event loop turned in time lately, and how a timer that it kept waiting makes up for that.

A loop that stood still could neither send nor hear. When it turns again, timers are due whose events have come long
ago; to let them ring would blame the peers for our own standstill, all of them at once. So a timer that rings late is
given the time it is late by once more, in which what has come meanwhile is taken in.

Pure: times are monotonic seconds.
"""

from __future__ import annotations

BLOCKED = 1.0
"""Seconds of standstill from which on the loop counts as blocked."""

_LATELY = 10.0  # seconds for which it is remembered: one bad look of a supervisor, not three
_LATE = 0.1  # seconds; timers are always late by a little


def grace(due: float, now: float) -> float:
    """Seconds more for a timer that was due at `due` and rings only `now`; 0 if it is on time."""
    late = now - due
    return late if late > _LATE else 0.0


class Lag:
    """Told of each tick of a clock in the loop, which should come every `period` seconds."""

    __slots__ = ("_last", "_period", "_worst", "_worst_at")

    def __init__(self, period: float, now: float) -> None:
        self._period = period
        self._last = now
        self._worst = 0.0
        self._worst_at = float("-inf")

    def tick(self, now: float) -> float:
        """A tick has come; by how many seconds too late."""
        late = max(0.0, now - self._last - self._period)
        self._last = now
        if late >= self.worst(now):
            self._worst, self._worst_at = late, now
        return late

    def worst(self, now: float) -> float:
        """The longest delay of the last moments, in seconds; that of a tick that is due and has not come counts too."""
        pending = now - self._last - self._period
        remembered = self._worst if now - self._worst_at < _LATELY else 0.0
        return max(remembered, pending, 0.0)
