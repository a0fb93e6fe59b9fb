"""What the engine needs of the outside world, as protocols; `adapters/` and `web/` implement them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from proxy.core.decision import Origin, Timeouts, Upstream
from proxy.core.errors import ErrorKind
from proxy.core.local import Instance, LocalModel, Progress
from proxy.core.usage import UsageRecord


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request to an upstream, built from scratch.

    `path` starts with `/`. `headers` lack `host`, `content-length` and `connection`: framing is the transport's.
    """

    origin: Origin
    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    timeouts: Timeouts


class WireResponse(Protocol):
    """An answer whose head has come in; the body is read piece by piece.

    Whoever gets one must `close()` it, in `finally`. All failures are `UpstreamFailure`.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case; of repeated fields the values joined by a comma."""
        ...

    @property
    def is_complete(self) -> bool:
        """True once all of the answer has come in, read or not."""
        ...

    @property
    def has_more(self) -> bool:
        """True while something of the body is here that was not read yet."""
        ...

    async def read(self) -> bytes:
        """The next piece of the decoded body, as it came; `b""` after the last. Back-pressure: reading is asking."""
        ...

    def expire(self, kind: ErrorKind) -> None:
        """Make the pending `read` and all later ones fail with `kind`, and the connection close."""
        ...

    def close(self) -> None:
        """Give the connection back if the answer is complete, else abort it. Safe to call twice."""
        ...


class Transport(Protocol):
    """Carries one request to an upstream."""

    async def send(self, request: WireRequest) -> WireResponse:
        """Send and await the head of the answer; a cancelled call leaves no connection behind.

        Raises `UpstreamFailure`: CONNECT and TLS (`sent` false), FIRST_BYTE_TIMEOUT, FAULT.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class Reply(Protocol):
    """The way back to the client; the only mutable object of a request."""

    @property
    def started(self) -> bool:
        """True once status and headers are out: from then on only the body can say what happens."""
        ...

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None: ...

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; returns when the client's socket has room again."""
        ...

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece."""
        ...


class Ledger(Protocol):
    """Keeps one record per request; never awaited on the client's time."""

    def write(self, record: UsageRecord) -> None: ...


class Records(Protocol):
    """What a ledger remembers."""

    def latest(self, limit: int) -> Sequence[UsageRecord]:
        """At most `limit` records, the newest first."""
        ...


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A caller's key that was made at run time; `digest` is its SHA-256 in hexadecimal, the key itself is nowhere.

    `id` names it for people. `plan` is set where the tenant is not one of the file's. Times are aware, in UTC.
    """

    id: str
    digest: str
    tenant: str
    plan: str | None
    label: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)


class KeyStore(Protocol):
    """The keys that were made at run time; cheap enough to ask with every request."""

    def find(self, digest: str) -> IssuedKey | None:
        """The key with this digest, good or not."""
        ...

    def has_any(self) -> bool:
        """True from the first key on, whatever became of it."""
        ...


@dataclass(frozen=True, slots=True)
class Pause:
    """An upstream is in maintenance: why, by whose key (fingerprint), since when, and until when (None: until told)."""

    reason: str
    by: str
    since: datetime
    until: datetime | None = None

    def __str__(self) -> str:
        end = "" if self.until is None else f" until {self.until.isoformat(timespec='seconds')}"
        return f"in maintenance{end}: {self.reason}"


class PauseStore(Protocol):
    """Where pauses are kept, by the upstreams' names, for other processes and for the next start."""

    def put(self, upstream: str, pause: Pause | None) -> None:
        """None ends it. Blocks. Raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class Deed:
    """What an operator did, or tried to do.

    `who` is the fingerprint of the admin key, `address` where the request came from. `result` is `done`, or an error's
    code or kind.
    """

    at: datetime
    who: str
    address: str
    action: str
    subject: str
    reason: str
    result: str


@dataclass(frozen=True, slots=True)
class Deeds:
    """The latest, the newest first; `unsaved` says why the last deed is not on the disk, None if it is."""

    latest: Sequence[Deed]
    unsaved: str | None = None


class Audit(Protocol):
    """Remembers what operators did; whatever becomes of it, it never stands in a deed's way."""

    def write(self, deed: Deed) -> None: ...

    async def latest(self, limit: int) -> Deeds:
        """All that was written before counts."""
        ...


class ModelServer(Protocol):
    """The models of local servers: which there are, which are in memory, and changing that.

    Only for upstreams with a `native` API. All failures are `UpstreamFailure`, and none of them blames a client:
    MODEL_ABSENT, `NoRoom`, CONNECT, AUTH, FAULT and their like.
    """

    async def models(self, upstream: Upstream, *, detail: bool = False) -> tuple[LocalModel, ...]:
        """All it has, in memory or not; with `detail` also what must be asked model by model."""
        ...

    async def load(self, upstream: Upstream, model: str, context: int | None, patience: float) -> Instance:
        """Load, and return when the model is ready; `patience` in seconds. A second call makes a second copy."""
        ...

    async def unload(self, upstream: Upstream, instance: str) -> None: ...

    def pull(self, upstream: Upstream, model: str) -> AsyncIterator[Progress]:
        """Download the model; ends when it is there."""
        ...


Turn = Callable[[str], AbstractAsyncContextManager[None]]
"""Entered when no other process loads models into the server at this URL; none does until it is left."""

FaultOf = Callable[[Any], str]
"""What is wrong with a JSON value, in words for an operator; nothing if it is as it should be."""

CompileSchema = Callable[[Mapping[str, Any]], FaultOf]
"""Makes a check of a stranger's JSON schema; raises ValueError, fit to be shown to that stranger, if it is none."""


class Unfetched(Exception):
    """A picture that could not be had; the message says why and is fit for the client."""


class PictureSource(Protocol):
    """Fetches what a client named by its address."""

    async def fetch(self, url: str) -> str:
        """The picture as a `data:` URL. Raises Unfetched."""
        ...
