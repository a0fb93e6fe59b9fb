"""What is known of one request while it is under way, and the record that is made of it at its end."""

from __future__ import annotations

from datetime import datetime

from proxy.core.decision import Attempt, Decision, Mode, Target
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.request import Inbound
from proxy.core.usage import Usage, UsageRecord
from proxy.routing.facts import Facts

_NOTHING = Usage()


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
        "id",
        "inbound",
        "losses",
        "mode",
        "offline",
        "reported_model",
        "started",
        "status",
        "target",
        "tries",
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
        self.status = 0
        self.ended = ""

    def receipt(self) -> list[tuple[bytes, bytes]]:
        """The `x-failsoft-*` headers: which rule decided, who answers, at which try and how."""
        headers = []
        if self.decision is not None:
            headers.append((b"x-failsoft-route", self.decision.route.encode("latin-1", "replace")))
        if self.target is not None:
            headers.append((b"x-failsoft-upstream", self.target.upstream.name.encode("latin-1", "replace")))
            headers.append((b"x-failsoft-model", self.target.model.encode("latin-1", "replace")))
            headers.append((b"x-failsoft-mode", self.mode.value.encode()))
        headers.append((b"x-failsoft-attempts", b"%d" % self.tries))
        if self.offline is not None:
            headers.append((b"x-failsoft-offline", self.offline.encode()))
        if self.losses:
            headers.append((b"x-failsoft-lossy", "; ".join(self.losses).encode("latin-1", "replace")[:1024]))
        return headers

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
            model=self.reported_model or (target.model if target else ""),
            mode=self.mode.value,
            attempts=tuple(self.attempts),
            status=self.status,
            ended=self.ended,
            usage=self.usage,
            seconds=now - self.started,
            first_token=self.first_token,
            offline=self.offline,
            losses=self.losses,
            facts=self.facts.known() if self.facts else {},
        )
