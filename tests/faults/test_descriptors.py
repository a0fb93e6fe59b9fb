"""Fault 66: a process that has no descriptors left."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.harness import CHAT, ENVIRONMENT, Child, document, upstream, write
from tests.upstream import PATIENCE, FakeUpstream

FEW = 48
"""Descriptors; the process itself needs about twenty."""


@pytest.fixture
async def poor(tmp_path: Path) -> AsyncIterator[tuple[Child, str]]:
    """A proxy as a process with FEW descriptors, and its address."""
    async with FakeUpstream() as fake:
        file = write(document({"one": upstream(fake)}), tmp_path)
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", f'ulimit -n {FEW} && exec "$@"', "sh", sys.executable, "-m", "proxy", "serve", str(file),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT, "FAILSOFT_STATE": str(tmp_path / "state")},
        )  # fmt: skip
        child = Child(process)
        yield child, await child.url()
        assert await child.stop() == 0, "\n".join(child.output)


@pytest.mark.fault(66)
async def test_66_more_connections_than_descriptors(poor: tuple[Child, str]) -> None:
    """Those who come too late get no answer for now; those who were there, and those who come later, do."""
    child, url = poor
    port = int(url.rpartition(":")[2])
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)))
        assert await ask(session, url) == 200
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * FEW)]
        assert await ask(session, url) in (200, 502, 503), "over the connection that it has"
        for _, writer in crowd:
            writer.close()
        later = await stack.enter_async_context(aiohttp.ClientSession())
        async with asyncio.timeout(PATIENCE):
            while await ask(later, url) != 200:
                pass
    assert child.process.returncode is None


async def ask(session: aiohttp.ClientSession, url: str) -> int:
    """The status; 0 if the connection was closed without a word."""
    try:
        async with session.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
            await answer.read()
            return answer.status
    except aiohttp.ClientError:
        return 0
