"""Models that upstreams said they do not have: for a while nobody asks them again.

An absent model says nothing against its server, whose breakers are left alone, and nothing against its other models.
Pure: `now` is monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

MEMORY = 60.0
"""Seconds for which an absence is believed."""

_MOST = 4096  # kept; callers can make up any name


class Absences:
    """Of all upstreams; false while nothing is known to be absent."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def note(self, upstream: str, model: str, now: float) -> None:
        """The upstream has just said so."""
        self._until.pop((upstream, model), None)
        self._until[upstream, model] = now + MEMORY
        oldest = next(iter(self._until))
        while len(self._until) > _MOST or self._until[oldest] <= now:
            del self._until[oldest]
            oldest = next(iter(self._until))

    def until(self, upstream: str, model: str, now: float) -> float | None:
        """When it may be asked again, None if it may be now."""
        until = self._until.get((upstream, model))
        return until if until is not None and now < until else None

    def forget(self, upstream: str, models: Iterable[str]) -> None:
        """They are there now."""
        for model in models:
            self._until.pop((upstream, model), None)
