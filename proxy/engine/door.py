"""What the process itself can bear: how many requests and how many bytes of bodies it has inside at once."""

from __future__ import annotations

import asyncio

from proxy.core.errors import ErrorKind, ProxyError
from proxy.engine.admission import come_back
from proxy.engine.live import Live
from proxy.policy.slots import SHED

SMALL = 64 << 10
"""Bytes; bodies up to this size are taken as long as the number of requests allows it."""


class Door:
    """One per process. `buffered` is the bytes of bodies that are being read or wait for an upstream's answer.

    `inside` are the tasks of the requests under way.
    """

    __slots__ = ("_live", "buffered", "inside")

    def __init__(self, live: Live) -> None:
        self._live = live
        self.buffered = 0
        self.inside: set[asyncio.Task[None]] = set()

    @property
    def is_closing(self) -> bool:
        """True once the process is about to end: no connection is kept for another request."""
        return self._live.draining

    def enter(self) -> asyncio.Task[None]:
        """The present task is a request from now on, until it is taken out of `inside`."""
        task = asyncio.current_task()
        assert task is not None
        self.inside.add(task)
        return task

    def check_crowd(self) -> None:
        """Raises OVERLOADED while as many requests are inside as the process takes."""
        if self._live.under_way >= self._live.server.max_in_flight:
            raise _overloaded()

    def hold(self) -> Hold:
        """For the body of one request."""
        return Hold(self)

    def has_room(self, size: int) -> bool:
        """Whether a body that turns out to have `size` bytes more may come in."""
        return self.buffered + size <= self._live.server.max_buffered


def check_batch(live: Live) -> None:
    """Raises OVERLOADED for what can wait, while SHED of the requests that the process takes are inside."""
    if live.under_way >= SHED * live.server.max_in_flight:
        raise _overloaded()


class Hold:
    """The bytes that one request has inside."""

    __slots__ = ("_door", "size")

    def __init__(self, door: Door) -> None:
        self._door = door
        self.size = 0

    def expect(self, size: int) -> None:
        """Raises OVERLOADED for a body of which it is said beforehand that it is too large at present."""
        if size > SMALL and not self._door.has_room(size):
            raise _overloaded()

    def take(self, size: int) -> None:
        """So many bytes have come in. Raises OVERLOADED if this body should come another time."""
        self.size += size
        self._door.buffered += size
        if self.size > SMALL and not self._door.has_room(0):
            raise _overloaded()

    def give(self) -> None:
        """They are gone; safe to call again."""
        self._door.buffered -= self.size
        self.size = 0


def _overloaded() -> ProxyError:
    return ProxyError(ErrorKind.OVERLOADED, retry_after=come_back())
