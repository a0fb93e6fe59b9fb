"""Read the `usage` object of OpenAI-shaped answers, whatever a server makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.usage import Usage

_MOST = 2**53
_NUMBERS = (int, float)  # and no bool


def read_usage(usage: Any) -> Usage | None:
    """The counts, parts no larger than the whole; None if there are none, or none that can be: then others must count.

    Cached tokens are in `prompt_tokens_details.cached_tokens`, or in `prompt_cache_hit_tokens`. Some servers leave the
    reasoning tokens out of `completion_tokens` but in `total_tokens`; they are put back.
    """
    if not isinstance(usage, dict) or not ("prompt_tokens" in usage or "completion_tokens" in usage):
        return None
    if not (_is_count(usage.get("prompt_tokens")) and _is_count(usage.get("completion_tokens"))):
        return None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    details, output = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    reasoning = _count(output, "reasoning_tokens")
    if _leaves_reasoning_out(usage):
        completion += reasoning
    cached = min(prompt, _count(details, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens"))
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write=min(prompt - cached, _count(details, "cache_write_tokens")),
        reasoning=min(completion, reasoning),
        source="vendor",
    )


def _leaves_reasoning_out(usage: Mapping[str, Any]) -> bool:
    """True if the total counts the reasoning and the completion does not."""
    reasoning = _count(usage.get("completion_tokens_details"), "reasoning_tokens")
    if not reasoning:
        return False
    known = _count(usage, "prompt_tokens") + _count(usage, "completion_tokens")
    return _count(usage, "total_tokens") == known + reasoning


def mended(usage: Any) -> dict[str, Any] | None:
    """The same with the reasoning among the completion, as clients reckon; None where it is already."""
    if not isinstance(usage, dict) or not _leaves_reasoning_out(usage):
        return None
    reasoning = _count(usage["completion_tokens_details"], "reasoning_tokens")
    return usage | {"completion_tokens": _count(usage, "completion_tokens") + reasoning}


def read_aside(chunk: Any) -> Usage | None:
    """The counts that a chunk tells within a vendor's extension (`x_….usage`), None if there are none."""
    inner = [part for name, part in chunk.items() if name.startswith("x_")] if isinstance(chunk, dict) else []
    found = (read_usage(part.get("usage")) for part in inner if isinstance(part, dict))
    return next((usage for usage in found if usage is not None), None)


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object that says the same."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _count(holder: Any, name: str) -> int:
    value = holder.get(name) if isinstance(holder, dict) else None
    return int(value) if value is not None and _is_count(value) else 0


def _is_count(value: Any) -> bool:
    """True for what may be a number of tokens, or is not told."""
    return value is None or (type(value) in _NUMBERS and 0 <= value <= _MOST)
