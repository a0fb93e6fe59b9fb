"""What is known of one request while it is under way, and the record that is made of it at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from proxy.core.decision import Attempt, Decision, Mode, Target
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.request import Inbound
from proxy.core.usage import Usage, UsageRecord, add_usage
from proxy.routing.facts import Facts

_NOTHING = Usage()
_NONE: Mapping[str, int] = {}
_REMEMBERED = 1024
_LONGEST = 1024  # characters of a header that lists losses, and of a name or a finish that an upstream makes up
_MOST_LOSSES = 32  # kept in a record, so many characters of each: their paths are the caller's
_LONGEST_LOSS = 200


class Journey:
    """Grows as the request goes on. `started` is monotonic seconds, `at` the same moment on the wall clock."""

    __slots__ = (
        "at",
        "attempts",
        "correlation_id",
        "decision",
        "ended",
        "endpoint",
        "facts",
        "failures",
        "first_token",
        "hedge",
        "id",
        "inbound",
        "losses",
        "mode",
        "offline",
        "reported_model",
        "size",
        "started",
        "status",
        "target",
        "tries",
        "unknown",
        "usage",
    )

    def __init__(self, request_id: str, correlation_id: str, endpoint: str, started: float, at: datetime) -> None:
        self.id = request_id
        self.correlation_id = correlation_id
        self.endpoint = endpoint
        self.started = started
        self.at = at
        self.inbound: Inbound | None = None
        self.facts: Facts | None = None
        self.decision: Decision | None = None
        self.attempts: list[Attempt] = []
        self.failures: list[tuple[str, UpstreamFailure]] = []
        """Each failed attempt: the target as `upstream/model`, and how it failed."""
        self.tries = 0
        """Requests sent to upstreams, offline answers not counted."""
        self.target: Target | None = None
        """The target that answers, from the commit on."""
        self.mode = Mode.IDENTITY
        self.offline: str | None = None
        self.reported_model = ""
        self.usage: Usage = _NOTHING
        self.first_token: float | None = None
        self.losses: tuple[str, ...] = ()
        self.unknown: Mapping[str, int] = _NONE
        """What the answer holds that there is no word for, and how often."""
        self.hedge: str | None = None
        """Which of two attempts answers, the `first` or the `second`; None if there was one at a time."""
        self.size = 0
        """Bytes of the request's body."""
        self.status = 0
        self.ended = ""

    @property
    def spent(self) -> Usage | None:
        """What the request has used so far, None if that is not known."""
        return self.usage if self.usage.source != "unknown" else None

    def receipt(self) -> list[tuple[bytes, bytes]]:
        """The `x-failsoft-*` headers: which rule decided, who answers, at which try and how."""
        headers = [(b"x-failsoft-attempts", b"%d" % self.tries)]
        if self.target is not None and self.decision is not None:
            headers += _who(self.decision.route, self.target.upstream.name, self.target.model, self.mode.value)
        elif self.decision is not None:
            headers.append((b"x-failsoft-route", _visible(self.decision.route)))
        if self.offline is not None:
            headers.append((b"x-failsoft-offline", self.offline.encode()))
        if self.hedge is not None:
            headers.append((b"x-failsoft-hedge", self.hedge.encode()))
        if self.losses:
            headers.append((b"x-failsoft-lossy", _visible("; ".join(self.losses)[:_LONGEST])))
        return headers

    def spend(self, usage: Usage) -> None:
        """One more answer's tokens; of several the usages add up."""
        self.usage = add_usage(self.spent, usage) or usage

    def end(self, kind: ErrorKind, status: int) -> None:
        """The request ended as an error of `kind`, told to the client as `status` (200 where it was in a stream)."""
        self.ended, self.status = kind.label, status

    def record(self, now: float) -> UsageRecord:
        """The immutable record; `now` is monotonic seconds."""
        inbound, decision, target = self.inbound, self.decision, self.target
        return UsageRecord(
            id=self.id,
            correlation_id=self.correlation_id,
            at=self.at,
            tenant=inbound.tenant.name if inbound else "",
            endpoint=self.endpoint,
            stream=inbound.peek.stream if inbound else False,
            asked_model=inbound.peek.model if inbound else "",
            route=decision.route if decision else "",
            upstream=target.upstream.name if target else "",
            model=self.reported_model[:_LONGEST] or (target.model if target else ""),
            mode=self.mode.value,
            attempts=tuple(self.attempts),
            status=self.status,
            ended=self.ended[:_LONGEST],
            usage=self.usage,
            seconds=now - self.started,
            first_token=self.first_token,
            offline=self.offline,
            losses=_kept(self.losses) if self.losses else (),
            unknown=self.unknown,
            facts=self.facts.known() if self.facts else {},
            size=self.size,
        )


def _kept(losses: Sequence[str]) -> tuple[str, ...]:
    """The first of them, and how many more there were."""
    kept = tuple(loss[:_LONGEST_LOSS] for loss in losses[:_MOST_LOSSES])
    return kept if len(losses) <= _MOST_LOSSES else (*kept, f"and {len(losses) - _MOST_LOSSES} more")


@lru_cache(_REMEMBERED)
def _who(route: str, upstream: str, model: str, mode: str) -> tuple[tuple[bytes, bytes], ...]:
    """The part of the receipt that most answers have in common."""
    return (
        (b"x-failsoft-route", _visible(route)),
        (b"x-failsoft-upstream", _visible(upstream)),
        (b"x-failsoft-model", _visible(model)),
        (b"x-failsoft-mode", mode.encode()),
    )


def _visible(text: str) -> bytes:
    """`text` as a header's value: what is no visible ASCII becomes a question mark, so no line can be forged."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text).encode()
