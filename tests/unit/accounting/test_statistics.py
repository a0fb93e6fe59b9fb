"""Counts and latencies per upstream."""

from __future__ import annotations

import random
import statistics
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.accounting.statistics import Histogram, Statistics
from proxy.core.decision import Attempt
from proxy.core.errors import ErrorKind
from proxy.core.usage import Usage, UsageRecord

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
K = ErrorKind


def tried(upstream: str, kind: ErrorKind | None = None, *, model: str = "m", **more: Any) -> Attempt:
    return Attempt(upstream, model, None, 1.0, kind, **more)


def record(*attempts: Attempt, ended: str = "stop", status: int = 200, **more: Any) -> UsageRecord:
    answered = attempts[-1].upstream if attempts and attempts[-1].kind is None else ""
    return UsageRecord(
        id="r", correlation_id="c", at=AT, tenant="t", endpoint="/", stream=False, asked_model="m", route="all",
        upstream=more.pop("upstream", answered), model="m", mode="identity", attempts=attempts, status=status,
        ended=ended, usage=Usage(7, 4), seconds=2.0, first_token=None, **more,
    )  # fmt: skip


@pytest.fixture
def kept() -> Statistics:
    return Statistics(AT)


def test_a_first_try_that_succeeds(kept):
    kept.write(record(tried("one", first_token=0.25)))
    row = kept.of("one").describe()
    assert (row["requests"], row["attempts"], row["errors"], row["fallbacks"]) == (1, 1, 0, 0)
    assert row["tokens"] == {"prompt": 7, "completion": 4}
    assert (row["last_outcome"], row["last_request"]) == ("success", "2026-01-01T12:00:00.000+00:00")
    assert row["latency_ms"]["mean"] == 1000
    assert row["first_token_ms"]["mean"] == 250
    assert (kept.requests, kept.errors, kept.offline, kept.client_gone) == (1, 0, 0, 0)


def test_a_fallback_counts_where_it_left_and_the_answer_where_it_came_from(kept):
    kept.write(record(tried("one", K.CONNECT), tried("two")))
    one, two = kept.of("one"), kept.of("two")
    assert (one.requests, one.attempts, one.errors, one.fallbacks, one.prompt_tokens) == (0, 1, 1, 1, 0)
    assert (two.requests, two.attempts, two.errors, two.fallbacks, two.prompt_tokens) == (1, 1, 0, 0, 7)
    assert one.latency.count == 0, "the latency of failures says nothing of an upstream's speed"
    assert kept.errors == 0


def test_another_key_or_another_try_is_no_fallback(kept):
    kept.write(record(tried("one", K.AUTH), tried("one", K.AUTH), tried("one")))
    assert (kept.of("one").attempts, kept.of("one").errors, kept.of("one").fallbacks) == (3, 2, 0)
    kept.write(record(tried("one", K.MODEL_ABSENT), tried("one", model="other")))
    assert kept.of("one").fallbacks == 1, "another model of the same upstream is another target"


def test_what_the_client_did_is_not_the_upstreams_error(kept):
    kept.write(record(tried("one", K.REJECTED), ended="rejected", status=400))
    kept.write(record(tried("one", K.CLIENT_GONE), ended="client_gone", status=499))
    row = kept.of("one")
    assert (row.attempts, row.errors, row.last_outcome) == (2, 0, "client_gone")
    assert (kept.errors, kept.client_gone) == (1, 1)


def test_a_stream_that_broke_is_an_error_although_it_was_told_200(kept):
    kept.write(record(tried("one", K.BROKEN_STREAM), ended="broken_stream", upstream="one"))
    assert (kept.errors, kept.of("one").errors, kept.of("one").requests) == (1, 1, 1)


@pytest.mark.parametrize("ended", ["stop", "length", "tool_calls", "content_filter"])
def test_every_way_of_finishing_is_a_success(kept, ended):
    kept.write(record(tried("one"), ended=ended))
    assert kept.errors == 0


def test_offline_answers_are_counted(kept):
    kept.write(record(tried("one", K.FAULT), tried("offline"), offline="rules"))
    assert (kept.offline, kept.errors, kept.of("one").fallbacks) == (1, 0, 1)


def test_a_reset_forgets_everything_but_the_time_of_it(kept):
    kept.write(record(tried("one")))
    later = datetime(2026, 1, 2, tzinfo=UTC)
    kept.reset(later)
    fresh = Statistics(later)
    assert kept.describe(["one"]) == fresh.describe(["one"])
    assert kept.describe(["one"])["since"] == "2026-01-02T00:00:00+00:00"


def test_a_description_has_a_row_for_each_upstream_asked_for(kept):
    kept.write(record(tried("dropped")))
    described = kept.describe(["one", "two"])
    assert list(described["upstreams"]) == ["one", "two"]
    assert described["requests"] == 1


def test_an_empty_histogram_knows_nothing():
    assert Histogram().summary() == {"mean": None, "p50": None, "p95": None, "p99": None}


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_quantiles_are_at_most_a_bucket_off(q):
    """Half a bucket to each side: 4.5 %."""
    chance = random.Random(7)
    durations = [chance.lognormvariate(-1, 1.5) for _ in range(5000)]
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    true = sorted(durations)[int(q * len(durations)) - 1]
    assert histogram.quantile(q) == pytest.approx(true, rel=0.05)
    assert histogram.mean == pytest.approx(statistics.fmean(durations))


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e-4, 1e6])
def test_no_duration_falls_outside(seconds):
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.count == 1
    assert 0 < histogram.quantile(0.5) < 2000
