"""The operators' log: one line of JSON for each of their deeds, in a file that is only ever appended to."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import msgspec

from proxy.adapters.logs import clean
from proxy.core.ports import Deed, Deeds

log = logging.getLogger("failsoft")

MOST = 200
"""Deeds that are shown at most."""

_FIELD = 500  # characters of a field that are kept
_TAIL = 1 << 20  # bytes at the end of the file that are read; more than MOST lines can have


class AuditLog:
    """An `Audit`. Writes and reads by a thread of its own, in the order they were asked for.

    The file is opened for each line, so it may be moved away at any time; several processes may share it. What cannot
    be written is kept in memory and said.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._unsaved: deque[Deed] = deque(maxlen=MOST)
        self._trouble: str | None = None
        self._is_torn = False
        self._thread = ThreadPoolExecutor(1, "failsoft-audit")

    def write(self, deed: Deed) -> None:
        """Any field may come from a stranger: each is on one line, without control characters, and not long."""
        tidy = Deed(deed.at, *(_tidy(getattr(deed, field.name)) for field in fields(deed)[1:]))
        self._thread.submit(self._save, tidy)

    async def latest(self, limit: int) -> Deeds:
        return await asyncio.wrap_future(self._thread.submit(self._latest, limit))

    def close(self) -> None:
        """Wait until all is written."""
        self._thread.shutdown()

    def _save(self, deed: Deed) -> None:
        line = msgspec.json.encode(deed) + b"\n"
        try:
            self._append(b"\n" + line if self._is_torn else line)
        except OSError as error:
            self._unsaved.append(deed)
            self._trouble = f"{self._file}: {error.strerror}"
            log.error(
                "the audit log cannot be written (%s): %s %s by %s, %s", self._trouble, deed.action, deed.subject,
                deed.who, deed.result,
            )  # fmt: skip
        else:
            self._trouble = None

    def _append(self, line: bytes) -> None:
        """One write, so that lines of several processes never mix; a part of one, on a full disk, gets a line's end."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            written = os.write(descriptor, line)
            self._is_torn = 0 < written < len(line)
            if written < len(line):
                raise OSError(0, "not all of a line was written")
        finally:
            os.close(descriptor)

    def _latest(self, limit: int) -> Deeds:
        known = sorted([*self._saved(), *self._unsaved], key=lambda deed: deed.at)
        return Deeds(known[::-1][:limit], self._trouble)

    def _saved(self) -> Iterator[Deed]:
        """What stands at the end of the file; lines that are none are passed over."""
        try:
            with self._file.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                lines = file.read().splitlines()
        except OSError:
            return
        for line in lines[-MOST:]:
            try:
                yield msgspec.json.decode(line, type=Deed)
            except msgspec.MsgspecError:
                continue


def _tidy(text: str) -> str:
    return clean(text[:_FIELD])
