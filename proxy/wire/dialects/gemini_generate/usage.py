"""Read Gemini's `usageMetadata`, which counts thinking in two ways."""

from __future__ import annotations

from typing import Any

from proxy.core.usage import Usage

_MOST = 2**53


def read_usage(told: Any) -> Usage | None:
    """The counts in OpenAI's sense; None if there are none.

    The prompt of tools counts as prompt. Thoughts come beside the candidates' tokens, unless the total shows that they
    are among them. A stream repeats the counts as they grow: the last ones hold.
    """
    if not isinstance(told, dict):
        return None
    prompt = _count(told, "promptTokenCount") + _count(told, "toolUsePromptTokenCount")
    said, thoughts = _count(told, "candidatesTokenCount"), _count(told, "thoughtsTokenCount")
    if not prompt and not said and not thoughts:
        return None
    completion = said if thoughts <= said and prompt + said == _count(told, "totalTokenCount") else said + thoughts
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=min(prompt, _count(told, "cachedContentTokenCount")),
        reasoning=thoughts,
        source="vendor",
    )


def _count(told: dict[str, Any], name: str) -> int:
    value = told.get(name)
    return value if type(value) is int and 0 <= value <= _MOST else 0
