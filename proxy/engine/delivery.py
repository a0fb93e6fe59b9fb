"""One request on its way to an answer, and what an attempt puts into the request that it makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy import __version__
from proxy.config.compile import Snapshot
from proxy.core.decision import Target, Upstream
from proxy.core.ports import Reply
from proxy.core.request import Inbound
from proxy.core.secret import Secret
from proxy.core.usage import tokens_of
from proxy.engine.heartbeat import Heartbeat
from proxy.engine.journey import Journey
from proxy.engine.race import Race
from proxy.engine.readiness import Wish
from proxy.engine.story import Hop, Story
from proxy.wire.crossing import unsaid
from proxy.wire.dialects import InboundDialect

_COME_BACK = 30.0  # seconds; what an offline answer advises when no upstream named a time
_REQUEST_HEAD = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"user-agent", b"failsoft/" + __version__.encode()),
)


@dataclass(slots=True)
class Delivery:
    """One request of `size` bytes on its way to an answer; no attempt outlives `deadline`, monotonic seconds.

    `priority` says who goes first where requests wait for one another: the higher. `most_tries` are sent upstream.
    """

    journey: Journey
    inbound: Inbound
    dialect: InboundDialect
    reply: Reply
    snapshot: Snapshot
    heartbeat: Heartbeat | None
    deadline: float
    size: int
    priority: int = 0
    most_tries: int = 1
    race: Race | None = None
    """Set while another attempt may run beside the present one."""
    story: Story | None = None
    """What the client was told, where others may go on with it when it breaks off."""
    hop: Hop | None = None
    """Set while somebody goes on with the story."""
    pictures: Mapping[str, str] | None = None
    """What was fetched for an upstream that does not fetch, by address."""

    def let_go(self) -> None:
        """Nobody else will be asked, and the answer may take long: forget what could be asked."""
        self.inbound.let_go()
        self.pictures = None


def params_of(delivery: Delivery, target: Target) -> Mapping[str, Any]:
    """What is laid over the caller's fields: the route's and target's own, and the tenant's where he was silent."""
    decision = delivery.journey.decision
    if decision is None or not decision.defaults:
        return target.params
    return {**unsaid(delivery.inbound.body, decision.defaults), **target.params}


def head_of(delivery: Delivery, upstream: Upstream, key: Secret) -> Sequence[tuple[bytes, bytes]]:
    """The request's headers, from scratch: nothing that the client sent is among them."""
    request_id = (b"x-client-request-id", delivery.journey.id.encode())
    head = (*_REQUEST_HEAD, request_id, *upstream.headers(key))
    return (*head, *_occasion(delivery)) if upstream.offline else head


def wish_of(delivery: Delivery, target: Target) -> Wish:
    """What a local server must have in memory for this request."""
    facts = delivery.journey.facts
    prompt = facts.tokens if facts is not None else tokens_of(delivery.size)
    return Wish(target.model, prompt, delivery.inbound.peek.max_tokens)


def _occasion(delivery: Delivery) -> Sequence[tuple[bytes, bytes]]:
    """What offline synthesis may say of the request that it stands in for."""
    journey = delivery.journey
    waits = [failure.retry_after for _, failure in journey.failures if failure.retry_after is not None]
    told = {
        b"x-failsoft-asked": delivery.inbound.peek.model,
        b"x-failsoft-route": journey.decision.route if journey.decision else "",
        b"x-failsoft-task": journey.facts.task if journey.facts else "",
        b"x-failsoft-retry-after": str(max(1, round(min(waits, default=_COME_BACK)))),
        b"x-failsoft-created": str(int(journey.at.timestamp())),
    }
    return [(name, value.encode("latin-1", "replace")) for name, value in told.items()]
