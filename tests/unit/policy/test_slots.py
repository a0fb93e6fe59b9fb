"""Slots: never more than the limit, nobody forgotten, nobody starved, and nothing left of who gave up."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.core.clock import FakeClock
from proxy.core.decision import Bounds, PaceLimits, SlotLimits
from proxy.policy.pace import Pace
from proxy.policy.slots import BATCH, LATE, Claim, Slots, SlotsConfig, Standing


class Scene:
    """Slots on a fake clock, and what they told."""

    def __init__(self, limit: int = 1, queue: int = 10, wait: float = 5.0, pace: PaceLimits | None = None) -> None:
        self.clock = FakeClock(100.0)
        self.told: list[Claim] = []
        self.slots = Slots(SlotLimits(limit, queue, wait), Pace(pace or PaceLimits()), self.told.append)

    def ask(self, priority: int = 0, patience: float | None = None) -> Claim:
        return self.slots.ask(priority, self.slots.limits.wait if patience is None else patience, self.clock.now)

    def leave(self, claim: Claim) -> None:
        self.slots.leave(claim, self.clock.now)

    def serve(self, claim: Claim, seconds: float = 0.1) -> Claim:
        """The claim's work is done after so long; who is next?"""
        assert claim.standing is Standing.GRANTED
        self.clock.advance(seconds)
        self.told.clear()
        self.leave(claim)
        return next(known for known in self.told if known.standing is Standing.GRANTED)

    def order(self, claim: Claim, count: int, seconds: float = 0.1) -> list[Claim]:
        """The next so many that are granted."""
        served = [claim]
        for _ in range(count):
            served.append(self.serve(served[-1], seconds))
        return served[1:]


def test_a_free_slot_is_granted_at_once_and_nobody_is_told() -> None:
    scene = Scene(limit=2)
    assert [scene.ask().standing for _ in range(3)] == [Standing.GRANTED, Standing.GRANTED, Standing.WAITING]
    assert (scene.slots.held, scene.slots.waiting, scene.told) == (2, 1, [])


def test_who_came_first_goes_first() -> None:
    scene = Scene()
    first = scene.ask()
    waiting = [scene.ask() for _ in range(4)]
    assert scene.order(first, 4) == waiting


def test_a_higher_priority_goes_before_those_who_came_a_little_earlier() -> None:
    scene = Scene()
    first = scene.ask()
    free, gold = scene.ask(0), scene.ask(20)
    assert scene.order(first, 2) == [gold, free]


def test_waiting_makes_up_for_priority() -> None:
    """Ten points are worth a second."""
    scene = Scene(wait=60.0)
    first, early = scene.ask(), scene.ask(0)
    scene.clock.advance(1.1)
    gold = scene.ask(10)
    assert scene.order(first, 2, 0.0) == [early, gold]


def test_no_priority_is_worth_more_than_half_of_the_longest_wait() -> None:
    scene = Scene(wait=0.8)
    first, early = scene.ask(), scene.ask(0)
    scene.clock.advance(0.45)
    admin = scene.ask(1000)
    assert scene.order(first, 2, 0.0) == [early, admin]


def test_a_full_line_turns_newcomers_away() -> None:
    scene = Scene(queue=2)
    claims = [scene.ask() for _ in range(4)]
    assert claims[-1].standing is Standing.OVER
    assert (scene.slots.held, scene.slots.waiting) == (1, 2)


def test_without_a_line_only_free_slots_count() -> None:
    scene = Scene(queue=0)
    first = scene.ask()
    assert scene.ask(99).standing is Standing.OVER
    scene.leave(first)
    assert scene.ask().standing is Standing.GRANTED


def test_in_a_full_line_a_lower_priority_makes_room() -> None:
    """The newest of them, for it has waited the least; never one of the same priority."""
    scene = Scene(queue=3)
    scene.ask()
    old, gold, new = scene.ask(0), scene.ask(10), scene.ask(0)
    assert scene.ask(5).standing is Standing.WAITING
    assert (scene.told, new.standing) == ([new], Standing.OVER)
    assert scene.ask(0).standing is Standing.OVER
    assert {old.standing, gold.standing} == {Standing.WAITING}


def test_in_a_full_line_who_waited_too_long_makes_room_first() -> None:
    scene = Scene(queue=2)
    scene.ask()
    brief, low = scene.ask(9, patience=1.0), scene.ask(0)
    scene.clock.advance(1.0)
    assert scene.ask(0).standing is Standing.WAITING
    assert scene.told == [brief]
    assert low.standing is Standing.WAITING


def test_who_waited_too_long_gets_no_slot() -> None:
    scene = Scene()
    first, brief, patient = scene.ask(), scene.ask(patience=1.0), scene.ask(patience=9.0)
    scene.clock.advance(1.0)
    assert scene.serve(first) is patient
    assert scene.told == [brief, patient]
    assert brief.standing is Standing.OVER


def test_who_has_no_time_left_does_not_wait() -> None:
    scene = Scene()
    assert scene.ask(patience=0.0).standing is Standing.GRANTED
    assert scene.ask(patience=0.0).standing is Standing.OVER


def test_a_standing_line_is_worked_off_from_its_end_but_for_every_fourth_slot() -> None:
    scene = Scene(queue=20, wait=10.0)
    first = scene.ask()
    line = [scene.ask() for _ in range(9)]
    scene.clock.advance(LATE * 10.0 + 0.1)
    assert scene.order(first, 8) == [*line[:5:-1], line[0], *line[5:2:-1], line[1]]


def test_in_a_standing_line_priorities_keep_their_turn() -> None:
    scene = Scene(wait=10.0)
    first = scene.ask()
    gold, new_gold, free, new_free = scene.ask(20), scene.ask(20), scene.ask(0), scene.ask(0)
    scene.clock.advance(LATE * 10.0 + 0.1)
    assert scene.order(first, 4) == [new_gold, gold, new_free, free]


def test_a_line_that_moves_is_worked_off_from_its_head_again() -> None:
    """One grant in the last second that found nobody waiting for long is enough."""
    scene = Scene(wait=10.0)
    first = scene.ask()
    line = [scene.ask() for _ in range(2)]
    scene.clock.advance(0.9)
    assert scene.serve(first, 0.05) is line[0]


def test_an_empty_line_ends_that() -> None:
    scene = Scene(wait=10.0)
    last = scene.ask()
    waiting = [scene.ask() for _ in range(3)]
    scene.clock.advance(2.0)
    for _ in waiting:
        last = scene.serve(last, 0.0)
    scene.leave(last)
    scene.clock.advance(2.0)
    last = scene.ask()
    line = [scene.ask() for _ in range(3)]
    assert scene.order(last, 3) == line


def test_leaving_twice_gives_back_once() -> None:
    scene = Scene()
    first, second, third = scene.ask(), scene.ask(), scene.ask()
    scene.leave(first)
    scene.leave(first)
    scene.leave(third)
    scene.leave(third)
    assert (scene.slots.held, scene.slots.waiting) == (1, 0)
    assert second.standing is Standing.GRANTED


def test_more_slots_are_given_out_at_once_and_fewer_as_they_come_back() -> None:
    scene = Scene(limit=1)
    first, *waiting = [scene.ask() for _ in range(4)]
    scene.slots.resize(SlotLimits(3, 10, 5.0), scene.clock.now)
    assert scene.told == waiting[:2]
    scene.slots.resize(SlotLimits(1, 10, 5.0), scene.clock.now)
    scene.leave(first)
    scene.leave(waiting[0])
    assert scene.slots.held == 1
    assert scene.slots.waiting == 1
    scene.leave(waiting[1])
    assert (scene.slots.held, scene.slots.waiting) == (1, 0)


def test_the_pace_holds_a_free_slot_back_and_says_until_when() -> None:
    scene = Scene(limit=4, pace=PaceLimits(interval=2.0))
    assert scene.ask().standing is Standing.GRANTED
    second = scene.ask()
    assert scene.slots.waiting == 1
    assert scene.slots.next_turn(scene.clock.now) == 102.0
    scene.clock.advance(2.0)
    scene.slots.advance(scene.clock.now)
    assert second.standing is Standing.GRANTED
    assert scene.slots.next_turn(scene.clock.now) is None


def test_who_would_wait_too_long_for_the_pace_is_told_at_once() -> None:
    """Those with a higher priority do not count those they will pass."""
    scene = Scene(limit=9, wait=5.0, pace=PaceLimits(interval=2.0))
    claims = [scene.ask() for _ in range(4)]
    assert [claim.standing for claim in claims[2:]] == [Standing.WAITING, Standing.OVER]
    assert scene.ask(1).standing is Standing.WAITING


@pytest.mark.parametrize(("written", "is_local", "limits"), [
    ({}, False, SlotLimits(64, 128, 5.0)),
    ({}, True, SlotLimits(4, 8, 5.0)),
    ({"limit": 2, "wait": "30s"}, True, SlotLimits(2, 4, 30.0)),
    ({"limit": 2, "queue": 0}, False, SlotLimits(2, 0, 5.0)),
])  # fmt: skip
def test_limits_as_they_are_written(written: dict[str, object], is_local: bool, limits: SlotLimits) -> None:
    assert SlotsConfig.model_validate(written).limits(is_local=is_local) == limits


@settings(max_examples=30, deadline=None)
@example(limit=1, newcomers=[1000] * 300)
@given(limit=st.integers(1, 3), newcomers=st.lists(st.integers(0, 1000), min_size=300, max_size=300))
def test_nobody_starves(limit: int, newcomers: list[int]) -> None:
    """However good the plans of those who come after, two for each slot that comes free, so that the line grows.

    At most those go before who came less than half of the wait later: here, 20 in 10 seconds. Three of four slots go
    to the newest.
    """
    scene = Scene(limit=limit, queue=10_000, wait=20.0)
    busy = [scene.ask(1000) for _ in range(limit)]
    ours = scene.ask(0, patience=1e9)
    grants = 0
    for one, other in zip(newcomers[::2], newcomers[1::2], strict=True):
        scene.ask(one, patience=1e9)
        scene.ask(other, patience=1e9)
        scene.clock.advance(1.0)
        scene.told.clear()
        scene.leave(busy.pop(0))
        busy += scene.told
        grants += 1
        if ours.standing is Standing.GRANTED:
            break
    assert ours.standing is Standing.GRANTED
    assert grants <= 4 * (20 + 1)


class Crowd(RuleBasedStateMachine):
    """Any order of coming, going, giving up, resizing and time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(100.0)
        self.slots = Slots(SlotLimits(2, 4, 5.0), Pace(PaceLimits()), self.settled)
        self.limit = 2
        self.claims: list[Claim] = []
        self.waiting: list[Claim] = []

    def settled(self, claim: Claim) -> None:
        assert claim.standing is not Standing.WAITING
        self.waiting.remove(claim)

    def members(self, standing: Standing) -> list[Claim]:
        return [claim for claim in self.claims if claim.standing is standing]

    @rule(priority=st.integers(0, 3), patience=st.sampled_from([0.0, 0.5, 5.0]))
    def ask(self, priority: int, patience: float) -> None:
        claim = self.slots.ask(priority, patience, self.clock.now)
        self.claims.append(claim)
        if claim.standing is Standing.WAITING:
            self.waiting.append(claim)

    @precondition(lambda self: self.claims)
    @rule(pick=st.integers(0, 1000))
    def leave(self, pick: int) -> None:
        claim = self.claims.pop(pick % len(self.claims))
        if claim.standing is Standing.WAITING:
            self.waiting.remove(claim)
        self.slots.leave(claim, self.clock.now)
        assert claim.standing is Standing.OVER

    @rule(limit=st.integers(1, 4), queue=st.integers(0, 6))
    def resize(self, limit: int, queue: int) -> None:
        self.slots.resize(SlotLimits(limit, queue, 5.0), self.clock.now)

    @rule(interval=st.sampled_from([0.0, 1.0]))
    def repace(self, interval: float) -> None:
        self.slots.pace.limits = PaceLimits(interval)
        self.slots.advance(self.clock.now)

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.0]))
    def tick(self, seconds: float) -> None:
        """As a timer would: woken at each turn of the pace on the way."""
        end = self.clock.now + seconds
        while (turn := self.slots.next_turn(self.clock.now)) is not None and turn <= end:
            self.clock.now = max(turn, self.clock.now)
            self.slots.advance(self.clock.now)
        self.clock.now = end

    @invariant()
    def counts_are_true(self) -> None:
        assert self.slots.held == len(self.members(Standing.GRANTED))
        assert self.slots.waiting == len(self.members(Standing.WAITING)) == len(self.waiting)
        assert self.slots.held + self.slots.waiting == sum(claim.standing is not Standing.OVER for claim in self.claims)

    @invariant()
    def nobody_was_forgotten(self) -> None:
        """While somebody waits every slot is taken, or it is the pace that they wait for."""
        if self.slots.waiting and self.slots.held < self.slots.limits.limit:
            turn = self.slots.next_turn(self.clock.now)
            assert turn is not None
            assert turn > self.clock.now

    @invariant()
    def nothing_is_left_of_who_left(self) -> None:
        lines = [claim for line in self.slots._lines.values() for claim in line]
        assert sorted(map(id, lines)) == sorted(map(id, self.waiting))


class Limited(Crowd):
    """Grants never exceed the limit, as long as nobody makes it smaller."""

    @rule(limit=st.integers(1, 4), queue=st.integers(0, 6))
    def resize(self, limit: int, queue: int) -> None:
        self.slots.resize(SlotLimits(max(limit, self.slots.limits.limit), queue, 5.0), self.clock.now)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        assert self.slots.held <= self.slots.limits.limit


TestCrowd = Crowd.TestCase
TestLimited = Limited.TestCase
TestCrowd.settings = TestLimited.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(("limit", "granted"), [(1, 1), (4, 4), (5, 4), (10, 8), (64, 52)])
def test_batch_is_turned_away_at_four_fifths_of_the_limit(limit: int, granted: int) -> None:
    scene = Scene(limit=limit)
    claims = [scene.ask(BATCH) for _ in range(limit + 1)]
    standings = [claim.standing for claim in claims]
    assert standings == [Standing.GRANTED] * granted + [Standing.OVER] * (limit + 1 - granted)
    assert [scene.ask().standing for _ in range(limit - granted)] == [Standing.GRANTED] * (limit - granted)
    assert scene.ask().standing is Standing.WAITING


def test_batch_never_waits_behind_anybody() -> None:
    scene = Scene()
    first = scene.ask()
    waiting = scene.ask()
    assert scene.ask(BATCH).standing is Standing.OVER
    assert scene.serve(first) is waiting


def test_a_limit_may_be_found_out() -> None:
    local, cloud = (SlotsConfig(limit="auto").limits(is_local=is_local) for is_local in (True, False))
    assert [(slots.limit, slots.queue, slots.bounds) for slots in (local, cloud)] == [
        (4, 8, Bounds(1, 256)),
        (64, 128, Bounds(1, 256)),
    ]
    narrow = SlotsConfig(limit="auto", least=8, most=16, queue=3).limits(is_local=False)
    assert (narrow.limit, narrow.queue, narrow.at(9).queue) == (16, 3, 3)
    assert local.at(9).queue == 18
    with pytest.raises(ValueError, match="`least` is more than `most`"):
        SlotsConfig(limit="auto", least=9, most=8)
    with pytest.raises(ValueError, match="`least` and `most` are for `limit: auto`"):
        SlotsConfig(limit=4, least=2)


def test_batch_never_waits_for_the_pace_behind_anybody() -> None:
    scene = Scene(limit=10, pace=PaceLimits(spacing=1.0))
    assert [scene.ask().standing for _ in range(2)] == [Standing.GRANTED, Standing.WAITING]
    assert scene.ask(BATCH).standing is Standing.OVER
