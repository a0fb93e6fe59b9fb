"""One target's breaker: when nothing more is sent to it for a while, and how it is tried again.

Rules:
    1. CLOSED: everything passes. It opens after `consecutive` failures in a row, or when at least `results` results of
       the last `window` seconds are there and the share `failures` of them failed.
    2. OPEN: nothing passes for `pause` seconds, doubled with each opening up to `longest`, 20 % more or less by chance,
       so that many proxies do not come back at once. Five minutes of health take one doubling back.
    3. HALF_OPEN: then one request passes at a time, the probe, and it is a real one, with half the usual time to begin
       its answer. After `successes` good ones in a row it closes; a failed one opens it again.
    4. After closing it warms up: for `slow_start` seconds only a growing share passes, from 10 % to all.
    5. A failure weighs what the error table says (`health`): an overload half, what says nothing of the target nothing.
       A stream counts when it has ended, and one that broke is a failure.
    6. Somebody may insist and send to an open target where nothing better is left; what comes of it counts.
    7. Who knows that a target is well again may cut the rest short: the next request is a probe.
    8. What was sent before the last opening or closing says nothing of the time after it.

Theory:
    An *era* lasts from one opening or closing to the next; each request keeps the era in which it was sent (`Ticket`),
    which makes rule 8 a comparison. OPEN turns into HALF_OPEN by time alone: nothing needs to wake up for it.

Table (what a result does; `·` nothing):

    state        success                        failure                      neither
    CLOSED       the row of failures ends       row grows; may become OPEN   ·
    HALF_OPEN    one more; may become CLOSED    OPEN, longer                 the next probe may go
    OPEN         (rule 6) HALF_OPEN             ·                            ·

Pure: `now` is monotonic seconds, `chance` a number from [0, 1).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from pydantic import Field

from proxy.fields import Count, Duration, Percent, Section

HEALING = 300.0
"""Seconds of being closed that take back one doubling of the pause."""

PROBE_PATIENCE = 0.5
"""The share of the usual time for a first byte and a first token that a probe gets."""

_BUCKETS = 30
_JITTER = 0.2
_COLDEST = 0.1  # share of requests that pass right after closing
_INSIST_EVERY = 1.0  # seconds
_HIGHEST = 32  # doublings; far beyond any pause


class BreakerConfig(Section):
    """When a target (a model of this upstream) is left alone because it fails, and for how long."""

    consecutive: Count = 5
    """Failures in a row that open it; an overload counts half."""
    window: Annotated[Duration, Field(gt=0)] = 30.0
    """How far back the share of failures is counted."""
    results: Count = 10
    """How many results there must be in the window before their share counts."""
    failures: Percent = 0.5
    """The share of failures in the window that opens it."""
    pause: Duration = 5.0
    """How long it stays open at first; the time doubles with each further opening."""
    longest: Duration = 30.0
    """The longest it stays open."""
    successes: Count = 3
    """Good probes in a row that close it."""
    slow_start: Duration = 30.0
    """How long after closing only a growing part of the requests goes there."""


class State(Enum):
    """The word that is shown to people."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Admission(Enum):
    """What a target says to a request that is about to be sent."""

    PASS = "pass"  # noqa: S105 — a word, no password
    LATER = "later"  # it is warming up: others first
    REST = "rest"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Goes with one request from `enter` to `settle`."""

    era: int
    is_probe: bool = False


@dataclass(slots=True)
class _Bucket:
    number: int
    results: int = 0
    failed: float = 0.0


class Breaker:
    """One target. `config` may be replaced at any time; the state stays."""

    __slots__ = (
        "_buckets", "_closed_at", "_credit", "_failed_at", "_good", "_insisted_at", "_is_probing", "_level", "_row",
        "_state", "_ticket", "_until", "config", "failures", "openings", "successes",
    )  # fmt: skip

    def __init__(self, config: BreakerConfig) -> None:
        self.config = config
        self.successes = 0
        self.failures = 0
        self.openings = 0
        self._state = State.CLOSED
        self._ticket = Ticket(0)
        self._buckets: deque[_Bucket] = deque()
        self._row = 0.0
        self._good = 0
        self._level = 0
        self._credit = 0.0
        self._is_probing = False
        self._until = 0.0
        self._closed_at = float("-inf")
        self._failed_at = float("-inf")
        self._insisted_at = float("-inf")

    def state(self, now: float) -> State:
        return State.HALF_OPEN if self._state is State.OPEN and now >= self._until else self._state

    def is_open(self, now: float) -> bool:
        """True while nothing passes, not even a probe."""
        state = self.state(now)
        return state is State.OPEN or (state is State.HALF_OPEN and self._is_probing)

    @property
    def failed_at(self) -> float:
        """When it failed last; minus infinity if it never did."""
        return self._failed_at

    def opens_again(self, now: float) -> float | None:
        """The moment at which probes begin, None unless it is open."""
        return self._until if self.state(now) is State.OPEN else None

    def success_rate(self, now: float) -> float | None:
        """The share of good results in the window, None while there are none."""
        results, failed = self._window(now)
        return 1 - failed / results if results else None

    def admission(self, now: float) -> Admission:
        """May the request at hand be sent? While it warms up the share of PASS grows evenly, without any chance."""
        if self._state is State.CLOSED:
            warm = now - self._closed_at
            if warm >= self.config.slow_start:
                return Admission.PASS
            self._credit += _COLDEST + (1 - _COLDEST) * warm / self.config.slow_start
            if self._credit < 1:
                return Admission.LATER
            self._credit -= 1
            return Admission.PASS
        return Admission.REST if self.is_open(now) else Admission.PASS

    def may_insist(self, now: float) -> bool:
        """True if it is time to try an open target because all others are open too: once a second, one at a time."""
        quiet = now - max(self._insisted_at, self._failed_at)
        return not self._is_probing and quiet >= _INSIST_EVERY

    def enter(self, now: float) -> Ticket:
        """A request is being sent, whether it was admitted or insisted."""
        state = self.state(now)
        if state is State.CLOSED:
            return self._ticket
        self._state = state
        self._insisted_at = now
        if self._is_probing:
            return self._ticket
        self._is_probing = True
        return Ticket(self._ticket.era, is_probe=True)

    def hurry(self, now: float) -> None:
        """It is said to be well: probes begin now, and should they fail, rests are short again."""
        if self.state(now) is State.OPEN:
            self._until = now
            self._level = 0

    def settle(self, ticket: Ticket, weight: float | None, now: float, chance: float) -> None:
        """A request has ended: `weight` 0 is a success, up to 1 a failure, None says nothing of the target."""
        if ticket.is_probe:
            self._is_probing = False
        if weight is None:
            return
        if weight:
            self.failures += 1
            self._failed_at = now
        else:
            self.successes += 1
        if ticket.era != self._ticket.era:
            return
        self._count(weight, now)
        if weight:
            self._fail(weight, now, chance)
        else:
            self._succeed(now)

    def _succeed(self, now: float) -> None:
        self._row = 0.0
        if self._state is State.CLOSED:
            return
        self._state = State.HALF_OPEN
        self._good += 1
        if self._good >= self.config.successes:
            self._begin(State.CLOSED)
            self._closed_at = now
            self._credit = 0.0
            self._buckets.clear()

    def _fail(self, weight: float, now: float, chance: float) -> None:
        self._row += weight
        state = self.state(now)
        if state is State.HALF_OPEN or (state is State.CLOSED and self._is_enough(now)):
            self._open(now, chance)

    def _is_enough(self, now: float) -> bool:
        if self._row >= self.config.consecutive:
            return True
        results, failed = self._window(now)
        return results >= self.config.results and failed >= self.config.failures * results

    def _open(self, now: float, chance: float) -> None:
        config = self.config
        if self._state is State.CLOSED and self._level:
            self._level = max(0, self._level - int((now - self._closed_at) / HEALING))
        pause = min(config.longest, config.pause * 2**self._level)
        if pause < config.longest:
            self._level = min(_HIGHEST, self._level + 1)
        self._begin(State.OPEN)
        self._until = now + pause * (1 - _JITTER + 2 * _JITTER * chance)
        self.openings += 1

    def _begin(self, state: State) -> None:
        self._state = state
        self._ticket = Ticket(self._ticket.era + 1)
        self._row = 0.0
        self._good = 0
        self._is_probing = False

    def _count(self, weight: float, now: float) -> None:
        number = self._number(now)
        if not self._buckets or self._buckets[-1].number != number:
            self._forget(number)
            self._buckets.append(_Bucket(number))
        self._buckets[-1].results += 1
        self._buckets[-1].failed += weight

    def _window(self, now: float) -> tuple[int, float]:
        """Results and weighed failures."""
        self._forget(self._number(now))
        return sum(bucket.results for bucket in self._buckets), sum(bucket.failed for bucket in self._buckets)

    def _forget(self, number: int) -> None:
        while self._buckets and self._buckets[0].number <= number - _BUCKETS:
            self._buckets.popleft()

    def _number(self, now: float) -> int:
        return int(now / self.config.window * _BUCKETS)
