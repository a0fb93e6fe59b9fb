"""Who is asked, in which order, given who rests."""

from __future__ import annotations

from datetime import timedelta

import pytest

from proxy.core.clock import FakeClock
from proxy.core.decision import Checking, Target
from proxy.core.errors import ErrorKind
from proxy.core.ports import Pause
from proxy.engine.course import course
from proxy.engine.health import Health
from proxy.engine.service import Service
from proxy.policy.breaker import BreakerConfig
from proxy.policy.checkup import Finding
from tests.unit.routing.given import upstream

A, B, C, D = (Target(upstream(name), "m") for name in "abcd")
RULES = Target(upstream("offline", offline=True), "rules")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock(now=100.0)
        self.service = Service(self.clock)
        self.health = Health(self.clock, lambda: 0.5, lambda _name: BreakerConfig(consecutive=1), self.service)
        self.skipped: list[tuple[str, ErrorKind, float | None]] = []

    def end(self, target: Target, kind: ErrorKind | None) -> None:
        self.health.settle(target, self.health.enter(target), kind)

    def open(self, *targets: Target) -> None:
        """One after another, a second apart."""
        for target in targets:
            self.end(target, ErrorKind.FAULT)
            self.clock.advance(1)

    def take_down(self, *targets: Target) -> None:
        """By their checks; one after another, a second apart."""
        for target in targets:
            self.service.note(target.upstream, Finding.BAD, "refused", Checking(fall=1))
            self.clock.advance(1)

    def pause(self, target: Target, seconds: float | None = None) -> None:
        now = self.clock.wall()
        until = None if seconds is None else now + timedelta(seconds=seconds)
        self.service.set_pause(target.upstream.name, Pause("new disk", "abcd1234", now, until))

    def asked(self, *candidates: Target) -> list[str]:
        """All who would be asked if nobody answered."""
        self.skipped.clear()
        return [target.upstream.name for target in course(candidates, self.health, self._skip)]

    def _skip(self, target: Target, failure: object) -> None:
        self.skipped.append((target.upstream.name, failure.kind, failure.retry_after))


@pytest.fixture
def world() -> World:
    return World()


def test_everybody_who_is_well_in_the_decisions_order(world):
    assert world.asked(B, A, RULES) == ["b", "a", "offline"]
    assert world.asked(RULES, A) == ["offline", "a"]
    assert world.asked(RULES) == ["offline"]
    assert world.asked() == []


def test_who_rests_is_passed_over_and_says_when_to_come_back(world):
    world.open(A)
    assert world.asked(A, B, RULES) == ["b", "offline"]
    assert world.skipped == [("a", ErrorKind.RESTING, 4.0)]


def test_a_single_target_that_rests_is_not_asked(world):
    world.open(A)
    world.clock.advance(3)
    assert world.asked(A, RULES) == ["offline"]


def test_at_most_half_are_passed_over_and_the_others_are_asked_last(world):
    world.open(C, A)
    assert world.asked(A, B, C, RULES) == ["b", "c", "offline"]
    assert [name for name, _, _ in world.skipped] == ["a"]
    world.open(B)
    assert world.asked(A, B, C, D, RULES) == ["d", "c", "offline"]


def test_when_all_rest_the_one_that_failed_longest_ago_is_asked_once_a_second(world):
    world.open(B, A)
    assert world.asked(A, B, RULES) == ["b", "offline"]
    ticket = world.health.enter(B)
    assert world.asked(A, B, RULES) == ["offline"]
    world.health.settle(B, ticket, ErrorKind.FAULT)
    assert world.asked(A, B, RULES) == ["offline"]
    world.clock.advance(1)
    assert world.asked(A, B, RULES) == ["a", "offline"]


def test_who_warms_up_waits_until_the_others_were_asked(world):
    world.open(A)
    world.clock.advance(5)
    for _ in range(3):
        world.end(A, None)
    assert world.asked(A, B, RULES) == ["b", "a", "offline"]


def test_the_state_is_looked_at_when_a_targets_turn_comes(world):
    asked = course((A, B), world.health, world._skip)
    assert next(asked) is A
    world.open(B)
    assert list(asked) == []


def test_who_is_down_rests_like_who_has_an_open_breaker(world):
    world.take_down(C, A)
    assert world.asked(A, B, RULES) == ["b", "offline"]
    assert world.skipped == [("a", ErrorKind.RESTING, 1.0)]
    assert world.asked(A, RULES) == ["offline"]
    assert world.asked(A, B, C, RULES) == ["b", "c", "offline"]


def test_when_all_are_down_one_request_a_second_is_sent_nevertheless(world):
    """It goes to the one that has been down for longest."""
    world.take_down(B, A)
    assert world.asked(A, B, RULES) == ["b", "offline"]
    ticket = world.health.enter(B)
    assert world.asked(A, B, RULES) == ["offline"]
    world.health.settle(B, ticket, None)
    world.clock.advance(1)
    assert world.asked(A, B, RULES) == ["b", "offline"]


def test_who_is_in_maintenance_is_not_even_the_last_resort(world):
    world.pause(A, 60.0)
    assert world.asked(A, RULES) == ["offline"]
    assert world.skipped == [("a", ErrorKind.MAINTENANCE, 60.0)]
    world.open(B)
    assert world.asked(A, B, RULES) == ["offline"]
    world.clock.advance(60)
    assert world.asked(A, B, RULES) == ["a", "b", "offline"]


def test_maintenance_that_begins_while_a_request_walks_is_heeded(world):
    asked = course((A, B), world.health, world._skip)
    assert next(asked) is A
    world.pause(B)
    assert list(asked) == []
    assert world.skipped == [("b", ErrorKind.MAINTENANCE, None)]
