"""The lazily armed timer: it may look early as often as it likes, but rings once and never too soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from proxy.adapters.http1.deadline import Deadline, within
from tests.unit.engine.virtual import VirtualLoop, run


async def test_moved_later() -> None:
    """The loop's timer goes off at the first time; it rings at the second."""
    loop = asyncio.get_running_loop()
    rung: asyncio.Future[float] = loop.create_future()
    deadline = Deadline(loop, lambda: rung.set_result(loop.time()))
    start = loop.time()
    deadline.set(start + 0.01)
    deadline.set(start + 0.06)
    assert await rung >= start + 0.06
    deadline.close()


async def test_moved_earlier_cleared_and_closed() -> None:
    """An earlier time counts at once; a cleared or closed deadline does not ring."""
    loop = asyncio.get_running_loop()
    rung: list[str] = []
    done: asyncio.Future[None] = loop.create_future()
    cleared, closed = Deadline(loop, lambda: rung.append("cleared")), Deadline(loop, lambda: rung.append("closed"))
    last = Deadline(loop, lambda: done.set_result(None))
    now = loop.time()
    for deadline in (cleared, closed):
        deadline.set(now + 0.01)
    cleared.clear()
    closed.close()
    last.set(now + 1e6)
    last.set(now + 0.03)
    await done
    assert rung == []
    last.close()


def in_virtual_time(story: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await story(loop)

    run(told())


def test_a_standstill_of_the_loop_is_given_back_once() -> None:
    """Fault 64: it rings as much later as the loop was late; another standstill does not help again."""

    async def story(loop: VirtualLoop) -> None:
        rung: list[float] = []
        deadline = Deadline(loop, lambda: rung.append(loop.time()))
        deadline.set(1010.0)
        loop.stand_still(12.0)
        await asyncio.sleep(1.0)
        assert rung == []
        loop.stand_still(10.0)
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        assert rung == [1023.0]
        deadline.set(1030.0)
        loop.stand_still(9.0)
        await asyncio.sleep(10.0)
        assert rung == [1023.0, 1034.0]
        deadline.close()

    in_virtual_time(story)


def test_what_comes_after_a_standstill_moves_it() -> None:
    async def story(loop: VirtualLoop) -> None:
        rung: list[float] = []
        deadline = Deadline(loop, lambda: rung.append(loop.time()))
        deadline.set(1010.0)
        loop.stand_still(12.0)
        await asyncio.sleep(1.0)
        deadline.set(loop.time() + 10.0)
        await asyncio.sleep(20.0)
        assert rung == [1023.0]
        deadline.close()

    in_virtual_time(story)


def test_within() -> None:
    async def story(loop: VirtualLoop) -> None:
        async with within(10.0):
            await asyncio.sleep(9.0)
        with pytest.raises(TimeoutError):
            async with within(10.0):
                await asyncio.sleep(11.0)
        assert loop.time() == 1019.0

    in_virtual_time(story)


def test_what_came_to_its_end_during_a_standstill_is_not_cut_off() -> None:
    """Fault 64: a connection that the kernel has opened meanwhile."""

    async def story(loop: VirtualLoop) -> None:
        opened: asyncio.Future[str] = loop.create_future()
        loop.call_at(1000.2, opened.set_result, "open")
        loop.call_at(1000.1, loop.stand_still, 2.0)
        async with within(0.5):
            assert await opened == "open"

        late: asyncio.Future[str] = loop.create_future()
        loop.call_later(0.1, loop.stand_still, 2.0)
        loop.call_later(2.8, late.set_result, "open")
        async with within(0.5):
            assert await late == "open"

    in_virtual_time(story)
