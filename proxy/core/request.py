"""The client's side of a request, as the engine and the rules see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Peek:
    """What routing needs of every body, read without decoding the rest.

    `model` is what the caller asked for (never empty); `max_tokens` the caller's own cap, None when silent;
    `metadata` its string pairs. `include_usage` is `stream_options.include_usage`. `is_batch`: the caller said that it
    can wait.
    """

    model: str
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    user: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class Tenant:
    """On whose behalf a request is made. `defaults` fill what the caller left out; `flags` are free switches."""

    name: str
    plan: str | None = None
    enabled: bool = True
    anonymous: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)


def _nobody() -> None:
    """Nobody counts the body's bytes."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One request as it came in.

    `dialect` names the wire protocol the client speaks, `endpoint` the path it called. `headers` are lower-cased.
    `arrived` is monotonic seconds. `offline` is what the caller said in `x-failsoft-offline` (`never` or None). `gone`
    is told when the body is let go.
    """

    id: str
    correlation_id: str
    dialect: str
    endpoint: str
    headers: Mapping[str, str]
    body: bytes
    peek: Peek
    tenant: Tenant
    arrived: float
    is_admin: bool = False
    gone: Callable[[], None] = _nobody

    def let_go(self) -> None:
        """Forget the body: the only change there is, for an answer may take minutes and a body be large."""
        object.__setattr__(self, "body", b"")
        self.gone()

    @property
    def refuses_offline(self) -> bool:
        """True if the caller or its tenant wants the error rather than a synthesized answer."""
        return "never" in (self.headers.get("x-failsoft-offline"), self.tenant.flags.get("offline"))
