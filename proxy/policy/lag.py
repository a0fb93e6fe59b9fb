"""Whether the event loop turned in time lately, and how a timer that it kept waiting makes up for that.

A loop that stood still could neither send nor hear. When it turns again, timers are due whose events have come long
ago; to let them ring would blame the peers for our own standstill, all of them at once. So a timer that rings late is
given the time it is late by once more, in which what has come meanwhile is taken in.

Pure: times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque

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

    __slots__ = ("_last", "_late", "_period")

    def __init__(self, period: float, now: float) -> None:
        self._period = period
        self._last = now
        self._late: deque[tuple[float, float]] = deque()  # when, and by how much

    def tick(self, now: float) -> float:
        """A tick has come; by how many seconds too late."""
        late = max(0.0, now - self._last - self._period)
        self._last = now
        self._forget(now)
        if late > _LATE:
            self._late.append((now, late))
        return late

    def worst(self, now: float) -> float:
        """The longest delay of the last moments, in seconds; that of a tick that is due and has not come counts too."""
        self._forget(now)
        return max([0.0, now - self._last - self._period, *(late for _, late in self._late)])

    def _forget(self, now: float) -> None:
        while self._late and self._late[0][0] <= now - _LATELY:
            self._late.popleft()
