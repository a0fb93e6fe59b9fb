"""Fault 69: a SIGTERM while a hundred streams are under way."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.harness import CHAT, Child, document, upstream, write
from tests.upstream import PATIENCE, FakeUpstream, Script

HALF = 50
END, SHUTDOWN = "end", "shutdown"


@pytest.mark.fault(69)
async def test_69_each_of_a_hundred_streams_ends_in_one_way(tmp_path: Path) -> None:
    """Those that come to their end in time do; the others are told; every one is in the log, and the exit is good."""
    async with FakeUpstream() as fake:
        gate = fake.gate()
        fake.script(Script(pauses={3: gate}), times=HALF)
        fake.script(Script(pauses={3: "never"}), times=HALF)
        config = document(
            {"one": upstream(fake, slots={"limit": 2 * HALF})}, server={"drain": "5s"}, logging={"format": "json"}
        )
        state = {"FAILSOFT_STATE": str(tmp_path / "state")}
        child = await Child.start("serve", str(write(config, tmp_path)), environment=state)
        url = f"{await child.url()}/v1/chat/completions"
        begun = asyncio.Semaphore(0)
        connector, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(PATIENCE)
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as session:
            streams = [asyncio.create_task(follow(session, url, begun)) for _ in range(2 * HALF)]
            for _ in streams:
                await begun.acquire()
            child.process.send_signal(signal.SIGTERM)
            await child.line_with("draining")
            gate.open()
            ends = Counter(await asyncio.gather(*streams))
        assert await child.ended() == 0
    assert ends == {END: HALF, SHUTDOWN: HALF}
    assert sum('"event":"request"' in line for line in child.output) == 2 * HALF


async def follow(session: aiohttp.ClientSession, url: str, begun: asyncio.Semaphore) -> str:
    """How a stream ended; releases `begun` at its first words."""
    async with session.post(url, json=CHAT | {"stream": True}) as answer:
        body = await answer.content.readuntil(b"Hello")
        begun.release()
        body += await answer.content.read()
    is_end, is_told = body.endswith(b"data: [DONE]\n\n"), b'"code":"server_shutdown"' in body
    assert is_end is not is_told, body
    return END if is_end else SHUTDOWN
