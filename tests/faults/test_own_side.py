"""Faults 55, 65 and 67: a client that half closes, a wall clock that jumps, and more work than can be done."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta

import pytest

from proxy.core.clock import FakeClock
from tests.faults.invariants import at_rest
from tests.faults.stage import FIRST_WORDS, NO_OFFLINE, Stage, question
from tests.upstream import Script

MODES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
LIMIT, QUEUE = 4, 8


@pytest.mark.fault(55)
@MODES
async def test_55_who_half_closes_has_left(stage: Stage, stream: bool) -> None:
    """A FIN is all that is seen of a client that leaves; the upstream must not work on for nobody."""
    await stage.serve()
    stage.one.script(Script(before_head="never"))
    body = json.dumps(question(stream, {})).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.proxy.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    stage.accepted += 1
    seen = await stage.one.arrived()
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await seen.closed()
    assert seen.left
    await at_rest(stage)
    (record,) = stage.records
    assert (record.status, record.ended) == (499, "client_gone")
    assert (await stage.health())["failures"] == 0


@pytest.mark.fault(65)
@pytest.mark.parametrize("hours", [-1, 1])
async def test_65_a_jump_of_the_wall_clock_changes_nothing(stage: Stage, hours: int) -> None:
    """Breakers and keys rest by a clock that only goes on."""
    await stage.serve()
    clock = stage.clock
    assert isinstance(clock, FakeClock)
    stage.one.script(Script(status=429, headers=(("retry-after", "60"),)), model="m")
    stage.one.script(Script(status=500), model="n", times=5)
    for model in ("m", "n", "n", "n"):
        await stage.ask(model=model)
    clock.epoch += timedelta(hours=hours)
    for seconds, by in ((59, "two"), (1, "one")):
        clock.advance(seconds)
        for model in ("m", "n") if by == "one" else ("m",):
            assert (await stage.ask(model=model)).headers["x-failsoft-upstream"] == by, (seconds, model)
    assert all(record.seconds >= 0 for record in stage.records)


@pytest.mark.fault(67)
async def test_67_five_times_too_much_work_is_no_storm(stage: Stage) -> None:
    """The upstream is as busy as it may be and no more; who must go is told so at once, and nobody is asked twice."""
    slots = {"limit": LIMIT, "queue": QUEUE, "wait": "30s"}
    await stage.serve(one={"slots": slots}, two={"enabled": False}, **NO_OFFLINE)
    gate = stage.one.gate()
    stage.one.script(Script(before_head=gate), times=LIMIT)
    asked = [asyncio.create_task(stage.ask(stream=number % 2 == 0)) for number in range(5 * (LIMIT + QUEUE))]
    await stage.one.arrived(LIMIT)
    first = asyncio.as_completed(asked)
    refused = [await next(first) for _ in range(len(asked) - LIMIT - QUEUE)]
    assert len(stage.one.seen) == LIMIT
    gate.open()
    answers = await asyncio.gather(*asked)
    assert Counter(answer.status for answer in answers) == {200: LIMIT + QUEUE, 503: 4 * (LIMIT + QUEUE)}
    assert {(answer.status, answer.error["code"]) for answer in refused} == {(503, "server_overloaded")}
    assert all(1 <= int(answer.headers["retry-after"]) <= 6 for answer in refused)
    assert {answer.text for answer in answers if answer.status == 200} == {FIRST_WORDS}
    assert len(stage.one.seen) == LIMIT + QUEUE


@pytest.mark.fault(67)
async def test_67_idle_clients_are_in_nobodys_way(stage: Stage) -> None:
    await stage.serve()
    idle = [await asyncio.open_connection("127.0.0.1", stage.proxy.port) for _ in range(200)]
    for _, writer in idle:
        writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
    for reader, _ in idle:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert (await stage.ask()).text == FIRST_WORDS
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
