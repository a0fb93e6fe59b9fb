"""Waiting for a slot for real: futures, timers and cancellation, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.clock import FakeClock
from proxy.core.decision import Bounds, PaceLimits, SlotLimits, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.engine.admission import Admission, Crowd
from tests.unit.engine.virtual import run
from tests.unit.routing.given import upstream

FAR = 1e9


class LoopClock(FakeClock):
    """The virtual loop's time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def place(slots: SlotLimits, pace: PaceLimits | None = None) -> Upstream:
    return replace(upstream("one"), slots=slots, pace=pace or PaceLimits())


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def wrapped() -> None:
        run(test(Admission(LoopClock())))

    wrapped.__doc__ = test.__doc__
    return wrapped


async def visit(admission: Admission, at: Upstream, seconds: float = 1.0, deadline: float = FAR) -> float:
    """Work for so long; when the work began."""
    async with admission.slot(at, 0, deadline):
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds)
    return began


@in_virtual_time
async def test_the_next_begins_when_one_ends(admission: Admission) -> None:
    at = place(SlotLimits(2, 10, 60.0))
    began = await asyncio.gather(*(visit(admission, at) for _ in range(5)))
    assert began == [1000.0, 1000.0, 1001.0, 1001.0, 1002.0]
    assert admission.crowd(at) == Crowd(2, 0, 0)


@in_virtual_time
async def test_who_waits_too_long_is_told_when_to_come_back(admission: Admission) -> None:
    at = place(SlotLimits(1, 10, 0.5))
    first = asyncio.create_task(visit(admission, at))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamFailure) as told:
        await visit(admission, at)
    assert asyncio.get_running_loop().time() == pytest.approx(1000.5)
    assert told.value.kind is ErrorKind.OVERLOADED
    assert told.value.retry_after is not None
    assert 1.0 <= told.value.retry_after <= 5.0
    assert admission.crowd(at) == Crowd(1, 1, 0)
    await first


@in_virtual_time
async def test_nobody_waits_beyond_the_deadline(admission: Admission) -> None:
    at = place(SlotLimits(1, 10, 60.0))
    first = asyncio.create_task(visit(admission, at))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamFailure):
        await visit(admission, at, deadline=1000.25)
    assert asyncio.get_running_loop().time() == pytest.approx(1000.25)
    await first


@in_virtual_time
async def test_a_slot_that_was_granted_to_somebody_who_just_left_goes_on(admission: Admission) -> None:
    """The grant and the cancellation meet in one turn of the loop."""
    at = place(SlotLimits(1, 10, 60.0))
    slot = admission.slot(at, 0, FAR)
    await slot.__aenter__()
    second, third = (asyncio.create_task(visit(admission, at)) for _ in range(2))
    await asyncio.sleep(0)
    await slot.__aexit__(None, None, None)
    second.cancel()
    assert await third == 1000.0
    assert second.cancelled()
    assert admission.crowd(at) == Crowd(1, 0, 0)


@in_virtual_time
async def test_the_pace_wakes_those_who_wait_for_it(admission: Admission) -> None:
    at = place(SlotLimits(9, 10, 60.0), PaceLimits(interval=2.0, burst=2))
    began = await asyncio.gather(*(visit(admission, at) for _ in range(4)))
    assert began == pytest.approx([1000.0, 1000.0, 1002.0, 1004.0])


@in_virtual_time
async def test_other_limits_hold_at_once(admission: Admission) -> None:
    at = place(SlotLimits(1, 10, 60.0))
    visits = [asyncio.create_task(visit(admission, at)) for _ in range(3)]
    await asyncio.sleep(0.5)
    admission.adopt([place(SlotLimits(3, 10, 60.0))])
    assert [await task for task in visits] == [1000.0, 1000.5, 1000.5]


@in_virtual_time
async def test_the_newest_limits_hold_for_a_request_that_is_older(admission: Admission) -> None:
    admission.adopt([place(SlotLimits(1, 10, 60.0))])
    began = await asyncio.gather(*(visit(admission, place(SlotLimits(3, 10, 60.0))) for _ in range(2)))
    assert began == [1000.0, 1001.0]


@in_virtual_time
async def test_a_slower_pace_holds_for_those_who_wait(admission: Admission) -> None:
    at = place(SlotLimits(1, 10, 60.0))
    visits = [asyncio.create_task(visit(admission, at)) for _ in range(3)]
    await asyncio.sleep(0)
    admission.adopt([place(SlotLimits(9, 10, 60.0), PaceLimits(spacing=5.0))])
    assert [await task for task in visits] == [1000.0, 1005.0, 1010.0]


@in_virtual_time
async def test_what_is_no_longer_configured_is_forgotten_once_it_is_empty(admission: Admission) -> None:
    at = place(SlotLimits(1, 10, 60.0))
    task = asyncio.create_task(visit(admission, at))
    await asyncio.sleep(0)
    admission.adopt([])
    assert admission.crowd(at) == Crowd(1, 1, 0)
    await task
    admission.adopt([])
    assert admission.crowd(place(SlotLimits(7, 0, 1.0))) == Crowd(7, 0, 0)


@in_virtual_time
async def test_offline_answers_wait_for_nobody(admission: Admission) -> None:
    at = replace(place(SlotLimits(1, 0, 1.0)), offline=True)
    assert await asyncio.gather(*(visit(admission, at) for _ in range(3))) == [1000.0] * 3


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 3),
    queue=st.integers(0, 6),
    interval=st.sampled_from([0.0, 0.3]),
    visits=st.lists(
        st.tuples(
            st.integers(0, 20),  # arrival, tenths of a second
            st.integers(1, 15),  # work
            st.one_of(st.none(), st.integers(0, 20)),  # cancelled so long after the arrival
        ),
        max_size=20,
    ),
)
def test_whatever_happens_the_limit_holds_and_nothing_is_left(
    limit: int, queue: int, interval: float, visits: list[tuple[int, int, int | None]]
) -> None:
    async def scene() -> None:
        admission = Admission(LoopClock())
        at = place(SlotLimits(limit, queue, 1.0), PaceLimits(interval))
        inside = 0

        async def one(arrival: int, work: int, cancelled: int | None) -> None:
            nonlocal inside
            await asyncio.sleep(arrival / 10)
            async with asyncio.timeout(None if cancelled is None else cancelled / 10):
                async with admission.slot(at, work, FAR):
                    inside += 1
                    try:
                        assert inside <= limit
                        await asyncio.sleep(work / 10)
                    finally:
                        inside -= 1

        ends = await asyncio.gather(*(one(*visit) for visit in visits), return_exceptions=True)
        assert {type(end) for end in ends} <= {type(None), TimeoutError, UpstreamFailure}
        assert admission.crowd(at) == Crowd(limit, 0, 0)
        assert len(asyncio.all_tasks()) == 1

    run(scene())


AUTO = SlotLimits(4, 100, 1e6, Bounds(1, 32, 100))


async def answer(admission: Admission, at: Upstream, capacity: asyncio.Semaphore) -> None:
    """A request whose first token takes a second once the upstream works on it."""
    async with admission.slot(at, 0, FAR):
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with capacity:
            await asyncio.sleep(1.0)
            admission.began(at, 100, loop.time() - asked)


@in_virtual_time
async def test_a_limit_is_found_out(admission: Admission) -> None:
    at, capacity = place(AUTO), asyncio.Semaphore(12)

    async def client() -> None:
        for _ in range(200):
            await answer(admission, at, capacity)

    work = [asyncio.create_task(client()) for _ in range(30)]
    await asyncio.sleep(150)
    assert 10 <= admission.crowd(at).limit <= 24
    shown = admission.describe(at)
    assert (shown["in_flight"], shown["limit"]) == (admission.crowd(at).in_flight, admission.crowd(at).limit)
    assert (shown["auto"]["least"], shown["auto"]["most"]) == (1, 32)

    found = admission.crowd(at).limit
    admission.adopt([place(replace(AUTO, wait=7.0))])
    assert admission.crowd(at).limit == found
    admission.adopt([place(SlotLimits(3, 100, 1e6))])
    assert admission.crowd(at).limit == 3
    assert "auto" not in admission.describe(at)
    await asyncio.gather(*work)
    assert admission.crowd(at) == Crowd(3, 0, 0)


@in_virtual_time
async def test_who_waits_is_let_in_when_the_limit_grows(admission: Admission) -> None:
    at = place(SlotLimits(2, 8, 1e6, Bounds(1, 32)))
    await visit(admission, at)
    admission.began(at, 100, 1.0)
    admission.overloaded(at)
    assert admission.crowd(at).limit == 1
    first, second = (asyncio.create_task(visit(admission, at, 100.0)) for _ in range(2))
    await asyncio.sleep(1)
    admission.adopt([place(SlotLimits(2, 8, 1e6, Bounds(2, 32)))])
    assert [await first, await second] == [1001.0, 1002.0]


@in_virtual_time
async def test_a_review_does_not_outlast_the_streams(admission: Admission) -> None:
    at, capacity = place(AUTO), asyncio.Semaphore(4)
    for _ in range(3):
        await asyncio.gather(*(answer(admission, at, capacity) for _ in range(4)))
    assert (admission.crowd(at).limit, admission.describe(at)["auto"]["in_review"]) == (2, True)
    await asyncio.sleep(60)
    await visit(admission, at)
    assert (admission.crowd(at).limit, admission.describe(at)["auto"]["in_review"]) == (4, False)
