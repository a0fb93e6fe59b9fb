"""Who takes requests: by what operators say and by what checks find; known by name, in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.clock import FakeClock
from proxy.core.decision import Checking, Upstream
from proxy.engine.service import Service
from proxy.policy.checkup import Finding
from tests.unit.routing.given import upstream

LIMITS = Checking(fall=1, rise=1)
ONE: Upstream = replace(upstream("one"), checking=LIMITS)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now=100.0)


@pytest.fixture
def service(clock) -> Service:
    return Service(clock)


def check(service: Service, *findings: Finding, at: Upstream = ONE) -> list[bool]:
    return [service.note(at, finding, "refused", LIMITS) for finding in findings]


def test_a_pause_lasts_until_it_is_ended(service, clock):
    before = service.version
    pause = service.pause("one", "new disk", "abcd1234")
    assert service.version != before
    clock.advance(1e9)
    assert service.pause_of("one") is pause
    assert service.pause_of("two") is None
    assert (str(pause), pause.until) == ("in maintenance: new disk", None)
    before = service.version
    assert service.resume("one")
    assert service.version != before
    assert service.pause_of("one") is None
    assert not service.resume("one")


def test_a_pause_with_an_end_ends_by_itself(service, clock):
    pause = service.pause("one", "new disk", "abcd1234", 60.0)
    assert str(pause) == "in maintenance until 2026-01-01T00:02:40+00:00: new disk"
    version = service.version
    clock.advance(59.9)
    assert (service.version, service.pause_of("one")) == (version, pause)
    clock.advance(0.1)
    assert service.version != version
    assert service.pause_of("one") is None
    assert not service.resume("one")


def test_a_second_pause_takes_the_place_of_the_first(service, clock):
    service.pause("one", "new disk", "abcd1234", 60.0)
    service.pause("one", "newer disk", "abcd1234")
    clock.advance(100)
    assert service.pause_of("one").reason == "newer disk"


def test_the_version_tells_of_every_change(service):
    versions = [service.version]
    for finding in (Finding.GOOD, Finding.BAD, Finding.BAD, Finding.GOOD):
        check(service, finding)
        versions.append(service.version)
    up, good, bad, worse, again = versions
    assert up == good != bad == worse != again


def test_down_says_why_and_since_when(service, clock):
    assert (service.why_down("one"), service.is_down("one")) == ("", False)
    check(service, Finding.BAD)
    clock.advance(10)
    check(service, Finding.BAD)
    assert service.is_down("one")
    assert service.why_down("one") == "2 checks failed in a row (refused)"
    assert service.down_since("one") == 100.0
    assert service.describe(ONE)["checks"] == {
        "state": "down", "seconds": 10.0, "in_a_row": -2, "last_failure": "refused",
    }  # fmt: skip


def test_one_request_a_second_may_insist(service, clock):
    assert service.may_insist("one")
    check(service, Finding.BAD)
    assert service.may_insist("one")
    service.enter("one")
    assert not service.may_insist("one")
    clock.advance(1)
    assert service.may_insist("one")


@pytest.mark.parametrize(
    "after",
    [{}, {"one": replace(ONE, checking=None)}, {"one": replace(ONE, base="/elsewhere")}],
    ids=["gone", "not checked any more", "another place"],
)
def test_a_reload_ends_what_nobody_checks_any_more(service, after):
    check(service, Finding.BAD)
    before = service.version
    service.adopt(after)
    assert not service.is_down("one")
    assert service.version != before


def test_a_reload_that_changes_nothing_of_it_lets_it_be(service):
    check(service, Finding.BAD)
    service.pause("two", "new disk", "abcd1234")
    service.adopt({"one": replace(ONE, checking=Checking(every=1.0))})
    assert service.is_down("one")
    assert service.pause_of("two") is not None
    assert service.describe(replace(ONE, checking=None))["checks"] is None
