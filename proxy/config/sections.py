"""The sections of the file whose code has no configuration class of its own: wiring, people, money, tests."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from proxy.config.patterns import check_regex
from proxy.core.quantities import parse_duration, parse_moment, parse_percent
from proxy.core.secret import Secret
from proxy.fields import (
    Count,
    Duration,
    EnvInt,
    EnvLocation,
    EnvSecret,
    EnvText,
    Many,
    Money,
    RatePer,
    Section,
    Size,
    Whole,
)
from proxy.routing.globs import Glob


class HeartbeatConfig(Section):
    """Signs of life for streaming clients that wait: SSE comments, which no SDK takes for data."""

    first: Duration = 5.0
    """Silence before the first one; with it the status 200 goes out."""
    every: Duration = 15.0
    """Silence between two of them."""


class ServerConfig(Section):
    """How the proxy listens."""

    host: EnvText = "127.0.0.1"
    """The address to listen on. Beyond this machine, callers need keys, or `allow_anonymous: true`."""
    port: Annotated[EnvInt, Field(ge=0, le=65535)] = 8080
    """The TCP port; 0 lets the system choose."""
    allow_anonymous: bool = False
    """Serve callers without a key although the address is not loopback."""
    max_body: Size = 32 * 2**20
    """The largest request body; more is answered 413."""
    body_timeout: Duration = 30.0
    """How long a request body may take to arrive, and one second more for each KiB; then 408."""
    header_timeout: Duration = 10.0
    """How long the head of a request may take to arrive, from its first byte; then 408."""
    write_timeout: Duration = 30.0
    """How long a client may leave what it was sent unread; then its connection is cut and its request ends."""
    max_in_flight: Count = 1000
    """Requests that one process works on at the same time; more are answered 503."""
    max_buffered: Size = 512 * 2**20
    """Bytes of request bodies that one process holds at the same time; beyond it bodies over 64 KiB get a 503."""
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    """Signs of life for streaming clients that wait."""
    cors_origins: Many[EnvText] = ()
    """Origins whose browsers may call; empty means none."""
    trusted_hosts: Many[EnvText] = ("localhost", "127.0.0.1")
    """Values of the Host header that are served; `*` is any."""
    admin_keys: Many[EnvSecret] = ()
    """Keys of the admin interface, as variables. If all are empty, one is generated and shown once at the start."""
    drain: Duration = 60.0
    """How long streams may go on after a SIGTERM."""


class StorageConfig(Section):
    """Where things are kept."""

    state: EnvLocation = Field(default_factory=lambda: Secret("memory"), json_schema_extra={"default": "memory"})
    """`memory`, or `redis://host:port/db` to share limits, quotas, breakers and cache between processes."""
    ledger: EnvLocation = Field(
        default_factory=lambda: Secret("sqlite:///failsoft.db"), json_schema_extra={"default": "sqlite:///failsoft.db"}
    )
    """`sqlite:///file`, or `postgresql://user@host/db`."""


class LoggingConfig(Section):
    """How requests are logged."""

    format: Literal["json", "text"] = "json"
    """One JSON object or one readable line per request."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important events that are written."""
    bodies: bool = False
    """Write prompts and answers too; they may hold anything."""


class PlanConfig(Section):
    """What tenants of this plan may do."""

    models: Many[str] = ("*",)
    """Model names, aliases and globs that may be asked for."""
    requests: RatePer | None = None
    """Requests per period."""
    tokens: RatePer | None = None
    """Tokens per period, prompts and answers together."""
    budget: Money | None = None
    """Money per period, by the price table."""
    concurrency: Count | None = None
    """Requests in flight at the same time."""
    priority: Whole = 0
    """Who goes first in a queue: the higher."""
    batch: bool = False
    """Work that can wait: it is turned away first, at 80 % of a limit (`server.max_in_flight`, `slots.limit`), and told
    when to come back. A request whose `service_tier` is `flex` or `batch` is such work under any plan."""


def _key_hash(text: str) -> str:
    if re.fullmatch(r"sha256:[0-9a-fA-F]{64}", text) is None:
        raise ValueError("expected `sha256:` and 64 hexadecimal digits, the hash of a key and never the key")
    return text.lower()


KeyHash = Annotated[
    EnvText,
    AfterValidator(_key_hash),
    WithJsonSchema({"type": "string", "pattern": r"^(sha256:[0-9a-fA-F]{64}|\$\{.*\})$", "x-variable": "too"}),
]


class DefaultsConfig(Section):
    """Used where the caller says nothing."""

    model: str | None = None
    """The model's name or alias, for requests that ask for `auto`."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Sampling temperature."""
    max_tokens: Count | None = None
    """The limit of the answer, in tokens."""


def _flags(flags: dict[str, str]) -> dict[str, str]:
    if flags.get("offline", "allow") not in ("allow", "never"):
        raise ValueError("`offline` is `allow` or `never`")
    return flags


class TenantConfig(Section):
    """On whose behalf requests are made."""

    plan: str | None = None
    """The plan's name; without one, nothing is limited."""
    keys: Many[KeyHash] = ()
    """The SHA-256 of each key, as `sha256:` and 64 hexadecimal digits."""
    enabled: bool = True
    """`false` refuses the tenant's keys."""
    anonymous: bool = False
    """Takes the callers without a key."""
    defaults: DefaultsConfig = DefaultsConfig()
    """Model, temperature and length for requests that do not say."""
    flags: Annotated[dict[str, str], AfterValidator(_flags)] = Field(default={})
    """Switches; `offline: never` gives the error rather than a synthesized answer."""


def _regex(text: str) -> str:
    check_regex(text)
    return text


class GuardConfig(Section):
    """A rule over the text of prompts or answers."""

    name: str
    """Names the rule in logs and answers."""
    on: Literal["input", "output", "both"] = "input"
    """Which text is looked at."""
    action: Literal["flag", "block", "redact"] = "flag"
    """What happens when a pattern is found."""
    patterns: Annotated[Many[Annotated[str, AfterValidator(_regex)]], Field(min_length=1)]
    """Regular expressions, without regard to case; none that could run away on a long text."""


_METRICS = {
    "error_rate": parse_percent,
    "fallback_share": parse_percent,
    "offline_share": parse_percent,
    "latency_mean": parse_duration,
    "latency_p95": parse_duration,
    "latency_p99": parse_duration,
}
_CONDITION = re.compile(r"([a-z_0-9]+) ?(>=|<=|>|<) ?(\S+) over (\S+)")


def _condition(text: str) -> str:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError("expected a condition such as `error_rate > 10% over 5m`")
    metric, _, limit, window = found.groups()
    if metric not in _METRICS:
        raise ValueError(f"unknown measure; known: {', '.join(sorted(_METRICS))}")
    _METRICS[metric](limit)
    parse_duration(window)
    return text


class AlertConfig(Section):
    """When somebody should be told."""

    name: str
    """Names the alert."""
    when: Annotated[str, AfterValidator(_condition)]
    """`measure > limit over window`, for example `latency_mean > 10s over 5m`."""


def _price(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("expected a number: USD per million tokens")
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("expected a number: USD per million tokens") from None
    if price < 0:
        raise ValueError("a price is not negative")
    return price


Price = Annotated[
    Decimal,
    BeforeValidator(_price),
    PlainSerializer(float, when_used="json"),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
"""USD per million tokens, exact."""


class PriceConfig(Section):
    """What a model costs, in USD per million tokens."""

    input: Price
    """Tokens of the prompt."""
    output: Price
    """Tokens of the answer."""
    cached: Price | None = None
    """Tokens of the prompt that the vendor had cached; not written: as `input`."""
    cache_write: Price | None = None
    """Tokens of the prompt that the vendor puts into its cache; not written: as `input`."""


def _moment(text: str) -> str:
    parse_moment(text)
    return text


class GivenConfig(Section):
    """A request and the state of the world."""

    model: str = "auto"
    """The model the caller asks for."""
    plan: str | None = None
    """The plan, instead of the tenant's own."""
    tenant: str | None = None
    """The tenant; not written: the anonymous one."""
    prompt: str = "Hello"
    """The last user message."""
    system: str | None = None
    """The system prompt."""
    header: dict[str, str] = Field(default={})
    """Request headers."""
    metadata: dict[str, str] = Field(default={})
    """The request's metadata."""
    tokens: Whole | None = None
    """Estimated tokens of the prompt, instead of counting them."""
    has: Many[Literal["tools", "images", "audio", "files", "json_schema", "logprobs"]] = ()
    """What else is in the request."""
    stream: bool = False
    """Whether a stream is asked for."""
    endpoint: str = "/v1/chat/completions"
    """The path that is called."""
    at: Annotated[str, AfterValidator(_moment)] | None = None
    """The time, as `2026-01-02T03:04Z`; not written: Monday, 5 January 2026, 12:00 UTC."""
    down: Many[str] = ()
    """Upstreams that fail."""


class ExpectConfig(Section):
    """What must come out of it; what is not written is not looked at."""

    route: str | None = None
    """The route that decides."""
    task: str | None = None
    """The task type."""
    complexity: Literal["simple", "complex"] | None = None
    """The complexity."""
    first: Glob | None = None
    """The first target that can answer; takes patterns: `home/*`."""
    targets: Many[Glob] | None = None
    """All targets, in order; takes patterns. Offline levels count only if one is written."""
    level: Literal["stale", "patterns", "rules"] | None = None
    """The level of the offline answer."""
    error: str | None = None
    """The code of the error that the caller gets, or its kind in lower case where there is none."""


class CaseConfig(Section):
    """One proof of the routing of this file."""

    name: str | None = None
    """Names the case in the report."""
    given: GivenConfig = GivenConfig()
    """The request and the state of the world."""
    expect: ExpectConfig
    """What must come out of it."""
