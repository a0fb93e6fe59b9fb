"""Fixtures of the end-to-end suite: fake upstreams, the product in this process, the product as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from proxy import bootstrap
from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.core.clock import Clock, FakeClock
from proxy.core.ports import Transport
from proxy.web.http1 import patient
from tests.e2e.harness import ENVIRONMENT, Child, Proxy, document, upstream, write
from tests.upstream import PATIENCE, FakeUpstream

Serve = Callable[..., Awaitable[Proxy]]
"""Takes a document and, where time matters, a clock; besides, what `running` takes."""


@pytest.fixture
async def one() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def two() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@contextlib.asynccontextmanager
async def running(
    config: Mapping[str, Any],
    source: Callable[[], Snapshot] | None = None,
    folder: Path | None = None,
    clock: Clock | None = None,
    environment: Mapping[str, str] | None = None,
    transport: Transport | None = None,
) -> AsyncIterator[Proxy]:
    """The whole product on a free port, in this event loop, under the server and settings it has in production.

    `source` reads the configuration anew; `folder` is the state folder, by default an empty one; `clock` is the time by
    which policies decide (sockets and timers live in real time); `transport` carries requests to upstreams.
    """

    async def pause(seconds: float) -> None:
        """Whatever is waited for before a repetition passes at once."""
        if isinstance(clock, FakeClock):
            clock.advance(seconds)

    snapshot = source() if source else loads(json.dumps(config).encode(), "routes.yaml", environment or ENVIRONMENT)
    state = tempfile.TemporaryDirectory()
    folder = folder or Path(state.name)
    app = bootstrap.assemble(snapshot, snapshot.server.admin_keys, source, folder, clock, pause, transport)
    settings = uvicorn.Config(
        app, http=patient(snapshot.server), ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False,
    )  # fmt: skip
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as on the sockets that a server makes itself
    server = uvicorn.Server(settings)
    # The steps of its `serve`, without the signals (a test run's belong to pytest) and the pauses.
    settings.load()
    server.lifespan = settings.lifespan_class(settings)
    await server.startup([listener])
    assert server.started
    try:
        patience = aiohttp.ClientTimeout(PATIENCE)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=patience) as session:
            proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}", session, app=app)
            await proxy.get("/v1/models")  # the upstreams have been asked for their lists when the test begins
            yield proxy
    finally:
        await _stop(server)
        listener.close()  # uvloop serves on a duplicate of it
        state.cleanup()


async def _stop(server: uvicorn.Server) -> None:
    """End it; requests that their clients have left must be over by themselves."""
    for listening in server.servers:
        listening.close()
    state = server.server_state
    for connection in tuple(state.connections):
        connection.shutdown()
    async with asyncio.timeout(30):
        while state.connections or state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await server.lifespan.shutdown()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start proxies from documents; all are stopped, and must stop well, at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(config: Mapping[str, Any], clock: Clock | None = None, **more: Any) -> Proxy:
            return await stack.enter_async_context(running(config, clock=clock, **more))

        yield start


@pytest.fixture
async def proxy(serve: Serve, one: FakeUpstream) -> Proxy:
    """A proxy in front of one fake."""
    return await serve(document({"one": upstream(one)}))


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Child]]]:
    """Start `failsoft serve` on a document as a process; it must end with code 0 at the end of the test."""
    children: list[Child] = []

    async def start(config: Mapping[str, Any], *arguments: str) -> Child:
        state = {"FAILSOFT_STATE": str(tmp_path / "state")}
        child = await Child.start("serve", str(write(config, tmp_path)), *arguments, environment=state)
        children.append(child)
        return child

    yield start
    for child in children:
        assert await child.stop() == 0, "\n".join(child.output)
