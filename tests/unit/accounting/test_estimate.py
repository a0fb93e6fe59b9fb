"""Token counts where a vendor's own are missing."""

from __future__ import annotations

import pytest

from proxy.accounting.estimate import counted
from proxy.core.usage import tokens_of


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_four_bytes_are_about_a_token(size, tokens):
    assert tokens_of(size) == tokens


def test_an_estimate_says_that_it_is_one():
    usage = counted(400, 41)
    assert (usage.prompt, usage.completion, usage.total, usage.source) == (100, 11, 111, "counted")
