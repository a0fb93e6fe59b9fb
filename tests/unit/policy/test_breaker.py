"""The laws of the breaker, over thousands of virtual hours."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.clock import FakeClock
from proxy.policy.breaker import HEALING, Admission, Breaker, BreakerConfig, State, Ticket

USUAL = BreakerConfig()
MIDDLE = 0.5
"""The chance with which a pause is neither shortened nor lengthened."""


class Target:
    """A breaker and its time; each result is that of a request of its own."""

    def __init__(self, config: BreakerConfig = USUAL) -> None:
        self.breaker = Breaker(config)
        self.clock = FakeClock(now=1000.0)

    @property
    def state(self) -> State:
        return self.breaker.state(self.clock.now)

    @property
    def is_open(self) -> bool:
        return self.breaker.is_open(self.clock.now)

    def enter(self) -> Ticket:
        return self.breaker.enter(self.clock.now)

    def end(self, ticket: Ticket, weight: float | None, chance: float = MIDDLE) -> None:
        self.breaker.settle(ticket, weight, self.clock.now, chance)

    def result(self, weight: float | None, times: int = 1) -> None:
        for _ in range(times):
            self.end(self.enter(), weight)

    def fail(self, times: int = 1) -> None:
        self.result(1.0, times)

    def succeed(self, times: int = 1) -> None:
        self.result(0.0, times)

    def pause(self) -> float:
        """The seconds until probes begin."""
        moment = self.breaker.opens_again(self.clock.now)
        assert moment is not None
        return moment - self.clock.now

    def wait_for_probes(self) -> None:
        self.clock.advance(self.pause())

    def close(self) -> None:
        """From open to closed and warm."""
        self.wait_for_probes()
        self.succeed(USUAL.successes)
        self.clock.advance(USUAL.slow_start)


@pytest.fixture
def target() -> Target:
    return Target()


def test_five_failures_in_a_row_open_it(target):
    target.fail(4)
    assert target.state is State.CLOSED
    target.fail()
    assert target.state is State.OPEN
    assert target.breaker.admission(target.clock.now) is Admission.REST


def test_a_success_ends_the_row(target):
    target.succeed(20)
    for _ in range(3):
        target.fail(4)
        target.succeed(4)
    assert target.state is State.CLOSED


def test_an_overload_counts_half(target):
    target.result(0.5, 9)
    assert target.state is State.CLOSED
    target.result(0.5)
    assert target.state is State.OPEN


def test_what_says_nothing_of_the_target_changes_nothing(target):
    target.fail(4)
    target.result(None, 50)
    assert (target.state, target.breaker.success_rate(target.clock.now)) == (State.CLOSED, 0.0)
    target.fail()
    assert target.state is State.OPEN


def test_half_of_at_least_ten_results_open_it(target):
    for _ in range(4):
        target.succeed()
        target.fail()
    target.succeed()
    assert target.state is State.CLOSED
    target.fail()
    assert target.state is State.OPEN


def test_what_is_older_than_the_window_counts_no_more(target):
    for _ in range(4):
        target.fail()
        target.succeed()
    target.clock.advance(USUAL.window + 1)
    assert target.breaker.success_rate(target.clock.now) is None
    target.fail()
    target.succeed()
    assert target.state is State.CLOSED
    assert target.breaker.success_rate(target.clock.now) == 0.5


def test_the_pause_doubles_up_to_the_longest(target):
    target.fail(5)
    pauses = [target.pause()]
    for _ in range(8):
        target.wait_for_probes()
        target.fail()
        pauses.append(target.pause())
    assert pauses == [5, 10, 20, 30, 30, 30, 30, 30, 30]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 4.0), (0.5, 5.0), (0.999999, 6.0)])
def test_the_pause_is_a_fifth_longer_or_shorter_by_chance(target, chance, pause):
    target.fail(4)
    target.end(target.enter(), 1.0, chance)
    assert target.pause() == pytest.approx(pause, abs=1e-4)


def test_five_minutes_of_health_take_one_doubling_back():
    target = Target(BreakerConfig(longest="5m"))
    target.fail(5)
    for _ in range(3):
        target.wait_for_probes()
        target.fail()
    assert target.pause() == 40
    target.close()
    target.clock.advance(2 * HEALING)
    target.fail(5)
    assert target.pause() == 20
    target.close()
    target.clock.advance(10 * HEALING)
    target.fail(5)
    assert target.pause() == 5


def test_one_probe_at_a_time_and_three_good_ones_close_it(target):
    target.fail(5)
    target.wait_for_probes()
    for good in range(3):
        assert (target.state, target.is_open) == (State.HALF_OPEN, False), good
        probe = target.enter()
        assert target.is_open
        target.end(probe, 0.0)
    assert target.state is State.CLOSED


def test_a_probe_that_says_nothing_makes_room_for_the_next(target):
    target.fail(5)
    target.wait_for_probes()
    target.result(None)
    assert (target.state, target.is_open) == (State.HALF_OPEN, False)


def test_a_failed_probe_opens_it_again_for_longer(target):
    target.fail(5)
    target.wait_for_probes()
    target.succeed(2)
    target.fail()
    assert (target.state, target.pause()) == (State.OPEN, 10)


def test_what_was_sent_before_it_opened_says_nothing_of_the_time_after(target):
    early = [target.enter() for _ in range(10)]
    target.fail(5)
    target.wait_for_probes()
    for ticket in early:
        target.end(ticket, 0.0)
    assert target.state is State.HALF_OPEN
    target.succeed(3)
    target.end(early[0], 1.0)
    assert target.breaker.success_rate(target.clock.now) is None
    assert (target.breaker.successes, target.breaker.failures) == (13, 6)


def test_after_closing_it_warms_up_evenly(target):
    """A tenth at first, all of it at the end, without any chance."""
    target.fail(5)
    target.wait_for_probes()
    target.succeed(3)
    passed = []
    for _ in range(6):
        admitted = [target.breaker.admission(target.clock.now) for _ in range(100)]
        passed.append(admitted.count(Admission.PASS))
        target.clock.advance(USUAL.slow_start / 5)
    assert passed == [pytest.approx(share, abs=1) for share in (10, 28, 46, 64, 82, 100)]


def test_who_insists_is_told_when(target):
    """An open target may be tried once a second, and what comes of it counts."""
    target.fail(5)
    assert not target.breaker.may_insist(target.clock.now)
    target.clock.advance(1)
    assert target.breaker.may_insist(target.clock.now)
    ticket = target.enter()
    target.clock.advance(1)
    assert not target.breaker.may_insist(target.clock.now)
    target.end(ticket, 1.0)
    assert (target.state, target.pause()) == (State.OPEN, 3)
    target.clock.advance(1)
    target.succeed()
    assert target.state is State.HALF_OPEN
    target.succeed(2)
    assert target.state is State.CLOSED


def test_who_is_known_to_be_well_is_probed_at_once_and_rests_shortly_if_it_is_not(target):
    for _ in range(4):
        target.fail(5)
        target.wait_for_probes()
    target.fail()
    assert target.pause() > USUAL.pause
    target.breaker.hurry(target.clock.now)
    assert (target.state, target.is_open) == (State.HALF_OPEN, False)
    target.fail()
    assert target.pause() == USUAL.pause


def test_there_is_nothing_to_hurry_where_it_is_not_open(target):
    target.breaker.hurry(target.clock.now)
    assert target.state is State.CLOSED
    target.fail(5)
    target.wait_for_probes()
    probe = target.enter()
    target.breaker.hurry(target.clock.now)
    assert target.is_open
    target.end(probe, 0.0)
    assert target.state is State.HALF_OPEN


def test_the_settings_may_change_while_it_lives(target):
    target.fail(3)
    target.breaker.config = BreakerConfig(consecutive=4)
    target.fail()
    assert target.state is State.OPEN


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 1.0, 4.0, 7.0, 60.0, 400.0, 7200.0]),
        st.sampled_from(["enter", "enter", "enter", "good", "bad", "half", "none"]),
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=200,
)
WEIGHTS = {"good": 0.0, "bad": 1.0, "half": 0.5, "none": None}


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_the_laws_hold_whatever_happens(steps):
    """Requests overlap, time jumps, and results come late.

    While it is open nothing is admitted, and that for 4 s to 360 s; one probe at a time; it opens only by a failure and
    closes only by a success; it never keeps more than thirty buckets.
    """
    target = Target()
    under_way: list[Ticket] = []
    opened_at = 0.0
    for seconds, what, chance in steps:
        before = target.state
        target.clock.advance(seconds)
        if before is State.OPEN and target.state is State.HALF_OPEN:
            assert target.clock.now - opened_at >= 4
        before = target.state
        if what == "enter":
            if target.breaker.admission(target.clock.now) is not Admission.REST:
                under_way.append(target.enter())
        elif under_way:
            target.end(under_way.pop(0), WEIGHTS[what], chance)
            if target.state is not before:
                assert {State.OPEN: what in ("bad", "half"), State.CLOSED: what == "good"}[target.state]
        if target.state is State.OPEN and before is not State.OPEN:
            opened_at = target.clock.now
            assert 4 <= target.pause() <= 360
        assert target.state is not State.OPEN or target.is_open
        assert sum(ticket.is_probe and ticket.era == target.breaker._ticket.era for ticket in under_way) <= 1
        assert len(target.breaker._buckets) <= 30
    for ticket in under_way:
        target.end(ticket, None)
    target.clock.advance(400)
    target.succeed(3)
    assert target.state is State.CLOSED


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.floats(0, 1, exclude_max=True))
def test_a_dead_target_gets_a_few_requests_an_hour_and_comes_back_soon(outages, chance):
    """One request a second for virtual days; each boolean is an hour in which the target lives or not."""
    target = Target()
    for lives in outages:
        sent = 0
        for _ in range(3600):
            target.clock.advance(1)
            if target.breaker.admission(target.clock.now) is Admission.PASS:
                sent += 1
                target.end(target.enter(), 0.0 if lives else 1.0, chance)
        if lives:
            assert target.state is State.CLOSED
            assert sent >= 3600 - 36 - 60
        else:
            assert sent <= 5 + 7 + 3600 / 24
