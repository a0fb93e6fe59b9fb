"""A process that stands still for two seconds says so, and nobody else is blamed for it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.harness import Child, Proxy, document, upstream, write
from tests.faults.stage import FIRST_WORDS
from tests.upstream import FakeUpstream, Script

STANDSTILL = 2.0
"""Seconds; longer than the upstream may take for its first byte. They are the fault itself."""


@pytest.mark.fault(64)
async def test_64_livez_is_red_and_no_upstream_is_blamed(tmp_path: Path) -> None:
    async with FakeUpstream() as fake, aiohttp.ClientSession() as session:
        one = upstream(fake, timeouts={"first_byte": "1500ms", "first_token": "1500ms"})
        file = str(write(document({"one": one}), tmp_path))
        child = await Child.start("serve", file, environment={"FAILSOFT_STATE": str(tmp_path / "state")})
        proxy = Proxy(await child.url(), session)
        assert (await proxy.get("/livez")).status == 200
        gate = fake.gate()
        fake.script(Script(before_head=gate), times=2)
        asked = asyncio.gather(proxy.chat(stream=False), proxy.chat(stream=True))
        await fake.arrived(2)
        child.process.send_signal(signal.SIGSTOP)
        gate.open()
        await asyncio.sleep(STANDSTILL)
        child.process.send_signal(signal.SIGCONT)

        blocked = await proxy.get("/livez")
        assert (blocked.status, blocked.json["status"]) == (503, "blocked")
        assert blocked.json["loop_lag_seconds"] >= 1
        for answer in await asked:
            assert (answer.text, answer.headers["x-failsoft-attempts"]) == (FIRST_WORDS, "1")
        assert (await proxy.get("/readyz")).status == 200
        (row,) = (row for row in (await proxy.admin("status"))["upstreams"] if row["name"] == "one")
        assert [(made["state"], made["failures"]) for made in row["breaker"]["targets"]] == [("closed", 0)]
        assert await child.stop() == 0
