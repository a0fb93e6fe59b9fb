"""Swap the configuration of a running process: all of it or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from proxy.config.compile import Snapshot, exposure
from proxy.config.problems import ConfigError
from proxy.config.schema import Config
from proxy.engine.live import Live

log = logging.getLogger("failsoft")

_STATIC = ("server", "storage", "logging")
_LOGGED = 20  # problems of one file; all of them are in the status


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of one attempt. `needs_restart` names the keys whose new values take effect at the next start only."""

    at: datetime
    ok: bool
    fingerprint: str
    problems: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


class Reloader:
    """Reads, checks and swaps; `read` raises ConfigError for a file that is not fit, its own failing tests included.

    The file is read off the event loop. Requests under way keep the snapshot they began with; what lives longer is
    kept by name and stays. A bad file changes nothing but what `last` tells. `swapped` is called after each swap.
    """

    def __init__(self, live: Live, read: Callable[[], Snapshot], swapped: Callable[[], None]) -> None:
        self._live = live
        self._read = read
        self._swapped = swapped
        self._started_with = live.snapshot.config
        self._turn = asyncio.Lock()
        self.last: Reload | None = None
        self.succeeded = 0
        self.failed = 0

    async def reload(self) -> Reload:
        """One attempt; attempts wait for one another."""
        async with self._turn:
            at = self._live.clock.wall()
            try:
                new = await asyncio.to_thread(self._read)
            except ConfigError as error:
                self.last = self._keep(at, tuple(str(problem) for problem in error.problems))
            else:
                refusal = exposure(self._live.server, new.anonymous)
                self.last = self._swap(at, new) if refusal is None else self._keep(at, (refusal,))
            return self.last

    def _keep(self, at: datetime, problems: tuple[str, ...]) -> Reload:
        self.failed += 1
        for problem in problems[:_LOGGED]:
            log.error("the configuration was not reloaded: %s", problem)
        return Reload(at, False, self._live.snapshot.fingerprint, problems)

    def _swap(self, at: datetime, new: Snapshot) -> Reload:
        self.succeeded += 1
        self._live.snapshot = new
        self._swapped()
        needs_restart = changed_static(self._started_with, new.config)
        log.info("configuration %s is in force", new.fingerprint)
        if needs_restart:
            log.warning("these changes need a restart: %s", ", ".join(needs_restart))
        return Reload(at, True, new.fingerprint, needs_restart=needs_restart)


def changed_static(started_with: Config, new: Config) -> tuple[str, ...]:
    """The keys whose new values wait for a restart, as `server.port`."""
    return tuple(
        f"{section}.{name}"
        for section in _STATIC
        for name in type(getattr(new, section)).model_fields
        if getattr(getattr(started_with, section), name) != getattr(getattr(new, section), name)
    )
