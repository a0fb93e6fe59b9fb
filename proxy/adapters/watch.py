"""Notice that a file has changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

_EVERY = 0.5  # seconds; a look costs one system call

Signature = tuple[int, int, int] | None


def signature(file: Path) -> Signature:
    """What changes when the file does, also when an editor or a mount puts another in its place; None if it is gone."""
    try:
        status = os.stat(file)  # noqa: PTH116 — follows links, as a mounted configuration needs
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


async def watch(file: Path, changed: Callable[[], Awaitable[object]], every: float = _EVERY) -> None:
    """For ever: await `changed()` after each change.

    A file that is gone is not a change until it is back, and one that still changes from look to look is not read: half
    of a file can be a sound file too.
    """
    known = before = signature(file)
    while True:
        await asyncio.sleep(every)
        now = signature(file)
        if now is not None and now == before and now != known:
            known = now
            await changed()
        before = now
