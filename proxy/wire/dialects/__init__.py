"""A dialect is one file of pure machines: how one wire protocol's bytes become events, and events its bytes.

`discover()` finds them; nothing registers itself. A file may leave `paths` empty (it is only spoken to upstreams).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeGuard

from proxy.core.chat import Chat, Losses
from proxy.core.decision import THINKING, Quirks
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.events import Checkpoint, Event, Start
from proxy.core.family import Family
from proxy.core.request import Peek
from proxy.core.usage import Usage


class Passage(Protocol):
    """One streamed answer on its way through the proxy: upstream bytes in, client bytes out.

    A tap (identity) and a translation behave alike, so that the relay knows only this. Bytes leave in whole SSE
    frames. Nothing of a frame that reports a failure leaves; `failure` is set instead and later input is ignored.
    """

    @property
    def begun(self) -> bool:
        """A semantic delta was among the bytes given out: the commit rule's line."""
        ...

    @property
    def finished(self) -> bool:
        """Every choice that was seen has its finish reason: an end now is a good end."""
        ...

    @property
    def ended(self) -> bool:
        """The upstream's own end mark was seen (`[DONE]`, `message_stop`); what follows is ignored."""
        ...

    @property
    def failure(self) -> ErrorKind | None:
        """Set when the upstream reported an error inside its stream, or sent what is no frame of its dialect."""
        ...

    @property
    def detail(self) -> str:
        """For the operator: what was wrong."""
        ...

    @property
    def cause(self) -> UpstreamFailure | None:
        """More of the `failure` where the upstream said more of it, such as words that are fit for the client."""
        ...

    @property
    def unknown(self) -> Mapping[str, int]:
        """What there was no word for, by name, and how often: events, blocks, finish reasons."""
        ...

    @property
    def usage(self) -> Usage | None:
        """None until the upstream tells it, and for ever if it does not."""
        ...

    @property
    def model(self) -> str:
        """The model that the upstream says it is; empty until known."""
        ...

    @property
    def finish(self) -> str | None:
        """The (first choice's) finish reason, in OpenAI's words."""
        ...

    @property
    def written(self) -> int:
        """Characters of text, reasoning and arguments given out: the basis of an estimate if usage never comes."""
        ...

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The latest place from which the upstream can go on with the answer; None for nearly all."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take the next piece of the upstream's body; return what may go to the client now (maybe nothing)."""
        ...

    def close(self) -> bytes:
        """The upstream's body has ended well; return what is left to say (an end mark that was missing).

        If the answer is not complete, returns nothing and sets `failure`.
        """
        ...


class Answer(Protocol):
    """A whole answer, judged: `body` goes to the client as it is; the rest as in `Passage`."""

    @property
    def body(self) -> bytes: ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def model(self) -> str: ...

    @property
    def finish(self) -> str | None: ...

    @property
    def written(self) -> int: ...

    @property
    def unknown(self) -> Mapping[str, int]: ...


class Decoder(Protocol):
    """Upstream bytes to events; any split of the bytes gives the same events."""

    ended: bool
    """The upstream's own end mark was seen (`[DONE]`, `message_stop`); never true where the dialect has none."""

    def feed(self, data: bytes) -> list[Event]: ...

    def close(self) -> list[Event]: ...


class Encoder(Protocol):
    """Events to the client's bytes, in whole frames."""

    def feed(self, event: Event) -> bytes: ...

    def close(self) -> bytes: ...


class UpstreamDialect(Protocol):
    """What the proxy must know of a wire protocol in order to ask an upstream in it."""

    @property
    def name(self) -> str: ...

    @property
    def paths(self) -> tuple[str, ...]:
        """Inbound paths; `web/app.py` mounts what it finds. Empty where only upstreams are asked in this dialect."""
        ...

    @property
    def no_forms(self) -> frozenset[str]:
        """Forms of answers that the protocol has no words for: `json_schema`, `json_object`, and `open_schema`, a
        schema that leaves room for fields it does not name."""
        ...

    def path(self, template: str, model: str, stream: bool) -> str:
        """The path to call, from the provider's template for this dialect."""
        ...

    def encode_request(self, chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
        """Canonical to the upstream's body. Raises ProxyError BAD_REQUEST for content that cannot be represented."""
        ...

    def decoder(self) -> Decoder: ...

    def decode_body(self, body: bytes) -> list[Event]:
        """A whole answer as events; raises UpstreamFailure if it is none."""
        ...


class InboundDialect(Protocol):
    """What the proxy must know of a wire protocol in order to be asked in it, and to pass it on untouched."""

    @property
    def name(self) -> str: ...

    @property
    def paths(self) -> tuple[str, ...]: ...

    def peek(self, body: bytes) -> Peek:
        """Check the body's outer form and read what routing needs; raises ProxyError BAD_REQUEST with a JSON path."""
        ...

    def prepare(self, body: bytes, peek: Peek, model: str, quirks: Quirks, overrides: Mapping[str, Any]) -> bytes:
        """Identity: the caller's bytes with the model renamed, usage asked for, quirks and overrides applied."""
        ...

    def tap(self, peek: Peek, thinks_as: str = THINKING) -> Passage:
        """Identity, streamed. `thinks_as` is the upstream's name for the field of thinking text."""
        ...

    def judge(self, body: bytes, thinks_as: str = THINKING) -> Answer:
        """Identity, whole: raises UpstreamFailure unless `body` is a valid answer of this dialect."""
        ...

    def decode_request(self, body: bytes) -> tuple[Chat, ...]:
        """Inbound to canonical; legacy completions with several prompts give several. Raises ProxyError."""
        ...

    def encoder(self, chat: Chat, created: int) -> Encoder:
        """`created` (seconds since the epoch) is used where the upstream did not say."""
        ...

    def encode_body(self, events: Sequence[Event], chat: Chat, created: int) -> bytes: ...

    def encode_error(self, error: ProxyError) -> bytes:
        """A whole error answer in the caller's own shape."""
        ...

    def encode_error_event(self, error: ProxyError) -> bytes:
        """The same as a frame of a stream that has begun."""
        ...


class Dialect(InboundDialect, UpstreamDialect, Protocol):
    """A wire protocol that is spoken on both sides."""


class Resumable(Dialect, Protocol):
    """One in whose streams somebody else may go on; a dialect that says no such thing is not one."""

    def resumed(self, chat: Chat, created: int, start: Start) -> Encoder:
        """An encoder in the middle of a stream that began with `start`: what follows has its id and its model."""
        ...


def is_resumable(dialect: InboundDialect) -> TypeGuard[Resumable]:
    return hasattr(dialect, "resumed")


class Pausing(UpstreamDialect, Protocol):
    """One in which an upstream can be asked to go on with an answer of its own, exactly where that broke off."""

    def pausing(self) -> UpstreamDialect:
        """The same dialect, whose decoders tell checkpoints, and a pause where they else would tell an end."""
        ...

    def from_checkpoint(self, body: bytes, token: str) -> bytes:
        """The request of `body` once more, for the rest of its answer."""
        ...


def can_pause(dialect: UpstreamDialect) -> TypeGuard[Pausing]:
    return hasattr(dialect, "from_checkpoint")


def discover() -> dict[str, UpstreamDialect]:
    """All dialects by name: each module of this package holds one `DIALECT`."""
    found: dict[str, UpstreamDialect] = {}
    for module in pkgutil.iter_modules(__path__):
        dialect: UpstreamDialect = importlib.import_module(f"{__name__}.{module.name}").DIALECT
        found[dialect.name] = dialect
    return found


def heard(dialects: Mapping[str, UpstreamDialect]) -> dict[str, Dialect]:
    """Those of `dialects` that clients may speak."""
    return {name: dialect for name, dialect in dialects.items() if _is_inbound(dialect)}


def _is_inbound(dialect: UpstreamDialect) -> TypeGuard[Dialect]:
    return bool(dialect.paths)
