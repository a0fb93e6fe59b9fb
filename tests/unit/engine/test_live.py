"""What outlives a snapshot is kept by name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.core.decision import Attempt, Target
from proxy.core.errors import ErrorKind
from proxy.core.family import Told
from proxy.core.usage import Usage, UsageRecord
from proxy.engine.live import Live
from tests.unit.routing.given import upstream

AT = datetime(2026, 1, 1, tzinfo=UTC)


def record(*attempts: Attempt) -> UsageRecord:
    return UsageRecord(
        id="r", correlation_id="c", at=AT, tenant="t", endpoint="/v1/chat/completions", stream=True, asked_model="m",
        route="all", upstream=attempts[-1].upstream if attempts else "", model="m", mode="identity", attempts=attempts,
        status=200, ended="stop", usage=Usage(), seconds=1.0, first_token=None,
    )  # fmt: skip


@pytest.fixture
def live() -> Live:
    return Live(loads(b"{}", "routes.yaml", {}), FakeClock())


def target(name: str = "one", model: str = "m") -> Target:
    return Target(upstream(name), model)


def test_the_first_sample_counts_whole_and_later_ones_a_fifth(live):
    assert live.first_token(target()) is None
    live.write(record(Attempt("one", "m", None, 2.0, first_token=1.0)))
    assert live.first_token(target()) == 1.0
    live.write(record(Attempt("one", "m", None, 2.0, first_token=2.0)))
    assert live.first_token(target()) == pytest.approx(1.2)


def test_averages_are_of_one_model_at_one_upstream_and_survive_a_snapshot(live):
    live.write(record(Attempt("one", "m", None, 2.0, first_token=1.0)))
    live.snapshot = loads(b"models: {house: []}", "routes.yaml", {})
    assert live.first_token(target()) == 1.0
    assert live.first_token(target("one", "other")) is None
    assert live.first_token(target("two")) is None


def test_every_attempt_of_a_request_teaches(live):
    failed = Attempt("one", "m", None, 1.0, ErrorKind.BROKEN_STREAM, 200, first_token=0.5)
    silent = Attempt("two", "m", None, 1.0, ErrorKind.CONNECT)
    live.write(record(failed, silent, Attempt("three", "m", None, 1.0, first_token=0.1)))
    assert (live.first_token(target()), live.first_token(target("two")), live.first_token(target("three"))) == (
        0.5, None, 0.1,
    )  # fmt: skip
    assert live.statistics.of("one").attempts == 1


def test_names_that_callers_make_up_do_not_fill_the_memory(live):
    """The averages in use stay; those longest without a sample go."""
    live.write(record(Attempt("one", "in use", None, 1.0, first_token=1.0)))
    for number in range(5000):
        live.write(record(Attempt("one", f"made-up-{number}", None, 1.0, first_token=1.0)))
        if number % 500 == 0:
            live.write(record(Attempt("one", "in use", None, 1.0, first_token=0.0)))
    assert live.first_token(target("one", "in use")) > 0, "its first sample is still in it"
    assert live.first_token(target("one", "made-up-4999")) == 1.0
    assert live.first_token(target("one", "made-up-0")) is None


def test_requests_under_way_are_counted_by_upstream(live):
    live.enter("one")
    live.enter("one")
    live.enter("two")
    live.leave("one")
    assert (live.requests_at("one"), live.requests_at("two"), live.requests_at("three")) == (1, 1, 0)


def test_a_list_of_models_is_unknown_until_somebody_could_ask(live):
    assert live.listed("one") is None
    live.note_listed("one", [])
    assert live.listed("one") == frozenset()
    version = live.version
    live.note_listed("one", ["a", "b"])
    live.note_listed("one", ["b", "a"])
    assert live.listed("one") == {"a", "b"}
    assert live.version == version + 1, "only a change counts"


def test_what_an_upstream_says_of_its_models_is_known_by_any_of_their_names(live):
    local = loads(b"upstreams: {one: {provider: ollama}}", "routes.yaml", {}).upstreams["one"]
    version = live.version
    live.note_told(local, {"llama:latest": Told(context=1), "silent": Told()})
    live.note_told(local, {"llama:latest": Told(context=1)})
    assert live.version == version + 1, "only a change counts"
    assert live.told(Target(local, "llama")) == live.told(Target(local, "llama:latest")) == Told(context=1)
    assert live.told(Target(local, "silent")) is None
    assert live.told_by("one") == {"llama:latest": Told(context=1)}
    live.note_told(local, {})
    assert (live.told(Target(local, "llama")), live.version) == (None, version + 2)


def test_what_the_process_listens_with_is_what_it_started_with(live):
    server = live.server
    live.snapshot = loads(b"server: {max_body: 1KiB}", "routes.yaml", {})
    assert live.server is server
