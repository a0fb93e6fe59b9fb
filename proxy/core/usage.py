"""What a request consumed, and the one record that is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from proxy.core.decision import Attempt
from proxy.core.errors import ErrorKind, UpstreamFailure

UsageSource = Literal["vendor", "counted", "unknown"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts in OpenAI's sense: `cached` and `cache_write` are parts of `prompt`, `reasoning` of `completion`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    source: UsageSource = "unknown"

    @property
    def total(self) -> int:
        return self.prompt + self.completion


BYTES_PER_TOKEN = 4
"""English prose in current vocabularies; the bytes of other scripts make up for their tokens."""


def tokens_of(size: int) -> int:
    """About how many tokens `size` bytes (or characters) of text are."""
    return (size + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """The usage of two answers together; what is unknown counts nothing. Counted once is counted."""
    if one is None or other is None:
        return one or other
    sources = {one.source, other.source}
    return Usage(
        prompt=one.prompt + other.prompt,
        completion=one.completion + other.completion,
        cached=one.cached + other.cached,
        cache_write=one.cache_write + other.cache_write,
        reasoning=one.reasoning + other.reasoning,
        source="unknown" if "unknown" in sources else "counted" if "counted" in sources else "vendor",
    )


class SpentInVain(UpstreamFailure):
    """An answer came to its end and yet is none; `usage` is what the upstream says that it cost."""

    def __init__(self, kind: ErrorKind, detail: str, usage: Usage) -> None:
        super().__init__(kind, detail)
        self.usage = usage


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """Everything that is kept of one request; written once, when it has ended, whatever way it ended.

    `ended` is a finish reason (`stop`, `length`, `tool_calls`, …) or the name of an error kind in lower case.
    `unknown` counts what the upstream said and there is no word for. Times are seconds; `first_token` is None when no
    semantic delta was seen. `facts` is what routing knew of the request (`plan`, and `tokens`, `has`, `task`,
    `complexity` where a rule had asked), in JSON's terms. `size` is the bytes of its body.
    """

    id: str
    correlation_id: str
    at: datetime
    tenant: str
    endpoint: str
    stream: bool
    asked_model: str
    route: str
    upstream: str
    model: str
    mode: str
    attempts: tuple[Attempt, ...]
    status: int
    ended: str
    usage: Usage
    seconds: float
    first_token: float | None
    offline: str | None = None
    losses: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    size: int = 0

    @property
    def may_be_billed(self) -> bool:
        """True if the vendors may charge for more than `usage` says."""
        return any(attempt.may_be_billed for attempt in self.attempts)
