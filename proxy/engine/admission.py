"""Lets requests on to upstreams: the slots of `policy/slots.py`, bound to futures and timers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from proxy.core.clock import Clock
from proxy.core.decision import SlotLimits, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.policy.limit import Limit
from proxy.policy.pace import Pace
from proxy.policy.slots import Claim, Slots, Standing

_COME_BACK = (1.0, 5.0)  # seconds

_FREE: AbstractAsyncContextManager[None] = nullcontext()


def come_back() -> float:
    """In how many seconds a caller who was turned away should come back; by chance, so that not all come at once."""
    return random.uniform(*_COME_BACK)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Crowd:
    """How full an upstream is: requests with a slot, requests in line, and how many slots there are."""

    limit: int
    in_flight: int
    queued: int


class Admission:
    """One per process; keyed by the upstreams' names, so that it outlives snapshots."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gates: dict[str, Gate] = {}
        self._adopted: dict[str, Upstream] = {}

    def slot(self, upstream: Upstream, priority: int, deadline: float) -> AbstractAsyncContextManager[None]:
        """Entered when the request may go out, left when it is done; `deadline` is monotonic seconds.

        Raises UpstreamFailure (OVERLOADED) if the line is full or the wait too long.
        """
        if upstream.offline:
            return _FREE
        gate = self._gates.get(upstream.name)
        if gate is None:
            # The request may be older than the last reload; the limits are not.
            gate = self._gates[upstream.name] = Gate(self._adopted.get(upstream.name, upstream), self._clock)
        patience = min(gate.slots.limits.wait, deadline - self._clock.monotonic())
        return _Slot(gate, priority, patience)

    def adopt(self, upstreams: Iterable[Upstream]) -> None:
        """There are other limits now, and perhaps other upstreams."""
        known = self._adopted = {upstream.name: upstream for upstream in upstreams}
        for name, gate in list(self._gates.items()):
            if name in known:
                gate.resize(known[name])
            elif gate.is_empty:
                del self._gates[name]

    def began(self, upstream: Upstream, prompt: int, seconds: float) -> None:
        """An answer to a prompt of so many tokens has begun, after so many seconds."""
        gate = self._gates.get(upstream.name)
        if gate is not None and gate.limit is not None:
            gate.limit.began(prompt, seconds, gate.slots.held, self._clock.monotonic())
            gate.follow()

    def overloaded(self, upstream: Upstream) -> None:
        """The upstream had too much to do."""
        gate = self._gates.get(upstream.name)
        if gate is not None and gate.limit is not None:
            gate.limit.refused(self._clock.monotonic())
            gate.follow()

    def describe(self, upstream: Upstream) -> dict[str, Any]:
        """The form shown under `/admin/status`."""
        crowd, gate = self.crowd(upstream), self._gates.get(upstream.name)
        shown = {"limit": crowd.limit, "in_flight": crowd.in_flight, "queued": crowd.queued}
        return shown if gate is None or gate.limit is None else {**shown, "auto": gate.limit.describe()}

    def crowd(self, upstream: Upstream) -> Crowd:
        gate = self._gates.get(upstream.name)
        if gate is None:
            return Crowd(upstream.slots.limit, 0, 0)
        return Crowd(gate.slots.limits.limit, gate.slots.held, gate.slots.waiting)


class Gate:
    """One upstream: who waits for real, and the timer that wakes them when it is only the pace they wait for."""

    __slots__ = ("_clock", "_timer", "_waiting", "limit", "slots")

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[Claim, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.slots = Slots(upstream.slots, Pace(upstream.pace), self._settled)
        bounds = upstream.slots.bounds
        self.limit = None if bounds is None else Limit(upstream.slots.limit, bounds.least, bounds.most)
        """Where it is found out."""

    @property
    def is_empty(self) -> bool:
        return not (self.slots.held or self.slots.waiting)

    async def enter(self, priority: int, patience: float) -> Claim:
        """A claim that is granted. Raises UpstreamFailure."""
        claim = self.slots.ask(priority, patience, self._clock.monotonic())
        if claim.standing is Standing.WAITING:
            await self._wait(claim, patience)
        if claim.standing is not Standing.GRANTED:
            raise UpstreamFailure(
                ErrorKind.OVERLOADED, "no slot came free in time", sent=False, retry_after=come_back()
            )
        return claim

    def leave(self, claim: Claim) -> None:
        now = self._clock.monotonic()
        self.slots.leave(claim, now)
        if self.limit is not None:
            self.limit.tend(now)
            self.follow()
        self._watch_pace()

    def resize(self, upstream: Upstream) -> None:
        self.slots.pace.limits = upstream.pace
        limits, bounds = upstream.slots, upstream.slots.bounds
        if bounds is None:
            self.limit = None
        elif self.limit is None:
            self.limit = Limit(limits.limit, bounds.least, bounds.most)
        else:
            self.limit.bound(bounds.least, bounds.most)
            limits = limits.at(self.limit.value)
        self._resize(limits)

    def follow(self) -> None:
        """Let as many in as was found out."""
        if self.limit is not None and self.limit.value != self.slots.limits.limit:
            self._resize(self.slots.limits.at(self.limit.value))

    def _resize(self, limits: SlotLimits) -> None:
        self.slots.resize(limits, self._clock.monotonic())
        self._watch_pace()

    async def _wait(self, claim: Claim, patience: float) -> None:
        """Until it is granted or over; who is cancelled leaves nothing behind, not even what was just granted."""
        loop = asyncio.get_running_loop()
        future = self._waiting[claim] = loop.create_future()
        expiry = loop.call_later(patience, self._expire, claim)
        self._watch_pace()
        try:
            await future
        except asyncio.CancelledError:
            self.leave(claim)
            raise
        finally:
            expiry.cancel()
            self._waiting.pop(claim, None)

    def _expire(self, claim: Claim) -> None:
        if claim.standing is Standing.WAITING:
            self.leave(claim)
            self._settled(claim)

    def _settled(self, claim: Claim) -> None:
        future = self._waiting.pop(claim, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _watch_pace(self) -> None:
        """Have one timer for the next moment at which the pace allows somebody in line to start."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock.monotonic()
        turn = self.slots.next_turn(now)
        if turn is not None:
            self._timer = asyncio.get_running_loop().call_later(turn - now, self._go_on)

    def _go_on(self) -> None:
        self.slots.advance(self._clock.monotonic())
        self._watch_pace()


class _Slot:
    """`async with`: a slot while it lasts."""

    __slots__ = ("_claim", "_gate", "_patience", "_priority")

    def __init__(self, gate: Gate, priority: int, patience: float) -> None:
        self._gate = gate
        self._priority = priority
        self._patience = patience

    async def __aenter__(self) -> None:
        self._claim = await self._gate.enter(self._priority, self._patience)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.leave(self._claim)
