"""What the fake saw of one request, as it goes on: evidence for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.upstream.request import Request
from tests.upstream.script import PATIENCE


@dataclass(eq=False)
class Seen:
    """One request and what became of its answer. Times are monotonic seconds.

    `sent` is the answer's body as it was meant: before gzip and chunked framing, all that has been written so far.
    `answered` is set once the script has run to its end. `gone` is when the connection ended, whoever ended it;
    `left` is true if the peer closed it before the answer was complete. `stalled` is
    true once the peer has read too slowly for the answer to go on.
    """

    request: Request
    connection: int
    arrived: float = field(default_factory=time.monotonic)
    sent: bytearray = field(default_factory=bytearray)
    wire_bytes: int = 0
    frames: int = 0
    answered: float | None = None
    gone: float | None = None
    left: bool = False
    stalled: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name."""
        return {name.lower(): value for name, value in self.request.headers}

    @property
    def body(self) -> bytes:
        return self.request.body

    async def closed(self) -> None:
        """Wait until the connection has ended; `left` then tells whether the peer went away early."""
        await self._until(lambda: self.gone is not None)

    async def sent_frames(self, count: int) -> None:
        """Wait until `count` frames of the answer have been written."""
        await self._until(lambda: self.frames >= count)

    async def stuck(self) -> None:
        """Wait until the peer's slow reading has held up the answer."""
        await self._until(lambda: self.stalled)

    async def finished(self) -> None:
        """Wait until the script has run to its end."""
        await self._until(lambda: self.answered is not None)

    def mark(self) -> None:
        """Wake those who wait; called after every change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await self._changed.wait()
