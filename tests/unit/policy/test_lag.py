"""What is known of the loop's standstills, and what a late timer is given."""

from __future__ import annotations

import pytest

from proxy.policy.lag import Lag, grace


@pytest.mark.parametrize(("due", "now", "more"), [(10.0, 10.0, 0.0), (10.0, 10.05, 0.0), (10.0, 12.0, 2.0)])
def test_a_late_timer_gets_its_delay_once_more(due: float, now: float, more: float) -> None:
    assert grace(due, now) == more


def test_ticks_that_come_in_time_are_no_lag() -> None:
    lag = Lag(0.5, 100.0)
    assert [lag.tick(100.5), lag.tick(101.0)] == [0.0, 0.0]
    assert lag.worst(101.2) == 0.0


def test_a_standstill_is_seen_before_its_tick_and_remembered_for_a_while() -> None:
    lag = Lag(0.5, 100.0)
    assert lag.worst(102.5) == 2.0
    assert lag.tick(102.5) == 2.0
    lag.tick(103.0)
    assert lag.worst(103.0) == 2.0
    for second in range(103, 113):
        lag.tick(second + 0.1)
    assert lag.worst(112.6) == pytest.approx(0.5)


def test_the_worst_counts() -> None:
    lag = Lag(1.0, 0.0)
    lag.tick(6.0)
    lag.tick(9.0)
    assert lag.worst(9.0) == 5.0
    lag.tick(10.0)
    lag.tick(15.0)
    assert lag.worst(15.5) == 5.0
    assert lag.worst(16.5) == 4.0
