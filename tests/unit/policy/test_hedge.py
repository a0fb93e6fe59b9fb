"""The rules of hedging by themselves."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.hedge import HedgeBudget, is_full, may_be_doubled, wait
from proxy.wire.peek import top_level


@given(st.lists(st.booleans(), max_size=2000))
def test_two_of_a_hundred_and_at_most_ten_saved_up(slow: list[bool]) -> None:
    """Over any stretch of n requests at most 10 + 2 % of n are hedged, and 1 + 2 % from the beginning."""
    budget, taken = HedgeBudget(), []
    for is_slow in slow:
        budget.earn()
        taken.append(is_slow and budget.take())
    for start in range(0, len(taken), 97):
        stretch = taken[start:]
        assert sum(stretch) <= 10 + 0.02 * len(stretch)
    assert sum(taken) <= 1 + 0.02 * len(taken)


def test_the_share_is_used_up() -> None:
    budget = HedgeBudget()
    hedged = 0
    for _ in range(1000):
        budget.earn()
        hedged += budget.take()
    assert hedged == 1 + 20


def test_quiet_times_save_up_ten() -> None:
    budget = HedgeBudget()
    for _ in range(5000):
        budget.earn()
    assert sum(budget.take() for _ in range(100)) == 10


@pytest.mark.parametrize(("usual", "seconds"), [(None, 2.0), (0.5, 2.0), (3.5, 3.5)])
def test_the_first_has_its_usual_time_and_the_least(usual, seconds) -> None:
    assert wait(2.0, usual) == seconds


def test_a_limit_counts_as_full_beyond_seven_tenths() -> None:
    assert [is_full(taken, 10) for taken in (0, 7, 8, 10)] == [False, False, True, True]
    assert [is_full(taken, 1) for taken in (0, 1)] == [False, True]


FUNCTION = {"type": "function", "function": {"name": "f"}}
ONCE = {
    "kept": {"store": True},
    "in the background": {"background": True},
    "in a conversation of the vendor's": {"conversation": "c1"},
    "searches": {"web_search_options": {"search_context_size": "low"}},
    "remote tools": {"mcp_servers": [{"url": "https://x"}]},
    "a machine there": {"container": "c1"},
    "a tool that the vendor runs": {"tools": [FUNCTION, {"type": "web_search"}]},
    "a tool that only the vendor knows": {"tools": [{"search": {}}]},
    "tools that are none": {"tools": "all"},
    "a tool that is none": {"tools": [1]},
    "a tool without a kind": {"tools": [{"type": ["function"]}]},
}
TWICE = {
    "nothing": {},
    "nulls": {"store": None, "tools": None, "web_search_options": None},
    "not kept": {"store": False},
    "tools of the caller": {"tools": [FUNCTION, {"type": "custom", "custom": {"name": "c"}}]},
    "a tool by its name": {"tools": [{"name": "f", "input_schema": {}}]},
    "no tools": {"tools": []},
}


@pytest.mark.parametrize(
    ("fields", "may"),
    [*((fields, False) for fields in ONCE.values()), *((fields, True) for fields in TWICE.values())],
    ids=[*ONCE, *TWICE],
)
def test_only_what_does_nothing_but_answer_is_asked_twice(fields, may) -> None:
    """Decoded, and as it stands in a body."""
    assert may_be_doubled(fields) is may
    assert may_be_doubled(top_level(msgspec.json.encode(fields))) is may
