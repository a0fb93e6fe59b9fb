"""The receipt that a client gets, and the record that is kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from proxy.core.decision import Attempt, Decision, Mode
from proxy.core.errors import ErrorKind
from proxy.core.usage import Usage
from proxy.engine.journey import Journey
from tests.unit.routing.given import facts, target

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def journey() -> Journey:
    return Journey("req_1", "order-7", "/v1/chat/completions", 100.0, AT)


def receipt(journey: Journey) -> dict[str, str]:
    return {name.decode().removeprefix("x-failsoft-"): value.decode("latin-1") for name, value in journey.receipt()}


def test_a_receipt_says_what_is_known_by_then(journey):
    assert receipt(journey) == {"attempts": "0"}
    journey.decision, journey.tries = Decision("code", ()), 2
    assert receipt(journey) == {"route": "code", "attempts": "2"}
    journey.target, journey.mode = target("cloud/m"), Mode.TRANSLATE
    journey.losses = ("seed: not known there", "n: one answer only")
    assert receipt(journey) == {
        "route": "code", "upstream": "cloud", "model": "m", "mode": "translate", "attempts": "2",
        "lossy": "seed: not known there; n: one answer only",
    }  # fmt: skip
    journey.offline = "rules"
    assert receipt(journey)["offline"] == "rules"


def test_a_receipt_is_made_of_header_values_whatever_the_names_are(journey):
    journey.decision, journey.target = Decision("code", ()), target("cloud/modèle-日\r\n")
    journey.losses = ("x" * 5000,)
    assert receipt(journey)["model"] == "mod?le-???"
    assert len(receipt(journey)["lossy"]) == 1024


def test_the_record_of_a_request_that_never_got_in(journey):
    journey.end(ErrorKind.UNKNOWN_KEY, 401)
    record = journey.record(100.25)
    assert (record.id, record.correlation_id, record.at, record.status, record.ended, record.seconds) == (
        "req_1", "order-7", AT, 401, "unknown_key", 0.25,
    )  # fmt: skip
    assert (record.tenant, record.asked_model, record.route, record.upstream, record.model, record.attempts) == (
        "", "", "", "", "", (),
    )  # fmt: skip


def test_a_record_is_small_whatever_others_write(journey):
    """Paths are the caller's and finishes the upstream's words, and a thousand records stay in memory."""
    journey.ended = "e" * 5000
    journey.losses = tuple(f"messages[{number}].name: refused" for number in range(33))
    record = journey.record(101.0)
    assert len(record.ended) == 1024
    assert record.losses == (*journey.losses[:32], "and 1 more")
    journey.losses = ("x" * 5000,)
    assert journey.record(101.0).losses == ("x" * 200,)


def test_the_record_of_an_answer(journey):
    journey.facts = facts(model="auto", plan="gold")
    journey.inbound = journey.facts.inbound
    journey.decision, journey.target = Decision("code", ()), target("cloud/m")
    journey.attempts.append(Attempt("cloud", "m", "f1", 1.0))
    journey.usage, journey.first_token, journey.status, journey.ended = Usage(5, 7), 0.5, 200, "stop"
    record = journey.record(103.0)
    assert (record.route, record.upstream, record.model, record.asked_model) == ("code", "cloud", "m", "auto")
    assert (record.usage.total, record.first_token, record.seconds, record.ended) == (12, 0.5, 3.0, "stop")
    assert record.facts == {"plan": "gold"}
    journey.reported_model = "m-2026-01"
    assert journey.record(103.0).model == "m-2026-01", "the vendor's own name is the truer one"
    assert record.attempts == (Attempt("cloud", "m", "f1", 1.0),)
