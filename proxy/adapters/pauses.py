"""Which upstreams are in maintenance, one small file for each: all workers follow it, and so does the next start."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from proxy.adapters.watch import Signature, signature
from proxy.core.ports import Pause

log = logging.getLogger("failsoft")

_ENDING = ".json"
_EVERY = 1.0  # seconds; a look costs a few system calls


class PauseFolder:
    """A `PauseStore`. `tell` hears of each file that came, changed or went, whoever did it."""

    def __init__(self, folder: Path, tell: Callable[[str, Pause | None], object]) -> None:
        self._folder = folder
        self._tell = tell
        self._known: dict[str, Signature] = {}

    def put(self, upstream: str, pause: Pause | None) -> None:
        """The file is whole from the first moment on. The name is one that the configuration allows: no path."""
        file = self._folder / (upstream + _ENDING)
        if pause is None:
            file.unlink(missing_ok=True)
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_name(f".{upstream}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as opened:
                opened.write(msgspec.json.encode(pause))
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)

    def look(self) -> None:
        """Tell of everything that is otherwise than at the last look."""
        now = {name.removesuffix(_ENDING): signature(self._folder / name) for name in self._names()}
        before, self._known = self._known, now
        for name in before.keys() | now.keys():
            if before.get(name) == now.get(name):
                continue
            if name not in now:
                self._tell(name, None)
            elif (pause := self._read(name)) is not None:
                self._tell(name, pause)

    def _names(self) -> list[str]:
        """Those of the files; mostly there is not even a folder."""
        try:
            return [name for name in os.listdir(self._folder) if name.endswith(_ENDING)]  # noqa: PTH208 — half the time
        except OSError:
            return []

    async def follow(self) -> None:
        """For ever: look."""
        while True:
            await asyncio.sleep(_EVERY)
            self.look()

    def _read(self, name: str) -> Pause | None:
        file = self._folder / (name + _ENDING)
        try:
            return msgspec.json.decode(file.read_bytes(), type=Pause)
        except (OSError, msgspec.MsgspecError) as error:
            log.error("%s says nothing of maintenance: %s", file, type(error).__name__)
            return None
