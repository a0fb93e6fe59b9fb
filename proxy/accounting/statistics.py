"""Counts and latencies per upstream, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, zip_longest

from proxy.core.decision import Attempt
from proxy.core.errors import ErrorKind
from proxy.core.events import tally
from proxy.core.usage import UsageRecord

_PER_DOUBLING = 8  # buckets each time a duration doubles: a quantile is at most 4.5 % off
_FLOOR = 1e-4  # seconds; everything faster shares the first bucket
_BUCKETS = 24 * _PER_DOUBLING  # up to 1,677 s

_FAILED = frozenset(kind.label for kind in ErrorKind if kind is not ErrorKind.CLIENT_GONE)
"""How a request ends that failed; one whose stream broke was told 200."""

_NO_ERROR = frozenset(kind for kind in ErrorKind if kind.facts.blame == "client") | {ErrorKind.HEDGED}
"""How an attempt ends that says nothing against its upstream."""


class Histogram:
    """Durations in seconds, in buckets that grow by a constant factor."""

    __slots__ = ("_counts", "_sum", "count")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._sum = 0.0
        self.count = 0

    def add(self, seconds: float) -> None:
        bucket = int(math.log2(seconds / _FLOOR) * _PER_DOUBLING) if seconds > _FLOOR else 0
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._sum += seconds
        self.count += 1

    @property
    def mean(self) -> float | None:
        return self._sum / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        """The value below which the share `q` of all durations lies, None while there are none."""
        if not self.count:
            return None
        rank = q * self.count
        bucket = next(bucket for bucket, seen in enumerate(accumulate(self._counts)) if seen >= rank)
        return _FLOOR * float(2 ** ((bucket + 0.5) / _PER_DOUBLING))

    def summary(self) -> dict[str, float | None]:
        """Mean and quantiles in milliseconds, rounded to what the buckets can tell."""
        values = {"mean": self.mean, "p50": self.quantile(0.5), "p95": self.quantile(0.95), "p99": self.quantile(0.99)}
        return {name: None if value is None else round(value * 1000, 2) for name, value in values.items()}


@dataclass(slots=True)
class UpstreamStatistics:
    """One upstream since the last reset. `requests` were answered by it, `fallbacks` left it for another target;
    `unknown` counts events, blocks and words of its answers that this program does not know."""

    requests: int = 0
    attempts: int = 0
    errors: int = 0
    fallbacks: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    last_outcome: str | None = None
    last_at: datetime | None = None
    unknown: dict[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    first_token: Histogram = field(default_factory=Histogram)

    def describe(self) -> dict[str, object]:
        """The form shown under `/admin`; latencies are of successful attempts, in milliseconds."""
        return {
            "requests": self.requests,
            "attempts": self.attempts,
            "errors": self.errors,
            "fallbacks": self.fallbacks,
            "tokens": {"prompt": self.prompt_tokens, "completion": self.completion_tokens},
            "latency_ms": self.latency.summary(),
            "first_token_ms": self.first_token.summary(),
            "unknown": self.unknown,
            "last_outcome": self.last_outcome,
            "last_request": self.last_at.isoformat(timespec="milliseconds") if self.last_at else None,
        }


def _place(attempt: Attempt) -> tuple[str, str]:
    return attempt.upstream, attempt.model


def _moved_on(attempt: Attempt, following: Attempt) -> bool:
    """True if it failed and the request went on elsewhere; what ran beside another was not left."""
    is_left = attempt.kind not in (None, ErrorKind.HEDGED) and not attempt.is_hedge
    return is_left and _place(following) != _place(attempt)


class Statistics:
    """Folds the records of ended requests; `since` is the time of the last reset. `hedges` were started beside another
    attempt that was slow to begin, and those that won answered in its place."""

    def __init__(self, since: datetime) -> None:
        self.reset(since)

    def reset(self, since: datetime) -> None:
        self.since = since
        self.requests = 0
        self.errors = 0
        self.offline = 0
        self.client_gone = 0
        self.hedges = 0
        self.hedges_won = 0
        self.latency = Histogram()
        self._upstreams: dict[str, UpstreamStatistics] = {}

    def of(self, upstream: str) -> UpstreamStatistics:
        row = self._upstreams.get(upstream)
        if row is None:
            row = self._upstreams[upstream] = UpstreamStatistics()
        return row

    def write(self, record: UsageRecord) -> None:
        """Count one ended request."""
        self.requests += 1
        self.errors += record.ended in _FAILED
        self.client_gone += record.ended == ErrorKind.CLIENT_GONE.label
        self.offline += record.offline is not None
        self.latency.add(record.seconds)
        for attempt, following in zip_longest(record.attempts, record.attempts[1:]):
            self._count_attempt(attempt, record, moved_on=following is not None and _moved_on(attempt, following))
            if attempt.is_hedge:
                self.hedges += 1
                self.hedges_won += attempt.kind is None or attempt.first_token is not None
        if record.upstream:
            answered = self.of(record.upstream)
            answered.requests += 1
            answered.prompt_tokens += record.usage.prompt
            answered.completion_tokens += record.usage.completion
            for what, times in record.unknown.items():
                tally(answered.unknown, what, times)

    def _count_attempt(self, attempt: Attempt, record: UsageRecord, *, moved_on: bool) -> None:
        row = self.of(attempt.upstream)
        row.attempts += 1
        row.fallbacks += moved_on
        row.last_at = record.at
        row.last_outcome = "success" if attempt.kind is None else attempt.kind.label
        if attempt.kind is None:
            row.latency.add(attempt.seconds)
        elif attempt.kind not in _NO_ERROR:
            row.errors += 1
        if attempt.first_token is not None:
            row.first_token.add(attempt.first_token)

    def describe(self, upstreams: Iterable[str]) -> dict[str, object]:
        """The totals and a row for each of `upstreams`."""
        return {
            "since": self.since.isoformat(timespec="seconds"),
            "requests": self.requests,
            "errors": self.errors,
            "offline_answers": self.offline,
            "client_disconnects": self.client_gone,
            "hedges": {"started": self.hedges, "won": self.hedges_won},
            "latency_ms": self.latency.summary(),
            "upstreams": {name: self.of(name).describe() for name in upstreams},
        }
