"""The HTTP/1.1 upstream client: a `Transport` on asyncio's protocols and llhttp (ADR 0002)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from proxy.adapters.http1.connection import Connection
from proxy.adapters.http1.dial import Dialler
from proxy.adapters.http1.pool import Pool
from proxy.adapters.http1.request import encode_head, standing_lines
from proxy.adapters.http1.response import Response
from proxy.core.decision import Origin
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import WireRequest


@dataclass(frozen=True, slots=True)
class _Place:
    """What is kept per origin: its connections, and the part of a request's head that never changes."""

    pool: Pool
    standing: bytes


class HttpTransport:
    """Carries requests to any number of origins; belongs to the event loop it is first used in.

    `keep_alive`: seconds an unused connection is kept. `limit`: connections per origin, idle ones included;
    beyond it `send` waits for `Timeouts.pool`, then fails with CONNECT. `dialler` may be shared.
    """

    def __init__(self, *, keep_alive: float = 15.0, limit: int = 10_000, dialler: Dialler | None = None) -> None:
        self._keep_alive = keep_alive
        self._limit = limit
        self._dialler = dialler or Dialler()
        self._places: dict[Origin, _Place] = {}
        self._is_closed = False

    async def send(self, request: WireRequest) -> Response:
        """Send and await the head of the answer. Redirects come back as they are; 1xx are passed over."""
        if self._is_closed:
            raise UpstreamFailure(ErrorKind.CONNECT, "the transport is closed", sent=False)
        place = self._places.get(request.origin) or self._open_place(request.origin)
        head = encode_head(request, place.standing)
        connection = await place.pool.lease(request.timeouts)
        is_kept = connection.served > 0
        response = await _exchange(connection, head, request)
        if is_kept and response.is_unheard:
            # RFC 9112, 9.3.1: the peer may close a kept connection at any time, also while we write to it.
            connection = await place.pool.lease(request.timeouts, fresh=True)
            response = await _exchange(connection, head, request)
        if not response.has_head:
            raise response.failure()
        return response

    async def aclose(self) -> None:
        """Close all connections, those in use too; afterwards `send` fails with CONNECT."""
        self._is_closed = True
        for place in self._places.values():
            await place.pool.close()

    def _open_place(self, origin: Origin) -> _Place:
        loop = asyncio.get_running_loop()
        dial = partial(self._dialler.dial, origin)
        pool = Pool(loop, dial, limit=self._limit, keep_alive=self._keep_alive)
        place = self._places[origin] = _Place(pool, standing_lines(origin))
        return place


async def _exchange(connection: Connection, head: bytes, request: WireRequest) -> Response:
    """A response with its head, else a closed one that has failed; cancelling leaves no connection behind."""
    response = Response(connection, request.timeouts, is_head=request.method == "HEAD")
    is_answered = False
    try:
        response.begin(head, request.body)
        await response.wait_head()
        is_answered = response.has_head
    finally:
        if not is_answered:
            response.close()
    return response
