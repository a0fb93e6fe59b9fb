"""When a target is asked a second time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind
from proxy.policy.retry import CAPACITY, Budget, Situation, first_byte_by, is_free, most_tries, pause

K = ErrorKind
FAULT = Situation(
    kind=K.FAULT, was_sent=True, took=0.1, connect_timeout=2.0, repeated=0, wakes=0.0, others=0, left=3, time=60.0
)  # fmt: skip
CONNECT = replace(FAULT, kind=K.CONNECT, was_sent=False)
OVERLOAD = replace(FAULT, kind=K.OVERLOAD)
THROTTLE = replace(FAULT, kind=K.THROTTLE)


def paused(now: Situation, chance: float = 0.5) -> float | None:
    return pause(now, 0.25, 4.0, chance)


def test_a_fault_is_repeated_after_a_pause_by_chance():
    assert [paused(FAULT, chance) for chance in (0.0, 0.5, 0.99)] == [0.0, 0.125, 0.2475]
    assert [paused(replace(FAULT, repeated=n), 1.0) for n in range(6)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]


@pytest.mark.parametrize(
    "kind", [K.FIRST_BYTE_TIMEOUT, K.FIRST_TOKEN_TIMEOUT, K.IDLE_TIMEOUT, K.NOT_AN_ANSWER, K.CONTEXT, K.DEADLINE]
)
def test_what_would_only_happen_again_is_not_repeated(kind):
    assert paused(replace(FAULT, kind=kind)) is None


def test_a_repetition_takes_no_target_its_try():
    assert paused(replace(FAULT, others=2, left=3)) is not None
    assert paused(replace(FAULT, others=3, left=3)) is None
    assert paused(replace(FAULT, left=0)) is None


def test_a_refused_connection_is_tried_again_at_once_and_free():
    assert (paused(CONNECT), is_free(CONNECT)) == (0.0, True)
    assert paused(replace(CONNECT, took=1.9)) is None
    assert not is_free(FAULT)


def test_an_overloaded_target_is_repeated_only_where_nobody_else_is_left():
    assert paused(OVERLOAD) == 1.125
    assert paused(replace(OVERLOAD, others=1)) is None
    assert paused(replace(OVERLOAD, was_sent=False)) is None


@pytest.mark.parametrize("kind", [K.THROTTLE, K.MONEY, K.AUTH])
def test_another_key_is_tried_at_once(kind):
    assert paused(replace(FAULT, kind=kind)) == 0.0


def test_a_throttled_key_is_waited_for_if_it_takes_two_seconds_at_most():
    assert paused(replace(THROTTLE, wakes=2.0)) == pytest.approx(2.0, abs=0.1)
    assert paused(replace(THROTTLE, wakes=2.1)) is None
    assert paused(replace(THROTTLE, kind=K.MONEY, wakes=1.0)) is None


def test_no_pause_outlives_the_deadline():
    assert paused(replace(OVERLOAD, time=1.1)) is None
    assert paused(replace(FAULT, time=0.0), 0.0) is None


def test_the_budget_of_a_target_that_is_down_runs_dry():
    budget, repeated = Budget(), 0
    for _ in range(1000):
        cost = budget.take(FAULT, 100)
        if cost is not None:
            repeated += 1
            budget.give_back(cost, is_success=False)
    assert repeated == CAPACITY // 14
    assert budget.take(THROTTLE, 100) == 5
    assert budget.take(CONNECT, 100) == 0


def test_successes_fill_it_again():
    budget = Budget()
    for _ in range(100):
        budget.give_back(budget.take(FAULT, 9), is_success=True)
    assert budget.tokens == CAPACITY
    budget.give_back(budget.take(FAULT, 9), is_success=False)
    for _ in range(3):
        budget.earn()
    assert budget.tokens == CAPACITY - 14 + 3


@pytest.mark.parametrize(("active", "most"), [(0, 3), (10, 3), (100, 20)])
def test_only_so_many_repetitions_are_under_way(active, most):
    budget = Budget()
    assert sum(budget.take(FAULT, active) is not None for _ in range(30)) == most


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["take", "good", "bad", "earn"]), max_size=200), st.integers(0, 50))
def test_the_budget_never_leaves_its_bounds(steps, active):
    budget, under_way = Budget(), []
    for step in steps:
        if step == "take" and (cost := budget.take(FAULT, active)) is not None:
            under_way.append(cost)
        elif step == "earn":
            budget.earn()
        elif under_way:
            budget.give_back(under_way.pop(), is_success=step == "good")
        assert 0 <= budget.tokens <= CAPACITY
        assert len(under_way) <= max(3, 0.2 * active)


@pytest.mark.parametrize(("count", "most"), [("0", 4), ("1", 2), ("7", 2), ("", 4), ("x", 4), ("²", 4)])
def test_who_repeats_already_gets_fewer_tries(count, most):
    assert most_tries(4, {"x-stainless-retry-count": count}) == most
    assert most_tries(1, {"x-stainless-retry-count": count}) == 1


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("600", 570.0), ("0.5", 0.475), ("0", math.inf), ("-1", math.inf), ("nan", math.inf), ("x", math.inf)],
)
def test_the_clients_patience_leaves_something_for_the_way(said, seconds):
    assert first_byte_by({"x-stainless-read-timeout": said}) == pytest.approx(seconds)
    assert first_byte_by({}) == math.inf
