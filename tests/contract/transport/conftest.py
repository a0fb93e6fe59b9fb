"""Both event loops for every test here; both transports for those that ask for `transport`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
import uvloop

from proxy.adapters.transport_http import HttpTransport
from proxy.core.ports import Transport
from tests.contract.transport.aiohttp_oracle import AiohttpTransport


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(params=[HttpTransport, AiohttpTransport], ids=["ours", "aiohttp"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    made: Transport = request.param()
    yield made
    await made.aclose()


@pytest_asyncio.fixture
async def ours() -> AsyncIterator[Callable[..., HttpTransport]]:
    """Makes transports that are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(**options: float) -> HttpTransport:
            made = HttpTransport(**options)  # type: ignore[arg-type]
            stack.push_async_callback(made.aclose)
            return made

        yield make
