"""What is known of the health of targets and keys, by name, so that it outlives snapshots.

A breaker and a retry budget for each target, a pool of keys for each upstream, and the models that are absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from proxy.core.clock import Clock
from proxy.core.decision import Rest, Target, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.secret import Secret
from proxy.engine.service import Service
from proxy.policy.absence import Absences
from proxy.policy.breaker import Admission, Breaker, BreakerConfig, State, Ticket
from proxy.policy.keyring import Keyring, Prompt
from proxy.policy.retry import Budget
from proxy.wire.meters import read

Place = tuple[str, str]
"""The names of upstream and model."""

NO_KEY = Secret("")
"""What an upstream is asked with that has no keys; it can be throttled like any other."""

_NO_KEYS = (NO_KEY,)
_MOST = 4096  # breakers kept; some upstreams answer to any name that a caller makes up
_NEW = Ticket(0)
_SOON = 1.0  # seconds; what is advised while a probe is under way


class Health:
    """One per process. `config` gives the present settings of an upstream's breakers; `chance` numbers of [0, 1).

    The targets of an upstream that `service` says is down rest, as if their breakers were open.
    """

    def __init__(
        self, clock: Clock, chance: Callable[[], float], config: Callable[[str], BreakerConfig], service: Service
    ) -> None:
        self._service = service
        self._clock = clock
        self._chance = chance
        self._config = config
        self._breakers: dict[Place, Breaker] = {}
        self._rings: dict[str, Keyring] = {}
        self._budgets: dict[Place, Budget] = {}
        self._absences = Absences()
        self._changes = 0
        self._due = math.inf
        """The next moment at which time alone changes what `is_open` answers."""

    @property
    def version(self) -> int:
        """Changes whenever `is_open` would answer otherwise than before, also where only time has passed."""
        now = self._clock.monotonic()
        if now >= self._due:
            self._changes += 1
            moments = [breaker.opens_again(now) for breaker in self._breakers.values()]
            moments += [ring.next_waking(now) for ring in self._rings.values()]
            self._due = min((moment for moment in moments if moment is not None), default=math.inf)
        return self._changes

    def is_open(self, target: Target) -> bool:
        """True while nothing is sent to the target: its breaker is open, or all of its keys rest."""
        return self.breaker_is_open(target) or self.keys_rest(target) is not None

    def breaker_is_open(self, target: Target) -> bool:
        breaker = self._breakers.get((target.upstream.name, target.model))
        return breaker is not None and breaker.is_open(self._clock.monotonic())

    def rest(self, target: Target) -> Rest | None:
        """Why nothing is sent to the target for now, and until when; None if it may be asked."""
        failure = self.obstacle(target)
        if failure is None and self.breaker_is_open(target):
            failure = self.refusal(target)
        if failure is None:
            return None
        until = None if failure.retry_after is None else self._clock.wall() + timedelta(seconds=failure.retry_after)
        return Rest(failure.kind, until)

    def obstacle(self, target: Target) -> UpstreamFailure | None:
        """In place of an attempt: why the target cannot be asked at all, whoever else rests; None if it can."""
        pause = self._service.pause_of(target.upstream.name)
        if pause is not None:
            wait = None if pause.until is None else (pause.until - self._clock.wall()).total_seconds()
            return UpstreamFailure(ErrorKind.MAINTENANCE, str(pause), retry_after=wait, sent=False)
        failure = self.keys_rest(target)
        if failure is None and self._absences:
            until = self._absences.until(target.upstream.name, target.model, self._clock.monotonic())
            if until is not None:
                return UpstreamFailure(ErrorKind.MODEL_ABSENT, "the upstream said so", sent=False)
        return failure

    def appeared(self, upstream: str, models: Iterable[str]) -> None:
        """The upstream has these models now."""
        if self._absences:
            self._absences.forget(upstream, models)

    def adopt(self, upstreams: Mapping[str, Upstream]) -> None:
        """There are other upstreams now, perhaps with other keys: forget the keys that are gone.

        Breakers stay, known by name, for an upstream may come back.
        """
        for name, ring in list(self._rings.items()):
            upstream = upstreams.get(name)
            if upstream is None:
                del self._rings[name]
            else:
                ring.forget_all_but(keys_of(upstream))
        self._changes += 1

    def state(self, target: Target) -> State:
        """Of its breaker."""
        breaker = self._breakers.get((target.upstream.name, target.model))
        return State.CLOSED if breaker is None else breaker.state(self._clock.monotonic())

    def admission(self, target: Target) -> Admission:
        if self._service.is_down(target.upstream.name):
            return Admission.REST
        breaker = self._breakers.get((target.upstream.name, target.model))
        return Admission.PASS if breaker is None else breaker.admission(self._clock.monotonic())

    def may_insist(self, target: Target) -> bool:
        breaker = self._breakers.get((target.upstream.name, target.model))
        is_time = breaker is None or breaker.may_insist(self._clock.monotonic())
        return is_time and self._service.may_insist(target.upstream.name)

    def failed_at(self, target: Target) -> float:
        """Monotonic seconds of its last failure, or of its upstream's going down; minus infinity if there is none."""
        breaker = self._breakers.get((target.upstream.name, target.model))
        failed_at = -math.inf if breaker is None else breaker.failed_at
        return max(failed_at, self._service.down_since(target.upstream.name))

    def hurry(self, upstream: str) -> None:
        """The upstream is well again: the next requests may probe its models, however long they were to rest."""
        now = self._clock.monotonic()
        for (name, _), breaker in self._breakers.items():
            if name == upstream:
                breaker.hurry(now)
        self._changes += 1

    def enter(self, target: Target) -> Ticket:
        """A request is sent there; the ticket comes back to `settle`."""
        self._service.enter(target.upstream.name)
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
        if kind is ErrorKind.MODEL_ABSENT and target.upstream.keep is None:  # else it is loaded first
            self._absences.note(*place, self._clock.monotonic())
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

    def lend(self, target: Target, but: Collection[Secret] = (), prompt: Prompt | None = None) -> Secret | None:
        """The next key for the target, none of `but`; None if there is none that does not rest, also for `prompt`."""
        ring, now = self._ring(target.upstream), self._clock.monotonic()
        return ring.lend(keys_of(target.upstream), target.model, now, but, prompt)

    def is_awake(self, target: Target, key: Secret) -> bool:
        """True if the key, which was lent before, may still be used."""
        return self._ring(target.upstream).is_awake((key,), target.model, self._clock.monotonic())

    def keys_rest(self, target: Target, prompt: Prompt | None = None) -> UpstreamFailure | None:
        """In place of an attempt where all keys rest: why, and for how long; None if one is awake."""
        ring, now = self._rings.get(target.upstream.name), self._clock.monotonic()
        keys = keys_of(target.upstream)
        if ring is None or (prompt is None and ring.is_awake(keys, target.model, now)):
            return None
        waking = ring.wakes(keys, target.model, now, prompt)
        if waking is None:
            return None
        return UpstreamFailure(waking[1], "all keys rest", retry_after=waking[0] - now, sent=False)

    def settle_key(self, target: Target, key: Secret, kind: ErrorKind | None, wait: float | None) -> None:
        """How a request with the key ended; `wait` is what the upstream asked for, in seconds."""
        if target.upstream.offline:
            return
        ring, now = self._ring(target.upstream), self._clock.monotonic()
        ring.settle(key, target.model, kind, wait, now)
        if kind is not None and (wakes := ring.next_waking(now)) is not None:
            self._changes += 1
            self._due = min(self._due, wakes)

    def hear(self, target: Target, key: Secret, headers: Mapping[str, str]) -> None:
        """An answer has begun: perhaps its headers tell what is left of the vendor's limits."""
        readings = read(target.upstream.meters, headers)
        if not readings:
            return
        ring, now = self._ring(target.upstream), self._clock.monotonic()
        if ring.hear(key, target.model, readings, now) and (wakes := ring.next_waking(now)) is not None:
            self._changes += 1
            self._due = min(self._due, wakes)

    def wakes_in(self, target: Target, used: Secret) -> float:
        """Seconds until a key may be used that was not; if there is no other, until `used` may be used again."""
        ring, now = self._ring(target.upstream), self._clock.monotonic()
        keys = keys_of(target.upstream)
        others = [key for key in keys if key != used]
        if others and ring.is_awake(others, target.model, now):
            return 0.0
        waking = ring.wakes(keys, target.model, now)
        return 0.0 if waking is None else waking[0] - now

    def budget(self, target: Target) -> Budget:
        """What repetitions at the target are paid from."""
        place = (target.upstream.name, target.model)
        budget = self._budgets.pop(place, None) or Budget()
        self._budgets[place] = budget  # who was used last is forgotten last
        if len(self._budgets) > _MOST:
            del self._budgets[next(iter(self._budgets))]
        return budget

    def throttled(self, upstream: Upstream) -> dict[str, float]:
        """The models that the upstream is too busy with for us, and for how many seconds more."""
        ring, now = self._rings.get(upstream.name), self._clock.monotonic()
        if ring is None:
            return {}
        known = {model: ring.wakes(keys_of(upstream), model, now) for model in ring.models(ErrorKind.THROTTLE)}
        return {model: w[0] - now for model, w in known.items() if w is not None and w[1] is ErrorKind.THROTTLE}

    def describe_keys(self, upstream: Upstream) -> list[dict[str, Any]]:
        """The form shown under `/admin/status`."""
        return self._ring(upstream).describe(upstream.keys, self._clock.monotonic())

    def _ring(self, upstream: Upstream) -> Keyring:
        return self._rings.setdefault(upstream.name, Keyring())

    def describe(self, upstream: str) -> dict[str, Any]:
        """The form shown under `/admin/status`; `isOpen` of the upstream: all of its models that were asked are."""
        rows = [self._row(place, breaker) for place, breaker in self._breakers.items() if place[0] == upstream]
        return {
            "isOpen": bool(rows) and all(row["isOpen"] for row in rows),
            "config": self._config(upstream).model_dump(),
            "targets": sorted(rows, key=lambda row: str(row["model"])),
        }

    def _row(self, place: Place, breaker: Breaker) -> dict[str, Any]:
        now, budget = self._clock.monotonic(), self._budgets.get(place) or Budget()
        rate, until = breaker.success_rate(now), breaker.opens_again(now)
        return {
            "model": place[1],
            "isOpen": breaker.is_open(now),
            "state": breaker.state(now).value,
            "success_rate": None if rate is None else round(rate, 4),
            "successes": breaker.successes,
            "failures": breaker.failures,
            "openings": breaker.openings,
            "probes_in_seconds": None if until is None else round(until - now, 3),
            "retry_budget": budget.describe(),
        }

    def _note(self, breaker: Breaker, now: float, *, was_open: bool) -> None:
        """See to it that `version` tells of what has just happened, and of what time will change."""
        self._changes += breaker.is_open(now) is not was_open
        until = breaker.opens_again(now)
        if until is not None:
            self._due = min(self._due, until)


def keys_of(upstream: Upstream) -> Sequence[Secret]:
    """The upstream's keys, or the empty one."""
    return upstream.keys or _NO_KEYS
