"""The lazily armed timer: it may look early as often as it likes, but rings once and never too soon."""

from __future__ import annotations

import asyncio

from proxy.adapters.http1.deadline import Deadline


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
