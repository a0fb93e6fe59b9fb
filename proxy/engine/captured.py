"""A reply that is kept instead of sent: for requests that the proxy makes of itself."""

from __future__ import annotations

from collections.abc import Sequence


class CapturedReply:
    """The engine's `Reply`, in memory."""

    def __init__(self) -> None:
        self.started = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.started = True
        self.status = status
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}

    async def write(self, data: bytes) -> None:
        self.body += data

    async def finish(self, data: bytes = b"") -> None:
        self.body += data
