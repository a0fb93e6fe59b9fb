"""Who takes requests: by what operators say and by what checks find; known by name, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from proxy.core.clock import FakeClock
from proxy.core.decision import Checking, Upstream
from proxy.core.ports import Pause
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


def pause(service: Service, clock: FakeClock, reason: str = "new disk", seconds: float | None = None) -> Pause:
    """Of `one`, from now on."""
    until = None if seconds is None else clock.wall() + timedelta(seconds=seconds)
    made = Pause(reason, "abcd1234", clock.wall(), until)
    assert service.set_pause("one", made)
    return made


def resume(service: Service) -> bool:
    return service.set_pause("one", None)


def check(service: Service, *findings: Finding, at: Upstream = ONE) -> list[bool]:
    return [service.note(at, finding, "refused", LIMITS) for finding in findings]


def test_a_pause_lasts_until_it_is_ended(service, clock):
    before = service.version
    made = pause(service, clock)
    assert service.version != before
    clock.advance(1e9)
    assert service.pause_of("one") is made
    assert service.pause_of("two") is None
    assert (str(made), made.until) == ("in maintenance: new disk", None)
    before = service.version
    assert resume(service)
    assert service.version != before
    assert service.pause_of("one") is None
    assert not resume(service)


def test_a_pause_with_an_end_ends_by_itself(service, clock):
    made = pause(service, clock, seconds=60.0)
    assert str(made) == "in maintenance until 2026-01-01T00:02:40+00:00: new disk"
    version = service.version
    clock.advance(59.9)
    assert (service.version, service.pause_of("one")) == (version, made)
    clock.advance(0.1)
    assert service.version != version
    assert service.pause_of("one") is None
    assert not resume(service)


def test_a_second_pause_takes_the_place_of_the_first(service, clock):
    pause(service, clock, seconds=60.0)
    pause(service, clock, "newer disk")
    clock.advance(100)
    assert service.pause_of("one").reason == "newer disk"


def test_the_same_once_more_changes_nothing_though_the_wall_clock_was_put_right(service, clock):
    """Other workers and the next look at the file tell of it again."""
    made = pause(service, clock, seconds=60.0)
    clock.epoch += timedelta(hours=1)
    version = service.version
    assert not service.set_pause("one", made)
    clock.advance(59.0)
    assert (service.version, service.pause_of("one")) == (version, made)


def test_a_pause_that_is_over_is_none(service, clock):
    clock.advance(100)
    service.set_pause("one", Pause("new disk", "abcd1234", clock.wall(), clock.wall() - timedelta(seconds=1)))
    assert service.pause_of("one") is None


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


def test_a_reload_that_changes_nothing_of_it_lets_it_be(service, clock):
    check(service, Finding.BAD)
    pause(service, clock)
    service.adopt({"one": replace(ONE, checking=Checking(every=1.0))})
    assert service.is_down("one")
    assert service.pause_of("one") is not None
    assert service.describe(replace(ONE, checking=None))["checks"] is None


def test_another_place_of_the_same_name_begins_anew(service):
    check(service, Finding.BAD)
    moved = replace(ONE, base="/elsewhere")
    assert not service.checkup(moved).is_down
    assert not service.is_down("one")
