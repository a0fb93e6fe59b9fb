"""Background work goes on, whatever happens to it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.engine.tasks import supervise, whenever
from tests.unit.engine.virtual import run


def test_work_that_fails_is_reported_and_started_again(caplog):
    caplog.set_level(logging.ERROR, "failsoft")

    async def work() -> None:
        starts: list[float] = []
        again = asyncio.Event()

        async def duty() -> None:
            starts.append(asyncio.get_running_loop().time())
            if len(starts) == 1:
                raise ValueError("odd")
            if len(starts) == 2:
                return
            again.set()
            await asyncio.sleep(1000)

        task = asyncio.create_task(supervise("odd duty", duty))
        await again.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert starts[1] - starts[0] >= 1
        assert len(starts) == 3

    run(work())
    (record,) = caplog.records
    assert "odd duty" in record.message
    assert record.exc_info


def test_it_acts_once_for_all_that_was_asked_meanwhile():
    async def work() -> None:
        asked, acts = asyncio.Event(), []

        async def act() -> None:
            acts.append("begun")
            await asyncio.sleep(1)
            acts.append("ended")

        task = asyncio.create_task(whenever(asked, act))
        await asyncio.sleep(10)
        assert acts == []
        asked.set()
        await asyncio.sleep(0.5)
        for _ in range(3):
            asked.set()
        await asyncio.sleep(10)
        assert acts == ["begun", "ended"] * 2
        task.cancel()

    run(work())
