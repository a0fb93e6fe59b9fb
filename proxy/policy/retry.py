"""How often a request is sent upstream."""

from __future__ import annotations

from collections.abc import Mapping

PER_TARGET = 2
"""Tries at one target for one request."""
FOR_IMPATIENT = 2
"""Tries in all for a request that its client repeats already."""


def most_tries(configured: int, headers: Mapping[str, str]) -> int:
    """How many tries a request gets; one that its client repeats already gets fewer (`x-stainless-retry-count`)."""
    count = headers.get("x-stainless-retry-count", "")
    is_repeated = count.isascii() and count.isdigit() and count.strip("0") != ""
    return min(configured, FOR_IMPATIENT) if is_repeated else configured
