"""Slots at an upstream: how many requests it works on at once, and who gets the next free one.

Rules:
    1. Never more than `limit` hold a slot, and none starts before the pace allows it. A slot that is free and may be
       used never stays empty while somebody waits.
    2. Who came first goes first, with a head start: each point of priority counts for HEAD_START seconds of waiting,
       all of them together for at most half of the longest wait. So everybody moves on, whoever comes after.
    3. When every grant of the last WINDOW found somebody who had waited more than LATE of the longest wait, the line
       is standing: of the priority whose turn it is the newest goes first, for those at the head will give up before
       long and newcomers still have all their patience. Every TURN-th slot goes to the head even then.
    4. Where there is no place left in line, those who have waited too long make room, then the newest of the lowest
       priority, if it is lower than the newcomer's.
    5. Nobody gets in line whose turn, by the pace alone, would come too late.
    6. Batch, whose priority is below 0, is turned away while anybody waits or SHED of the slots are held: the rest is
       left to those who cannot wait.

After Facebook's adaptive LIFO and CoDel (Maurer, "Fail at Scale", ACM Queue 13/8, 2015).

Theory: a line per priority, in order of arrival, holds the next candidate at one of its ends, so a choice costs as
many looks as there are priorities. Waiting counts the same for everybody, so a head start settles an order for good.
Pure: times are monotonic seconds; who waits for real is told by `settled`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from proxy.core.decision import Bounds, SlotLimits
from proxy.fields import Count, Duration, Section, Whole
from proxy.policy.pace import Pace

HEAD_START = 0.1
"""Seconds."""
LATE = 0.1
"""A share of the longest wait: 500 ms of the usual 5 s."""
WINDOW = 1.0
"""Seconds."""
TURN = 4
SHED = 0.8
BATCH = -1_000_000
"""The priority of what can wait."""

_CLOUD = 64
_LOCAL = 4


class SlotsConfig(Section):
    """How many requests the upstream works on at once, and who waits."""

    limit: Annotated[Literal["auto"] | Count, Field(union_mode="left_to_right")] | None = None
    """Requests in flight at the same time. Cloud 64, local 4. `auto` begins there and finds out how many the upstream
    bears: how soon streamed answers begin tells, so it needs callers that stream."""
    least: Count = 1
    """Under `auto`, the limit never falls below this."""
    most: Count = 256
    """Under `auto`, the limit never grows beyond this."""
    queue: Whole | None = None
    """How many more may wait for a slot; twice the limit if not written."""
    wait: Duration = 5.0
    """The longest wait; the tenants' plans say who goes first."""

    def limits(self, *, is_local: bool) -> SlotLimits:
        """As the policy knows it."""
        usual = _LOCAL if is_local else _CLOUD
        if self.limit == "auto":
            bounds = Bounds(self.least, self.most, self.queue)
            return SlotLimits(wait=self.wait, bounds=bounds).at(min(self.most, max(self.least, usual)))
        limit = self.limit or usual
        return SlotLimits(limit, 2 * limit if self.queue is None else self.queue, self.wait)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.limit != "auto" and self.model_fields_set & {"least", "most"}:
            raise ValueError("`least` and `most` are for `limit: auto`")
        if self.least > self.most:
            raise ValueError("`least` is more than `most`")
        return self


class Standing(Enum):
    """What became of a claim so far."""

    WAITING = "waiting"
    GRANTED = "granted"
    OVER = "over"  # refused, given up, or given back


@dataclass(eq=False, slots=True)
class Claim:
    """One request's claim to a slot; worthless from `expires` on."""

    priority: int
    since: float
    expires: float
    standing: Standing = Standing.WAITING


class Slots:
    """The slots of one upstream. `settled` is called with each waiting claim that is granted or turned away."""

    def __init__(self, limits: SlotLimits, pace: Pace, settled: Callable[[Claim], None]) -> None:
        self.limits = limits
        self.pace = pace
        self.held = 0
        """Requests that have a slot."""
        self.waiting = 0
        """Requests in line for one."""
        self._settled = settled
        self._lines: dict[int, dict[Claim, None]] = {}
        self._delays: deque[tuple[float, float]] = deque()
        self._newest_first = 0

    def ask(self, priority: int, patience: float, now: float) -> Claim:
        """A claim that is granted at once, waits for at most `patience` seconds, or is over: no place in line."""
        claim = Claim(priority, now, now + patience)
        self.advance(now)
        if priority < 0 and (self.waiting or self.held >= SHED * self.limits.limit):
            claim.standing = Standing.OVER
        elif not self.waiting and self._is_free(now):
            self._note_delay(0.0, now)
            self._grant(claim, now)
        elif self._has_place(claim, now):
            self._lines.setdefault(priority, {})[claim] = None
            self.waiting += 1
        else:
            claim.standing = Standing.OVER
        return claim

    def leave(self, claim: Claim, now: float) -> None:
        """Give back a slot, or a place in line; a claim that is over has neither."""
        if claim.standing is Standing.WAITING:
            self._take_out(claim)
        elif claim.standing is Standing.GRANTED:
            claim.standing = Standing.OVER
            self.held -= 1
        self.advance(now)

    def resize(self, limits: SlotLimits, now: float) -> None:
        """Other limits from now on. Who has a slot keeps it, who is in line stays there."""
        self.limits = limits
        self.advance(now)

    def advance(self, now: float) -> None:
        """Grant what is free; to be called whenever the pace may have come to allow more, see `next_turn`."""
        while self.waiting and self._is_free(now):
            claim = self._next(now)
            if claim is not None:
                self._grant(claim, now)
                self._settled(claim)

    def next_turn(self, now: float) -> float | None:
        """When to `advance` because somebody waits for nothing but the pace; None if nobody does."""
        if not self.waiting or self.held >= self.limits.limit:
            return None
        return self.pace.free_at(now)

    def _is_free(self, now: float) -> bool:
        return self.held < self.limits.limit and self.pace.free_at(now) <= now

    def _grant(self, claim: Claim, now: float) -> None:
        claim.standing = Standing.GRANTED
        self.held += 1
        self.pace.take(now)

    def _next(self, now: float) -> Claim | None:
        """The next in line, taken out of it. None if there is nobody but such as have waited too long."""
        self._note_delay(now - min(claim.since for claim in self._heads()), now)
        while expired := [claim for claim in self._heads() if claim.expires <= now]:
            for claim in expired:
                self._turn_away(claim)
        if not self.waiting:
            return None
        claim = min(self._heads(), key=lambda head: head.since - self._head_start(head))
        if self._is_standing() and self._newest_first < TURN - 1:
            self._newest_first += 1
            claim = next(reversed(self._lines[claim.priority]))
        else:
            self._newest_first = 0
        if claim.expires <= now:
            self._turn_away(claim)
            return None
        self._take_out(claim)
        return claim

    def _has_place(self, claim: Claim, now: float) -> bool:
        """Whether it may wait; makes room where that is right."""
        ahead = sum(len(line) for priority, line in self._lines.items() if priority >= claim.priority)
        if claim.expires <= self.pace.free_at(now, ahead):
            return False
        if self.waiting < self.limits.queue:
            return True
        for expired in [known for line in self._lines.values() for known in line if known.expires <= now]:
            self._turn_away(expired)
        if self.waiting < self.limits.queue:
            return True
        lowest = min(self._lines, default=claim.priority)
        if lowest >= claim.priority:
            return False
        self._turn_away(next(reversed(self._lines[lowest])))
        return self.waiting < self.limits.queue

    def _turn_away(self, claim: Claim) -> None:
        self._take_out(claim)
        self._settled(claim)

    def _take_out(self, claim: Claim) -> None:
        claim.standing = Standing.OVER
        line = self._lines[claim.priority]
        del line[claim]
        self.waiting -= 1
        if not line:
            del self._lines[claim.priority]

    def _heads(self) -> Iterator[Claim]:
        """The oldest of each priority."""
        return (next(iter(line)) for line in self._lines.values())

    def _head_start(self, claim: Claim) -> float:
        most = self.limits.wait / 2
        return max(-most, min(most, claim.priority * HEAD_START))

    def _note_delay(self, delay: float, now: float) -> None:
        """Keep the least delay of the last WINDOW at the left end; the last one is kept however old it is."""
        delays = self._delays
        while delays and delays[-1][1] >= delay:
            delays.pop()
        delays.append((now, delay))
        while delays[0][0] < now - WINDOW:
            delays.popleft()

    def _is_standing(self) -> bool:
        return self._delays[0][1] > LATE * self.limits.wait
