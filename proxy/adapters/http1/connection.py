"""One connection to an origin: writes a request as fast as the peer takes it, and hands on what comes back."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from proxy.adapters.http1.deadline import Deadline

_TOGETHER: Final = 64 * 1024  # a body up to this size goes out in one write with the head
_SLICE: Final = 256 * 1024  # larger ones in slices of this size, each when the transport has room


class Exchange(Protocol):
    """One request and its answer, as the connection sees it."""

    def feed(self, data: bytes) -> None:
        """Bytes came."""

    def end(self) -> None:
        """The peer sends no more."""

    def lose(self, error: Exception | None) -> None:
        """The connection is gone; `error` is None if nobody is to blame."""

    def written(self) -> None:
        """The request is fully handed over to the transport."""

    def overdue(self) -> None:
        """The connection's deadline has passed."""


class Home(Protocol):
    """Where a connection belongs."""

    def take_back(self, connection: Connection) -> None:
        """It is ready for the next exchange."""

    def give_up(self) -> None:
        """It will carry nothing more; its place is free. Called once."""

    def forget(self, connection: Connection) -> None:
        """Its socket is closed. Called once, last, if it ever was open."""


class Connection(asyncio.Protocol):
    """Carries one exchange after another; between them, anything that arrives closes it."""

    __slots__ = (
        "_exchange",
        "_home",
        "_is_choked",
        "_is_retired",
        "_rest",
        "_transport",
        "deadline",
        "idle_since",
        "is_open",
        "loop",
        "served",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, home: Home) -> None:
        self.loop = loop
        self._home = home
        self._transport: asyncio.Transport  # there once it is open
        self._exchange: Exchange | None = None
        self._rest: memoryview | None = None
        self._is_choked = False
        self._is_retired = False
        self.deadline = Deadline(loop, self._overdue)
        self.idle_since = 0.0
        self.is_open = False
        self.served = 0

    # What the exchange and the pool do with it.

    def begin(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        """Send a request; `exchange` hears of all that follows."""
        self._exchange = exchange
        if len(body) <= _TOGETHER:
            self._transport.write(head + body if body else head)
            exchange.written()
        else:
            self._transport.write(head)
            self._rest = memoryview(body)
            self._pump()

    def release(self) -> None:
        """The exchange is over and the wire is clean: the connection may carry another."""
        self._exchange = None
        self.served += 1
        self._home.take_back(self)

    def abort(self) -> None:
        """Close at once; what is unsent is dropped. Safe to call twice, and before it is open."""
        was_open = self.is_open
        self._retire()
        if was_open:
            self._transport.abort()

    @property
    def is_sent(self) -> bool:
        """The whole request is handed over to the transport."""
        return self._rest is None

    @property
    def unsent(self) -> int:
        """Bytes of the request that the kernel has not taken yet."""
        return (len(self._rest) if self._rest else 0) + self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Let the peer's bytes wait in the kernel's buffers, and then in the peer's."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # What the event loop does with it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # nothing was asked: a late 408, or the tail of an answer that lied about its length
        else:
            exchange.feed(data)

    def eof_received(self) -> None:
        if self._exchange is None:
            self.abort()
        else:
            self._exchange.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._retire()
        self.deadline.close()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lose(exc)
        self._home.forget(self)

    def pause_writing(self) -> None:
        self._is_choked = True

    def resume_writing(self) -> None:
        self._is_choked = False
        if self._rest is not None:
            self._pump()

    def _pump(self) -> None:
        rest = self._rest
        while rest and not self._is_choked:
            self._transport.write(rest[:_SLICE])
            rest = rest[_SLICE:]
        self._rest = rest or None
        if self._rest is None and self._exchange is not None:
            self._exchange.written()

    def _overdue(self) -> None:
        if self._exchange is not None:
            self._exchange.overdue()

    def _retire(self) -> None:
        self.is_open = False
        self._rest = None
        self.deadline.clear()
        if not self._is_retired:
            self._is_retired = True
            self._home.give_up()
