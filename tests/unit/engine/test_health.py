"""What routing remembers by: the version changes whenever an answer does."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.clock import FakeClock
from proxy.core.decision import Rest, Target
from proxy.core.errors import ErrorKind
from proxy.engine.health import NO_KEY, Health
from proxy.engine.service import Service
from proxy.policy.breaker import BreakerConfig
from proxy.wire.meters import USUAL_METERS
from tests.unit.routing.given import upstream

TARGETS = [Target(upstream("a"), model) for model in "mn"]
KINDS = [
    None,
    ErrorKind.MONEY,
    ErrorKind.FAULT,
    ErrorKind.FAULT,
    ErrorKind.OVERLOAD,
    ErrorKind.THROTTLE,
    ErrorKind.CLIENT_GONE,
]


def make(clock: FakeClock) -> Health:
    return Health(clock, lambda: 0.5, lambda _name: BreakerConfig(consecutive=1), Service(clock))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(TARGETS),
            st.sampled_from(["enter", "settle", "key", "look"]),
            st.sampled_from(KINDS),
            st.sampled_from([0.0, 1.0, 6.0, 50.0, 400.0]),
        ),
        max_size=60,
    )
)
def test_the_version_changes_with_every_answer(steps):
    """Also where only time has passed; nobody needs to look in between."""
    clock = FakeClock()
    health = make(clock)
    tickets = {str(target): [] for target in TARGETS}

    def answers() -> list[tuple[bool, bool]]:
        """Is it open, and is it throttled?"""
        rests = [health.rest(target) for target in TARGETS]
        throttled = [rest is not None and rest.why is ErrorKind.THROTTLE for rest in rests]
        return list(zip([health.is_open(target) for target in TARGETS], throttled, strict=True))

    seen = {health.version: answers()}
    for target, what, kind, seconds in steps:
        clock.advance(seconds)
        if what == "enter":
            tickets[str(target)].append(health.enter(target))
        elif what == "settle" and tickets[str(target)]:
            health.settle(target, tickets[str(target)].pop(0), kind)
        elif what == "key":
            health.settle_key(target, NO_KEY, kind, seconds)
        assert seen.setdefault(health.version, answers()) == answers()


def test_time_alone_changes_it_too():
    clock = FakeClock()
    health = make(clock)
    health.settle(TARGETS[0], health.enter(TARGETS[0]), ErrorKind.FAULT)
    health.settle_key(TARGETS[1], NO_KEY, ErrorKind.THROTTLE, 60.0)
    for seconds, opened in ((0.0, [True, True]), (5.0, [False, True]), (55.0, [False, False])):
        before = health.version
        clock.advance(seconds)
        assert [health.is_open(target) for target in TARGETS] == opened
        assert (health.version == before) is (seconds == 0.0)


def test_without_any_change_the_version_stays():
    clock = FakeClock()
    health = make(clock)
    before = health.version
    for _ in range(100):
        clock.advance(60)
        health.settle(TARGETS[0], health.enter(TARGETS[0]), None)
    assert health.version == before


def test_names_that_callers_make_up_do_not_fill_the_memory():
    clock = FakeClock()
    health = make(clock)
    one = upstream("one")
    for number in range(5000):
        health.settle(Target(one, f"m{number}"), health.enter(Target(one, f"m{number}")), ErrorKind.FAULT)
    rows = health.describe("one")["targets"]
    assert len(rows) == 4096
    assert "m4999" in {row["model"] for row in rows}


def test_offline_answers_have_no_breaker():
    health = make(FakeClock())
    rules = Target(upstream("offline", offline=True), "rules")
    for _ in range(9):
        health.settle(rules, health.enter(rules), ErrorKind.OFFLINE_UNAVAILABLE)
    assert health.describe("offline")["targets"] == []


def test_an_absent_model_is_an_obstacle_and_no_reason_to_decide_anew():
    """Callers can make up any name: what they learn of it costs nobody else a decision."""
    clock = FakeClock()
    health = make(clock)
    before = health.version
    health.settle(TARGETS[0], health.enter(TARGETS[0]), ErrorKind.MODEL_ABSENT)
    assert health.version == before
    assert [health.is_open(target) for target in TARGETS] == [False, False]
    rests = [health.rest(target) for target in TARGETS]
    assert [rest and rest.why for rest in rests] == [ErrorKind.MODEL_ABSENT, None]
    assert health.obstacle(TARGETS[0]).kind is ErrorKind.MODEL_ABSENT
    health.appeared("a", ["m"])
    assert health.rest(TARGETS[0]) is None


def test_a_rest_says_why_and_until_when():
    clock = FakeClock()
    health = make(clock)
    health.settle_key(TARGETS[0], NO_KEY, ErrorKind.THROTTLE, 90.0)
    clock.advance(30)
    assert health.rest(TARGETS[0]) == Rest(ErrorKind.THROTTLE, clock.wall() + timedelta(seconds=60))
    assert health.throttled(TARGETS[0].upstream) == {"m": 60.0}
    assert health.rest(TARGETS[1]) is None
    clock.advance(60)
    assert (health.rest(TARGETS[0]), health.throttled(TARGETS[0].upstream)) == (None, {})


def test_what_headers_say_is_heard_by_routing():
    clock = FakeClock()
    health = make(clock)
    counted = Target(upstream("a", meters=USUAL_METERS), "m")
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
    versions = [health.version]
    health.hear(counted, NO_KEY, {"content-type": "text/event-stream"})
    versions.append(health.version)
    health.hear(counted, NO_KEY, headers)
    versions.append(health.version)
    assert health.is_open(counted)
    clock.advance(30)
    versions.append(health.version)
    assert not health.is_open(counted)
    assert [versions.index(version) for version in versions] == [0, 0, 2, 3]
