"""What is known of the targets' health: one breaker for each, by name, so that it outlives snapshots."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from proxy.core.clock import Clock
from proxy.core.decision import Target
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.policy.breaker import Admission, Breaker, BreakerConfig, Ticket

Place = tuple[str, str]
"""The names of upstream and model."""

_MOST = 4096  # breakers kept; some upstreams answer to any name that a caller makes up
_NEW = Ticket(0)
_SOON = 1.0  # seconds; what is advised while a probe is under way


class Health:
    """One per process. `config` gives the present settings of an upstream's breakers; `chance` numbers of [0, 1)."""

    def __init__(self, clock: Clock, chance: Callable[[], float], config: Callable[[str], BreakerConfig]) -> None:
        self._clock = clock
        self._chance = chance
        self._config = config
        self._breakers: dict[Place, Breaker] = {}
        self._changes = 0
        self._due = math.inf
        """The next moment at which time alone changes what `is_open` answers."""

    @property
    def version(self) -> int:
        """Changes whenever `is_open` would answer otherwise than before, also where only time has passed."""
        now = self._clock.monotonic()
        if now >= self._due:
            self._changes += 1
            moments = (breaker.opens_again(now) for breaker in self._breakers.values())
            self._due = min((moment for moment in moments if moment is not None), default=math.inf)
        return self._changes

    def is_open(self, target: Target) -> bool:
        breaker = self._breakers.get((target.upstream.name, target.model))
        return breaker is not None and breaker.is_open(self._clock.monotonic())

    def admission(self, target: Target) -> Admission:
        breaker = self._breakers.get((target.upstream.name, target.model))
        return Admission.PASS if breaker is None else breaker.admission(self._clock.monotonic())

    def may_insist(self, target: Target) -> bool:
        breaker = self._breakers.get((target.upstream.name, target.model))
        return breaker is None or breaker.may_insist(self._clock.monotonic())

    def failed_at(self, target: Target) -> float:
        """Monotonic seconds of its last failure; minus infinity if there is none."""
        breaker = self._breakers.get((target.upstream.name, target.model))
        return -math.inf if breaker is None else breaker.failed_at

    def enter(self, target: Target) -> Ticket:
        """A request is sent there; the ticket comes back to `settle`."""
        breaker = self._breakers.get((target.upstream.name, target.model))
        if breaker is None:
            return _NEW
        now = self._clock.monotonic()
        was_open = breaker.is_open(now)
        ticket = breaker.enter(now)
        self._note(breaker, now, was_open=was_open)
        return ticket

    def settle(self, target: Target, ticket: Ticket, kind: ErrorKind | None) -> None:
        """How the request ended: None is a success, and what the error table gives no weight counts for nothing.

        Offline answers have no breaker: they never fail but by having nothing to say.
        """
        if target.upstream.offline:
            return
        place = (target.upstream.name, target.model)
        weight = 0.0 if kind is None else kind.facts.health or None
        breaker = self._breakers.pop(place, None) or Breaker(self._config(place[0]))
        self._breakers[place] = breaker  # who was used last is forgotten last
        breaker.config = self._config(place[0])
        now = self._clock.monotonic()
        was_open = breaker.is_open(now)
        breaker.settle(ticket, weight, now, self._chance())
        self._note(breaker, now, was_open=was_open)
        if len(self._breakers) > _MOST:
            del self._breakers[next(iter(self._breakers))]

    def refusal(self, target: Target) -> UpstreamFailure:
        """In place of an attempt at a target that rests."""
        now = self._clock.monotonic()
        breaker = self._breakers.get((target.upstream.name, target.model))
        until = None if breaker is None else breaker.opens_again(now)
        return UpstreamFailure(ErrorKind.RESTING, retry_after=_SOON if until is None else until - now, sent=False)

    def describe(self, upstream: str) -> dict[str, Any]:
        """The form shown under `/admin/status`; `isOpen` of the upstream: all of its models that were asked are."""
        rows = [self._row(model, breaker) for (name, model), breaker in self._breakers.items() if name == upstream]
        return {
            "isOpen": bool(rows) and all(row["isOpen"] for row in rows),
            "config": self._config(upstream).model_dump(),
            "targets": sorted(rows, key=lambda row: str(row["model"])),
        }

    def _row(self, model: str, breaker: Breaker) -> dict[str, Any]:
        now = self._clock.monotonic()
        rate, until = breaker.success_rate(now), breaker.opens_again(now)
        return {
            "model": model,
            "isOpen": breaker.is_open(now),
            "state": breaker.state(now).value,
            "success_rate": None if rate is None else round(rate, 4),
            "successes": breaker.successes,
            "failures": breaker.failures,
            "openings": breaker.openings,
            "probes_in_seconds": None if until is None else round(until - now, 3),
        }

    def _note(self, breaker: Breaker, now: float, *, was_open: bool) -> None:
        """See to it that `version` tells of what has just happened, and of what time will change."""
        self._changes += breaker.is_open(now) is not was_open
        until = breaker.opens_again(now)
        if until is not None:
            self._due = min(self._due, until)
