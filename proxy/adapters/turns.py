"""Whose turn it is to change what a local server has in memory, between processes: one lock file for each server."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("failsoft")

_EVERY = 0.2  # seconds between two looks whether the turn has come; a load takes many


class TurnFolder:
    """The turns of all servers. A process that ends, however that is, has none any more: the kernel sees to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def turn(self, url: str) -> AsyncIterator[None]:
        """See `core.ports.Turn`. Where no file can be made, everybody is alone, and it is said."""
        try:
            opened = self._open(url)
        except OSError as error:
            log.warning("models may be loaded twice, for processes cannot take turns: %s", error)
            yield
            return
        try:
            while not _is_locked(opened):  # noqa: ASYNC110 — another process can set no event of ours
                await asyncio.sleep(_EVERY)
            yield
        finally:
            os.close(opened)

    def _open(self, url: str) -> int:
        """The file stays: if it were removed, somebody might wait for one that nobody else sees."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        return os.open(self._folder / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)


def _is_locked(opened: int) -> bool:
    """Try to take the lock; true if it is ours now. Where there are no such locks everybody is alone."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
