"""Usage is read from whatever a server writes, and never taken for more than it can be."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.usage import Usage
from proxy.wire.usage import read_usage, write_usage


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, Usage(3, 2, source="vendor")),
        ({"prompt_tokens": 3.0}, Usage(3, 0, source="vendor")),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(10, 8, cached=4, cache_write=2, reasoning=5, source="vendor"),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 7},
            Usage(10, 1, cached=7, source="vendor"),
        ),
        # Reasoning left out of the completion but in the total.
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "total_tokens": 8,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(1, 7, reasoning=5, source="vendor"),
        ),
        # Parts that are larger than the whole, or no numbers.
        (
            {"prompt_tokens": 1, "completion_tokens": None, "prompt_tokens_details": {"cached_tokens": 9}},
            Usage(1, 0, cached=1, source="vendor"),
        ),
        ({"prompt_tokens": 3, "prompt_tokens_details": 4}, Usage(3, source="vendor")),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": -1}}, Usage(3, source="vendor")),
    ],
)
def test_reads(told: dict[str, Any], usage: Usage) -> None:
    assert usage == read_usage(told)


@pytest.mark.parametrize("lie", [-1, 2**63, "3", True, float("nan"), [1]])
def test_counts_that_cannot_be_are_no_usage(lie: object) -> None:
    assert read_usage({"prompt_tokens": lie, "completion_tokens": 2}) is None
    assert read_usage({"prompt_tokens": 2, "completion_tokens": lie}) is None


@pytest.mark.parametrize("told", [None, {}, [], "3", {"tokens": 3}])
def test_no_counts_are_no_usage(told: object) -> None:
    assert read_usage(told) is None


def test_what_is_written_is_read_again() -> None:
    usage = Usage(10, 8, cached=4, cache_write=2, reasoning=5, source="vendor")
    assert usage == read_usage(write_usage(usage))
