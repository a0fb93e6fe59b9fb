"""Where a request goes and how each try ended: upstream, target, decision, attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any, Literal

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.family import Family, Told
from proxy.core.local import Keep, NativeApi
from proxy.core.secret import Secret


class Mode(Enum):
    """How a target's bytes relate to the client's."""

    IDENTITY = "identity"  # same dialect on both sides: the same bytes but for the model's name
    TRANSLATE = "translate"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `idle` counts silence between bytes of an answer, `progress` the time between its words; `attempt` one
    try in all; `total` the request.

    With a `first_token_floor` the patience for the first token is learned, between it and `first_token`.
    """

    connect: float = 2.0
    tls: float = 3.0
    pool: float = 1.0
    write: float = 10.0
    first_byte: float = 30.0
    first_token: float = 60.0
    first_token_floor: float | None = None
    idle: float = 60.0
    progress: float = 120.0
    attempt: float = 300.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a limit that is found out; `queue` is the length of its line, None for twice the limit of the moment."""

    least: int
    most: int
    queue: int | None = None


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """Requests in flight at an upstream; beyond `limit`, up to `queue` more wait `wait` seconds at most.

    With `bounds` the limit is found out, and this one is where it begins.
    """

    limit: int = 64
    queue: int = 128
    wait: float = 5.0
    bounds: Bounds | None = None

    def at(self, limit: int) -> SlotLimits:
        """The same with the limit that was found."""
        queue = None if self.bounds is None else self.bounds.queue
        return replace(self, limit=limit, queue=2 * limit if queue is None else queue)


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """Our own rate towards an upstream: one request per `interval` seconds in the mean, `burst` of them at once,
    and never two within `spacing` seconds. The default is no limit."""

    interval: float = 0.0
    burst: int = 1
    spacing: float = 0.0


@dataclass(frozen=True, slots=True)
class Checking:
    """Seconds between two checks of a server and for each; so many bad ones in a row make it down, good ones up."""

    every: float = 10.0
    timeout: float = 2.0
    fall: int = 3
    rise: int = 2


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go; equal origins share a pool.

    `ca_file` replaces the system's trust store (a private authority). `via` is the `host:port` of an HTTP proxy
    that is asked to CONNECT.
    """

    scheme: str
    host: str
    port: int
    ca_file: str | None = None
    via: str | None = None

    @property
    def authority(self) -> str:
        """The value of the Host header: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


THINKING = "reasoning_content"
"""The field of a message or a delta in which clients read thinking text; the protocol itself has none."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """How an upstream departs from its dialect; data, never code.

    `drop` names top-level request fields it refuses; `rename` maps request fields to the name it knows.
    `asks_usage` is false where `stream_options` is refused.
    `unthinking` is said in place of reasoning_effort `none`. `irregular`: its answers are read and written anew, so
    that clients get the protocol where it leaves something out.

    `choices` are the forms of `tool_choice` that it obeys, of `auto`, `none`, `required`, `named` and `allowed`, None
    for all of them. With a field of `unstreamed` in the request it is asked for the whole and the stream is made here.
    `no_forms` are the forms of answers (`json_schema`, `json_object`) that it refuses. `functions_only`: it knows no
    custom tools. `lone_prompts`: of legacy completions it takes one prompt of text, and gives one answer without it.
    `prefix_path`: under its base without the version, where it has any of its models go on with a last message of the
    assistant that is marked `prefix`.

    Of messages: `unnamed` ones have no name; `no_nulls` in those of the assistant; `plain_text`: content that is
    nothing but text is one string; `keeps_thinking`: turns with tool calls come back with their reasoning_content;
    `thinks_as` is what it calls the field of thinking text, in requests and answers; `thinking_tag` is that between
    which chats hold it at the head of their text, empty if they do not; `inline_images` come as data and never by their
    address.
    """

    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    asks_usage: bool = True
    unthinking: Mapping[str, Any] = field(default_factory=dict)
    irregular: bool = False
    unnamed: bool = False
    no_nulls: bool = False
    plain_text: bool = False
    keeps_thinking: bool = False
    choices: frozenset[str] | None = None
    unstreamed: tuple[str, ...] = ()
    no_forms: frozenset[str] = frozenset()
    thinks_as: str = THINKING
    thinking_tag: str = ""
    inline_images: bool = False
    functions_only: bool = False
    lone_prompts: bool = False
    prefix_path: str = ""


@dataclass(frozen=True, slots=True)
class Meter:
    """Headers of a vendor's answers: how much of a limit is left, when it is whole again, and how much that is.

    Names in lower case. Without `requests` nothing can be sent; `tokens` must suffice for the prompt.
    """

    counts: Literal["requests", "tokens"]
    remaining: str
    reset: str
    limit: str


Classify = Callable[[int, Mapping[str, str], bytes], UpstreamFailure]
"""Turns an answer that is not one (status, lower-cased headers, up to 64 KiB of body) into its failure."""


ReadModels = Callable[[bytes], Mapping[str, Told]]
"""The models of a list, in its order, with what is said of each; raises ValueError for what is no such list."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A configured instance of a provider, ready to use.

    `paths` maps each dialect the upstream speaks to a path under `base`, in order of preference. `disabled` says why
    it takes no traffic, None if it does. `local` upstreams run on the operator's own machines and cost nothing.
    `default_model` is used where a target keeps the asked model (`upstream/*`) but the caller named none.
    `models_path` is where the upstream lists its models, None if it has no such list, and `reads_models` how the list
    is read, None if it has OpenAI's form. `native` is its API for the models in its memory, where it has one; `keep`
    says how they are kept there, None if that is the server's affair.
    With `fetches_images`, pictures that are named by their address are fetched by us and sent as data.
    `slots` and `pace` are the limits that we set ourselves, `meters` tell of the vendor's. `checking` says how it
    is looked after, None if it is not.
    """

    name: str
    provider: str
    origin: Origin
    base: str
    paths: Mapping[str, str]
    headers: Callable[[Secret], tuple[tuple[bytes, bytes], ...]]
    classify: Classify
    keys: tuple[Secret, ...] = ()
    timeouts: Timeouts = Timeouts()
    quirks: Quirks = Quirks()
    disabled: str | None = None
    local: bool = False
    offline: bool = False
    default_model: str | None = None
    models_path: str | None = None
    reads_models: ReadModels | None = None
    native: NativeApi | None = None
    keep: Keep | None = None
    fetches_images: bool = False
    slots: SlotLimits = SlotLimits()
    pace: PaceLimits = PaceLimits()
    meters: tuple[Meter, ...] = ()
    checking: Checking | None = None

    whole_timeouts: Timeouts = field(init=False)
    """For answers that are not streamed: their head comes only when the model is done."""

    def __post_init__(self) -> None:
        whole = replace(self.timeouts, first_byte=self.timeouts.attempt)
        object.__setattr__(self, "whole_timeouts", whole)

    @property
    def url(self) -> str:
        return f"{self.origin.scheme}://{self.origin.authority}{self.base}"


@dataclass(frozen=True, slots=True)
class Target:
    """One place a request can go: an upstream and the model's name there. `params` override the caller's fields.

    `family` is None until the model is settled and looked up.
    """

    upstream: Upstream
    model: str
    weight: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    family: Family | None = None

    def __str__(self) -> str:
        return f"{self.upstream.name}/{self.model}"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the reasoning behind a decision: a rule or a target, whether it was taken, and why."""

    subject: str
    taken: bool
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The ordered targets for one request, and why. `deadline` is seconds for the whole request.

    `pause` is the longest pause before a target is asked a second time, `longest_pause` the longest of all, in seconds.
    `hedge` is the shortest wait before a second target is asked beside a slow one, None if that is never done.
    `continues`: others may go on with a stream that broke after its first word.
    """

    route: str
    candidates: tuple[Target, ...]
    deadline: float = 600.0
    max_attempts: int = 4
    pause: float = 0.25
    longest_pause: float = 4.0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    strict_translation: bool = False
    hedge: float | None = None
    continues: bool = False
    why: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is sent to a target for now: why, and until when if that is known (aware, in UTC)."""

    why: ErrorKind
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one target. `kind` is None for a success; `status` the upstream's, 0 if none came.

    `may_be_billed`: it failed, but only after the upstream had been given something to work on. `is_hedge`: it was
    started beside another that was slow to begin. `estimate`: of an attempt that was called off for another, the tokens
    of its prompt as we count them, since its vendor never told.
    """

    upstream: str
    model: str
    key: str | None
    seconds: float
    kind: ErrorKind | None = None
    status: int = 0
    first_token: float | None = None
    may_be_billed: bool = False
    is_hedge: bool = False
    estimate: int = 0
