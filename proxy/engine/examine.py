"""Try upstreams for real: can they be reached, is the key accepted, do they list models, does one of them answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from proxy.config.compile import Snapshot
from proxy.core.decision import Target, Upstream
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.ports import Transport
from proxy.core.request import Inbound, Tenant
from proxy.core.secret import Secret
from proxy.engine.attempt import Attempts
from proxy.engine.delivery import Delivery
from proxy.engine.health import NO_KEY
from proxy.engine.journey import Journey
from proxy.engine.listing import list_models
from proxy.engine.live import Live
from proxy.engine.readiness import Readiness
from proxy.routing.names import AS_ASKED, own_choice
from proxy.wire.dialects import InboundDialect

_CHAT = "/v1/chat/completions"
_OPERATOR = Tenant("doctor")
_HOPELESS = (ErrorKind.CONNECT, ErrorKind.TLS, ErrorKind.AUTH)
"""After these a prompt would tell nothing new."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was tried: how long it took, and how it failed if it did. `found`: models, or the model."""

    seconds: float
    found: str
    failure: UpstreamFailure | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """What came of one key of one upstream; `key` is its fingerprint, None without one."""

    upstream: Upstream
    key: str | None
    listing: Trial
    prompt: Trial | None = None

    @property
    def works(self) -> bool:
        """A prompt that was answered counts more than a list that was not."""
        return (self.prompt or self.listing).failure is None

    @property
    def failure(self) -> UpstreamFailure | None:
        return (self.prompt.failure if self.prompt else None) or self.listing.failure


class Examiner:
    """Asks the upstreams of one snapshot; models that it has to have loaded are unloaded again."""

    def __init__(
        self, live: Live, transport: Transport, attempts: Attempts, readiness: Readiness, chat: InboundDialect
    ) -> None:
        self._live = live
        self._transport = transport
        self._attempts = attempts
        self._readiness = readiness
        self._chat = chat

    async def examine(self, upstream: Upstream, *, prompt: bool) -> AsyncIterator[Examination]:
        """Every key by itself; with `prompt` each has to have one token written."""
        for key in upstream.keys or (NO_KEY,):
            listing = await self._list(upstream, key)
            hopeless = listing.failure is not None and listing.failure.kind in _HOPELESS
            answer = await self._prompt(upstream, key) if prompt and not hopeless else None
            yield Examination(upstream, key.fingerprint if key else None, listing, answer)

    async def _list(self, upstream: Upstream, key: Secret) -> Trial:
        started = self._live.clock.monotonic()
        try:
            names = list(await list_models(self._transport, upstream, key))
            self._live.note_listed(upstream.name, names)
            if upstream.native is not None and upstream.keep is not None:
                models = await self._readiness.look(upstream)
                names = [model.name for model in models]
                self._live.note_listed(upstream.name, names)
        except UpstreamFailure as failure:
            return Trial(self._live.clock.monotonic() - started, "", failure)
        return Trial(self._live.clock.monotonic() - started, f"{len(names)} models")

    async def _prompt(self, upstream: Upstream, key: Secret) -> Trial:
        model = own_choice(upstream, self._live) if self._prefers_own(upstream) else None
        model = model or _mentioned(self._live.snapshot, upstream) or own_choice(upstream, self._live)
        started = self._live.clock.monotonic()
        if model is None:
            return Trial(0.0, "", UpstreamFailure(ErrorKind.MODEL_ABSENT, "no model is known; write `default_model`"))
        before = self._readiness.owned(upstream.name)
        delivery, target = self._delivery(model), Target(upstream, model)
        try:
            async with self._attempts.hold(delivery, target):
                await self._attempts.make(delivery, target, key)
        except UpstreamFailure as failure:
            return Trial(self._live.clock.monotonic() - started, model, failure)
        except ProxyError as error:
            failed = UpstreamFailure(error.kind, error.message)
            return Trial(self._live.clock.monotonic() - started, model, failed)
        finally:
            for loaded in self._readiness.owned(upstream.name) - before:
                await self._readiness.unload(upstream, loaded)
        return Trial(self._live.clock.monotonic() - started, model)

    def _prefers_own(self, upstream: Upstream) -> bool:
        """A default that is written, or a model that is in memory anyway."""
        return upstream.default_model is not None or bool(self._live.loaded(upstream.name))

    def _delivery(self, model: str) -> Delivery:
        question = {
            "model": model,
            "messages": [{"role": "user", "content": "Say ok."}],
            "max_completion_tokens": 1,
        }
        body = msgspec.json.encode(question)
        clock = self._live.clock
        now = clock.monotonic()
        journey = Journey("doctor", "doctor", _CHAT, now, clock.wall())
        peek = self._chat.peek(body)
        inbound = Inbound("doctor", "doctor", self._chat.name, _CHAT, {}, body, peek, _OPERATOR, now)
        deadline = now + 600.0
        return Delivery(journey, inbound, self._chat, _Unheard(), self._live.snapshot, None, deadline, len(body))


class _Unheard:
    """A reply that nobody reads."""

    started = False

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None: ...

    async def write(self, data: bytes) -> None: ...

    async def finish(self, data: bytes = b"") -> None: ...


def _mentioned(snapshot: Snapshot, upstream: Upstream) -> str | None:
    """The first model of the upstream that the file names."""
    targets: Iterable[Target] = (
        *(target for route in snapshot.routes for target in route.targets),
        *(target for some in snapshot.models.values() for target in some),
    )
    return next((t.model for t in targets if t.upstream.name == upstream.name and t.model != AS_ASKED), None)
