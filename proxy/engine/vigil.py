"""The patience with one streamed answer: until its first word, between its words, and for all of it.

One timer serves all three, and nothing is done per piece: between two looks it does not matter when the answer grew.
"""

from __future__ import annotations

import asyncio

from proxy.core.decision import Timeouts
from proxy.core.errors import ErrorKind
from proxy.core.ports import WireResponse
from proxy.policy.lag import grace
from proxy.wire.dialects import Passage

_LAST_WORDS = 5.0
"""Seconds for what may follow a finish: the usage, and the end mark."""
_LOOKS = 4
"""In the time that an answer may take between two words; it is given up a quarter of that time late at most."""


class Vigil:
    """Makes `response` expire when it is too slow. `asked` is when the request went out, by the loop's clock.

    Pings and empty deltas are no words. While bytes lie here that nobody has read yet it is the client who is slow.
    """

    __slots__ = (
        "_due",
        "_ends",
        "_handle",
        "_is_at_end",
        "_loop",
        "_passage",
        "_quiet",
        "_response",
        "_step",
        "_written",
    )

    def __init__(self, response: WireResponse, passage: Passage, timeouts: Timeouts, asked: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._passage = passage
        self._step = timeouts.progress / _LOOKS
        self._ends = asked + timeouts.attempt
        self._quiet = 0
        self._written = 0
        self._is_at_end = False
        kind = ErrorKind.FIRST_TOKEN_TIMEOUT if timeouts.first_token < timeouts.attempt else ErrorKind.IDLE_TIMEOUT
        self._due = asked + min(timeouts.first_token, timeouts.attempt)  # uvloop's handles do not always know it
        self._handle = self._loop.call_at(self._due, self._ring, kind)

    def begun(self) -> None:
        """The first word is here."""
        self._handle.cancel()
        self._written = self._passage.written
        self._rest()

    def finished(self) -> None:
        """All is said but the usage and the end mark: they get a moment, whatever else still comes."""
        if not self._is_at_end:
            self._is_at_end = True
            self._handle.cancel()
            self._written = self._passage.written
            self._handle = self._loop.call_at(min(self._loop.time() + _LAST_WORDS, self._ends), self._leave)

    def stop(self) -> None:
        self._handle.cancel()

    def _rest(self) -> None:
        """Until the next look."""
        self._due = min(self._loop.time() + self._step, self._ends)
        self._handle = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        written = self._passage.written
        is_slow = written == self._written and not self._response.has_more
        self._written = written
        self._quiet = self._quiet + 1 if is_slow else 0
        if self._quiet >= _LOOKS or self._loop.time() >= self._ends:
            self._ring(ErrorKind.IDLE_TIMEOUT)
        else:
            self._rest()

    def _leave(self) -> None:
        """Unless another choice has begun since, or the client is behind."""
        if self._passage.finished and self._passage.written == self._written and not self._response.has_more:
            self._ring(ErrorKind.IDLE_TIMEOUT)
        else:
            self._is_at_end = False
            self._written = self._passage.written
            self._rest()

    def _ring(self, kind: ErrorKind) -> None:
        """It is over; but if the loop stood still, what has come meanwhile is heard before."""
        more = grace(self._due, self._loop.time())
        if more:
            self._handle = self._loop.call_later(more, self._response.expire, kind)
        else:
            self._response.expire(kind)
