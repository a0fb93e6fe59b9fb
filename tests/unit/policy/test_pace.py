"""Our own rate: never faster than was written, and never slower than it need be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.core.decision import PaceLimits
from proxy.policy.pace import Pace, PaceConfig

LIMITS = st.builds(
    PaceLimits,
    interval=st.sampled_from([0.0, 0.25, 1.0, 6.0]),
    burst=st.integers(1, 5),
    spacing=st.sampled_from([0.0, 0.5, 2.0]),
)
PAUSES = st.lists(st.sampled_from([0.0, 0.1, 1.0, 5.0, 60.0]), min_size=1, max_size=30)


def starts(limits: PaceLimits, pauses: list[float]) -> list[float]:
    """When requests start that come after these pauses and each wait for their turn."""
    pace, now, begun = Pace(limits), 100.0, []
    for pause in pauses:
        now = pace.free_at(now + pause)
        pace.take(now)
        begun.append(now)
    return begun


@settings(max_examples=200, deadline=None)
@given(LIMITS, PAUSES)
def test_no_window_holds_more_than_the_burst_and_what_the_rate_adds(limits: PaceLimits, pauses: list[float]) -> None:
    begun = starts(limits, pauses)
    for first in range(len(begun)):
        for last in range(first + 1, len(begun)):
            count, window = last - first + 1, begun[last] - begun[first]
            assert window >= (count - limits.burst) * limits.interval - 1e-6
            assert window >= (count - 1) * limits.spacing - 1e-6


@settings(max_examples=200, deadline=None)
@given(LIMITS, PAUSES, st.integers(0, 6))
def test_what_is_foretold_to_those_who_wait_comes_true(limits: PaceLimits, pauses: list[float], ahead: int) -> None:
    """Without newcomers, whoever has `ahead` others before them starts when they were told, or before."""
    pace, now = Pace(limits), 100.0
    for pause in pauses:
        now += pause
        if pace.free_at(now) <= now:
            pace.take(now)
    told = pace.free_at(now, ahead)
    for _ in range(ahead):
        now = pace.free_at(now)
        pace.take(now)
    assert now <= pace.free_at(now) <= told + 1e-6


def test_a_burst_then_one_per_interval() -> None:
    begun = starts(PaceConfig.model_validate({"limit": "10/minute", "burst": 3}).limits(), [0.0] * 6)
    assert begun == [100.0, 100.0, 100.0, 106.0, 112.0, 118.0]


def test_unused_time_is_kept_up_to_the_burst_and_no_longer() -> None:
    begun = starts(PaceLimits(interval=6.0, burst=2), [0.0, 3600.0, 0.0, 0.0])
    assert [moment - 3700.0 for moment in begun[1:]] == [0.0, 0.0, 6.0]


def test_spacing_holds_within_a_burst_too() -> None:
    assert starts(PaceLimits(interval=10.0, burst=3, spacing=1.0), [0.0] * 4) == [100.0, 101.0, 102.0, 110.0]


def test_without_limits_everybody_starts_at_once() -> None:
    assert starts(PaceConfig().limits(), [0.0] * 3) == [100.0] * 3


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="enabled: false"):
        PaceConfig.model_validate({"limit": "0/minute"})
