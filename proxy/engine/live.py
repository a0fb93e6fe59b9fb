"""What is true now: the current snapshot, and the state that outlives it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from proxy.accounting.statistics import Statistics
from proxy.config.compile import Snapshot
from proxy.core.clock import Clock
from proxy.core.decision import Rest, Target, Upstream
from proxy.core.family import SILENT, Told
from proxy.core.local import as_named
from proxy.core.usage import UsageRecord
from proxy.engine.health import Health
from proxy.engine.service import Service
from proxy.policy.breaker import BreakerConfig
from proxy.policy.first_token import FirstTokens

_WEIGHT = 0.2  # of the newest sample in the moving average of times to first token
_USUAL = BreakerConfig()
_MOST_MODELS = 4096  # averages kept; some upstreams answer to any name that a caller makes up


class Live:
    """One per process. A request takes `snapshot` once and never looks again; everything else is keyed by name.

    It is also the `View` that routing has of the present. `chance` gives numbers of [0, 1).
    """

    def __init__(self, snapshot: Snapshot, clock: Clock, chance: Callable[[], float] = random.random) -> None:
        self.snapshot = snapshot
        self.server = snapshot.server
        """How this process listens: what it started with, whatever later snapshots say."""
        self.clock = clock
        self.started = clock.monotonic()
        self.statistics = Statistics(clock.wall())
        self.under_way = 0
        self.draining = False
        self.chance = chance
        self.service = Service(clock)
        self.health = Health(clock, chance, self._breaker, self.service)
        self.first_tokens = FirstTokens()
        self._changes = 0
        self._listed: dict[str, frozenset[str]] = {}
        self._told: dict[str, Mapping[str, Told]] = {}
        self._loaded: dict[str, frozenset[str]] = {}
        self._busy: Counter[str] = Counter()
        self._first_token: dict[tuple[str, str], float] = {}

    @property
    def version(self) -> int:
        """Counts the changes of what routing sees of upstreams: their lists, their health, and whether they serve."""
        return self._changes + self.health.version + self.service.version

    def listed(self, upstream: str) -> frozenset[str] | None:
        """The models that the upstream lists, None while nobody could ask it."""
        return self._listed.get(upstream)

    def told(self, target: Target) -> Told | None:
        """What the upstream says of the target's model, None while it has said nothing."""
        models = self._told.get(target.upstream.name)
        return None if models is None else models.get(_known_as(target.upstream)(target.model))

    def told_by(self, upstream: str) -> Mapping[str, Told]:
        """The same of all its models, by name."""
        return self._told.get(upstream, {})

    def note_told(self, upstream: Upstream, models: Mapping[str, Told]) -> None:
        """Take over what the upstream says of its models; what says nothing is left out."""
        name_of = _known_as(upstream)
        now = {name_of(name): told for name, told in models.items() if told != SILENT}
        if self.told_by(upstream.name) != now:
            self._told[upstream.name] = now
            self._changes += 1

    def note_listed(self, upstream: str, models: Iterable[str]) -> None:
        now, before = frozenset(models), self._listed.get(upstream)
        if before != now:
            self._listed[upstream] = now
            self.health.appeared(upstream, now - (before or frozenset()))
            self._changes += 1

    def loaded(self, upstream: str) -> frozenset[str]:
        """The models that the upstream has in memory, as far as it can tell."""
        return self._loaded.get(upstream, frozenset())

    def note_loaded(self, upstream: str, models: frozenset[str]) -> None:
        if (before := self.loaded(upstream)) != models:
            self._loaded[upstream] = models
            self.health.appeared(upstream, models - before)
            self._changes += 1

    def is_down(self, upstream: str) -> bool:
        return self.service.is_down(upstream)

    def why_down(self, upstream: str) -> str:
        return self.service.why_down(upstream)

    def paused(self, upstream: str) -> str | None:
        pause = self.service.pause_of(upstream)
        return None if pause is None else str(pause)

    def is_open(self, target: Target) -> bool:
        return self.health.is_open(target)

    def rest(self, target: Target) -> Rest | None:
        return self.health.rest(target)

    def first_token(self, target: Target) -> float | None:
        """Moving average of seconds to the first token, None before the first."""
        return self._first_token.get((target.upstream.name, target.model))

    def requests_at(self, upstream: str) -> int:
        """Requests under way at the upstream now."""
        return self._busy[upstream]

    def enter(self, upstream: str) -> None:
        self._busy[upstream] += 1

    def leave(self, upstream: str) -> None:
        self._busy[upstream] -= 1

    def write(self, record: UsageRecord) -> None:
        """Learn from one ended request."""
        self.statistics.write(record)
        self.first_tokens.learn(record, self.clock.monotonic())
        for attempt in record.attempts:
            if attempt.first_token is not None:
                self._note_first_token((attempt.upstream, attempt.model), attempt.first_token)

    def _breaker(self, upstream: str) -> BreakerConfig:
        """The present settings; an upstream that a reload has taken away ends with the usual ones."""
        config = self.snapshot.config.upstreams.get(upstream)
        return config.breaker if config is not None else _USUAL

    def _note_first_token(self, place: tuple[str, str], seconds: float) -> None:
        """The average that was longest without a sample makes room for a new one."""
        before = self._first_token.pop(place, seconds)
        self._first_token[place] = before + _WEIGHT * (seconds - before)
        if len(self._first_token) > _MOST_MODELS:
            del self._first_token[next(iter(self._first_token))]


def _known_as(upstream: Upstream) -> Callable[[str], str]:
    """Makes one of several names of the same model."""
    return upstream.native.canonical if upstream.native is not None else as_named
