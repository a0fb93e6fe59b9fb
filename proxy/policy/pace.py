"""How fast we allow ourselves to call an upstream: the generic cell rate algorithm, with a shortest distance beside it.

One number says everything about the rate: when the next request would be due if they came evenly. A request may be
early by as much as `burst` allows. Pure: times are monotonic seconds, and nothing waits here.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from proxy.core.decision import PaceLimits
from proxy.fields import Count, Duration, RatePer, Section


class PaceConfig(Section):
    """How fast we allow ourselves to call the upstream."""

    limit: RatePer | None = None
    """Requests per period."""
    burst: Count = 1
    """How many of them may come at once."""
    spacing: Duration | None = None
    """The shortest time between the starts of two requests."""

    @model_validator(mode="after")
    def _is_no_ban(self) -> Self:
        if self.limit is not None and self.limit.count == 0:
            raise ValueError("a rate of 0 would allow nothing; `enabled: false` takes the upstream out of service")
        return self

    def limits(self) -> PaceLimits:
        """As the policy knows it."""
        interval = 0.0 if self.limit is None else self.limit.seconds / self.limit.count
        return PaceLimits(interval, self.burst, self.spacing or 0.0)


class Pace:
    """The starts at one upstream so far."""

    __slots__ = ("_due", "_last", "limits")

    def __init__(self, limits: PaceLimits) -> None:
        self.limits = limits
        self._due = float("-inf")
        self._last = float("-inf")

    def free_at(self, now: float, ahead: int = 0) -> float:
        """When the next request may start, or the one that has `ahead` others before it; `now` if at once."""
        limits = self.limits
        by_rate = max(self._due, now) + (ahead - limits.burst + 1) * limits.interval
        by_spacing = max(self._last + limits.spacing, now) + ahead * limits.spacing
        return max(now, by_rate, by_spacing)

    def take(self, now: float) -> None:
        """A request starts."""
        self._due = max(self._due, now) + self.limits.interval
        self._last = now
