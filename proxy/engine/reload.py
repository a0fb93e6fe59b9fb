"""Swap the configuration of a running process: all of it or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from proxy.config.compile import Snapshot
from proxy.config.problems import ConfigError
from proxy.engine.live import Live

log = logging.getLogger("failsoft")

_STATIC = ("server", "storage", "logging")


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of one attempt. `needs_restart` names the changed keys that take effect at a start only."""

    at: datetime
    ok: bool
    fingerprint: str
    problems: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


class Reloader:
    """Reads, checks and swaps; `read` raises ConfigError for a file that is not fit, its own failing tests included.

    The file is read off the event loop. Requests under way keep the snapshot they began with; what lives longer is
    keyed by name and stays. A bad file changes nothing but what `last` tells.
    """

    def __init__(self, live: Live, read: Callable[[], Snapshot]) -> None:
        self._live = live
        self._read = read
        self._turn = asyncio.Lock()
        self.last: Reload | None = None
        self.succeeded = 0
        self.failed = 0

    async def reload(self) -> Reload:
        """One attempt; attempts wait for one another."""
        async with self._turn:
            old, at = self._live.snapshot, self._live.clock.wall()
            try:
                new = await asyncio.to_thread(self._read)
            except ConfigError as error:
                self.failed += 1
                self.last = Reload(at, False, old.fingerprint, tuple(str(problem) for problem in error.problems))
                log.error("the configuration was not reloaded: %s", error)
            else:
                self.succeeded += 1
                self._live.snapshot = new
                self.last = Reload(at, True, new.fingerprint, needs_restart=changed_static(old, new))
                log.info("configuration %s is in force", new.fingerprint)
                if self.last.needs_restart:
                    log.warning("these changes need a restart: %s", ", ".join(self.last.needs_restart))
            return self.last


def changed_static(old: Snapshot, new: Snapshot) -> tuple[str, ...]:
    """The keys whose new values wait for a restart, as `server.port`."""
    return tuple(
        f"{section}.{name}"
        for section in _STATIC
        for name in type(getattr(new, section)).model_fields
        if getattr(getattr(old, section), name) != getattr(getattr(new, section), name)
    )
