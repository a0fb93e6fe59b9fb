"""The connections to one origin: lent to one exchange at a time, kept warm for a while, never more than a limit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from proxy.adapters.http1.connection import Connection
from proxy.core.decision import Timeouts
from proxy.core.errors import ErrorKind, UpstreamFailure

Dial = Callable[[Timeouts, Connection], Awaitable[None]]
"""Opens the connection; raises `UpstreamFailure`."""


class Pool:
    """Last in, first out, so that the connections that are not needed grow old and are closed.

    A *place* is the right to hold one connection. It is taken before dialling and freed when the connection is
    given up; who finds none free queues, and is handed either a connection or a place.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, dial: Dial, *, limit: int, keep_alive: float) -> None:
        self._loop = loop
        self._dial = dial
        self._keep_alive = keep_alive
        self._places = limit
        self._idle: deque[Connection] = deque()
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        self._connections: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._emptied: asyncio.Future[None] | None = None

    async def lease(self, timeouts: Timeouts, *, fresh: bool = False) -> Connection:
        """A connection for one exchange; `fresh` asks for one that was never used. Raises `UpstreamFailure`."""
        while True:
            connection = None if fresh else self._warmest()
            if connection is not None:
                return connection
            if self._take_place():
                return await self._open(timeouts)
            connection = await self._wait(timeouts.pool)
            if connection is None:
                return await self._open(timeouts)
            if fresh:
                connection.abort()
            elif connection.is_open:
                return connection

    async def close(self) -> None:
        """Abort all connections, those in use too, and wait until their sockets are closed."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._idle.clear()
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_exception(_refusal("the transport is closed"))
        for connection in tuple(self._connections):
            connection.abort()
        if self._connections:
            self._emptied = self._loop.create_future()
            await self._emptied

    # The connections' home.

    def take_back(self, connection: Connection) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._keep_alive, self._sweep)

    def give_up(self) -> None:
        self._free_place()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    # Inside.

    def _warmest(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def _take_place(self) -> bool:
        if not self._places and self._idle:
            self._idle.popleft().abort()  # whoever asks for a fresh one needs its place more
        if not self._places:
            return False
        self._places -= 1
        return True

    def _free_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._places += 1

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                return waiter
        return None

    async def _wait(self, seconds: float) -> Connection | None:
        """Queue for a connection or, None, a place."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._queue.append(waiter)
        timer = self._loop.call_later(seconds, _time_out, waiter, seconds)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._hand_on(waiter.result())
            raise
        finally:
            timer.cancel()

    def _hand_on(self, connection: Connection | None) -> None:
        if connection is None:
            self._free_place()
        elif connection.is_open:
            self.take_back(connection)

    async def _open(self, timeouts: Timeouts) -> Connection:
        """Dial; the caller has taken a place, which is the connection's from here on."""
        connection = Connection(self._loop, self)
        is_usable = False
        try:
            await self._dial(timeouts, connection)
            is_usable = connection.is_open and not self._is_closed
        finally:
            if not is_usable:
                connection.abort()
        if not is_usable:
            raise _refusal("closed as soon as it was open")
        self._connections.add(connection)
        return connection

    def _sweep(self) -> None:
        """Close what has been idle for too long; look again when the next will have been."""
        self._sweeper = None
        oldest_kept = self._loop.time() - self._keep_alive
        idle = self._idle
        while idle and (not idle[0].is_open or idle[0].idle_since <= oldest_kept):
            idle.popleft().abort()
        if idle and not self._is_closed:
            self._sweeper = self._loop.call_at(idle[0].idle_since + self._keep_alive, self._sweep)


def _time_out(waiter: asyncio.Future[Connection | None], seconds: float) -> None:
    if not waiter.done():
        waiter.set_exception(_refusal(f"no free connection within {seconds:g} s"))


def _refusal(detail: str) -> UpstreamFailure:
    return UpstreamFailure(ErrorKind.CONNECT, detail, sent=False)
