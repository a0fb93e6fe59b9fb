"""Requests and their outcomes in the words of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy.adapters.transport_http import HttpTransport
from proxy.core.decision import Origin, Timeouts
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import Transport, WireRequest, WireResponse

PATIENT = Timeouts(connect=60, tls=60, pool=60, write=60, first_byte=60, idle=60)
"""For tests whose law is not about time."""

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Got:
    """An answer read to its end."""

    status: int
    body: bytes


def wire(
    origin: Origin,
    *,
    method: str = "GET",
    path: str = "/",
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    timeouts: Timeouts = PATIENT,
) -> WireRequest:
    return WireRequest(origin, method, path, headers, body, timeouts)


async def read_all(response: WireResponse) -> bytes:
    pieces = []
    while piece := await response.read():
        pieces.append(piece)
    return b"".join(pieces)


async def ask(transport: Transport, request: WireRequest) -> Got:
    """Send, read to the end, close."""
    response = await transport.send(request)
    try:
        return Got(response.status, await read_all(response))
    finally:
        response.close()


async def outcome(transport: Transport, request: WireRequest) -> Got | ErrorKind:
    """What `ask` gives, or the kind of its failure."""
    try:
        return await ask(transport, request)
    except UpstreamFailure as failure:
        return failure.kind


def strangers(known: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    """Tasks that are there now and were not before."""
    return {task for task in asyncio.all_tasks() - known if not task.done()}


async def cancel_at_every_turn(make: Callable[..., HttpTransport], origin: Origin) -> None:
    """Cancel a call after 0, 1, 2 … turns of the loop until one is quick enough; each must clean up after itself."""
    known = asyncio.all_tasks()
    for turns in range(1000):
        transport = make()
        task = asyncio.create_task(ask(transport, wire(origin, method="POST", body=b"x" * 300_000)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        ended = await asyncio.gather(task, return_exceptions=True)
        mine = {stray for stray in strangers(known) if "proxy/adapters" in str(stray.get_coro())}
        assert mine == set()
        pool = transport._places[origin].pool if origin in transport._places else None
        is_kept = not isinstance(ended[0], BaseException)
        if pool is not None:
            assert pool._places + len(pool._idle) == 10_000
        await transport.aclose()
        if is_kept:
            assert ended == [Got(200, b"ok")]
            return
    raise AssertionError("the call never came to its end")
