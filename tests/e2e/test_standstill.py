"""Fault 64: the process stands still for two seconds; it says so, and nobody else is blamed for it."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
import pytest

from tests.e2e.harness import Proxy, document, upstream
from tests.upstream import Script

STANDSTILL = 2.0
"""Seconds; longer than the upstream may take for its first byte. They are the fault itself."""


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_livez_is_red_and_no_upstream_is_blamed(launch, one, session):
    timeouts = {"first_byte": "1500ms", "first_token": "1500ms"}
    child = await launch(document({"one": upstream(one, timeouts=timeouts)}))
    proxy = Proxy(await child.url(), session)
    assert (await proxy.get("/livez")).status == 200
    gate = one.gate()
    one.script(Script(before_head=gate), times=2)
    asked = asyncio.gather(proxy.chat(stream=False), proxy.chat(stream=True))
    await one.arrived(2)
    child.process.send_signal(signal.SIGSTOP)
    gate.open()
    await asyncio.sleep(STANDSTILL)
    child.process.send_signal(signal.SIGCONT)

    blocked = await proxy.get("/livez")
    assert (blocked.status, blocked.json["status"]) == (503, "blocked")
    assert blocked.json["loop_lag_seconds"] >= 1
    for answer in await asked:
        assert (answer.text, answer.headers["x-failsoft-attempts"]) == ("Hello, world!", "1")
    assert (await proxy.get("/readyz")).status == 200
    (row,) = (row for row in (await proxy.admin("status"))["upstreams"] if row["name"] == "one")
    assert [(made["state"], made["failures"]) for made in row["breaker"]["targets"]] == [("closed", 0)]
