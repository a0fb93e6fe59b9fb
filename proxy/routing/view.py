"""What a decision may know of the present: the live state behind a protocol, and a still picture of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proxy.core.decision import Rest, Target
from proxy.core.errors import ErrorKind
from proxy.core.family import Told


class View(Protocol):
    """The state of upstreams and targets, read during one decision.

    `version` changes whenever `listed`, `told`, `loaded`, `is_down`, `paused` or `is_open` would answer otherwise than
    before.
    """

    @property
    def version(self) -> int: ...

    def listed(self, upstream: str) -> frozenset[str] | None:
        """The models that an upstream lists, None while that is unknown."""
        ...

    def told(self, target: Target) -> Told | None:
        """What the upstream says by itself of the target's model, None while that is unknown."""
        ...

    def loaded(self, upstream: str) -> frozenset[str]:
        """Those of its models that a local server has in memory, as far as it can tell."""
        ...

    def is_down(self, upstream: str) -> bool:
        """True if nothing sent there can be answered at present."""
        ...

    def why_down(self, upstream: str) -> str:
        """For operators; empty where nobody knows."""
        ...

    def paused(self, upstream: str) -> str | None:
        """Why nothing may be sent there at all, in words: an operator said so; None if it takes requests."""
        ...

    def is_open(self, target: Target) -> bool:
        """True while nothing is sent to the target: its breaker lets no probe through, or all of its keys rest."""
        ...

    def rest(self, target: Target) -> Rest | None:
        """Why the target is not asked for now; besides what `is_open` knows of, it may have said that it lacks the
        model."""
        ...

    def first_token(self, target: Target) -> float | None:
        """The moving average of seconds to the first token, None before the first measurement."""
        ...

    def requests_at(self, upstream: str) -> int:
        """Requests under way at the upstream."""
        ...


RESTING = Rest(ErrorKind.RESTING)
THROTTLED = Rest(ErrorKind.THROTTLE)
"""What is assumed, without an end."""


@dataclass(frozen=True, slots=True)
class StillView:
    """An assumed state, for explanations without a server and for tests: by default all is well and idle.

    `facts`, `opened`, `throttled` and `first_tokens` are keyed by `upstream/model`. Nothing is in the cache, so the
    level `stale` has no answer.
    """

    models: Mapping[str, frozenset[str]] = field(default_factory=dict)
    warm: Mapping[str, frozenset[str]] = field(default_factory=dict)
    facts: Mapping[str, Told] = field(default_factory=dict)
    down: frozenset[str] = frozenset()
    pauses: Mapping[str, str] = field(default_factory=dict)
    opened: frozenset[str] = frozenset({"offline/stale"})
    throttled: frozenset[str] = frozenset()
    first_tokens: Mapping[str, float] = field(default_factory=dict)
    busy: Mapping[str, int] = field(default_factory=dict)
    version: int = 0

    def listed(self, upstream: str) -> frozenset[str] | None:
        return self.models.get(upstream)

    def told(self, target: Target) -> Told | None:
        return self.facts.get(str(target))

    def loaded(self, upstream: str) -> frozenset[str]:
        return self.warm.get(upstream, frozenset())

    def is_down(self, upstream: str) -> bool:
        return upstream in self.down

    def why_down(self, upstream: str) -> str:  # noqa: ARG002 — it is assumed without a cause
        return ""

    def paused(self, upstream: str) -> str | None:
        return self.pauses.get(upstream)

    def is_open(self, target: Target) -> bool:
        return str(target) in self.opened or str(target) in self.throttled

    def rest(self, target: Target) -> Rest | None:
        if str(target) in self.throttled:
            return THROTTLED
        return RESTING if str(target) in self.opened else None

    def first_token(self, target: Target) -> float | None:
        return self.first_tokens.get(str(target))

    def requests_at(self, upstream: str) -> int:
        return self.busy.get(upstream, 0)
