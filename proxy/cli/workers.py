"""Several processes on one port: signals are handed on to each, and one that ends is replaced."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from proxy import bootstrap
from proxy.adapters.watch import signature
from proxy.config.load import bytes_of
from proxy.config.problems import ConfigError

log = logging.getLogger("failsoft")

_COULD_NOT_BEGIN = 3  # the exit code of a worker of uvicorn
_LOOK = 0.1  # seconds between two looks at workers that are ending


def run_workers(file: Path, count: int, settings: dict[str, Any], announce: Callable[[int], None]) -> int:
    """Serve `file` by `count` processes until told to stop; 1 if they could not begin, else 0.

    `settings` are the server's; `announce` is told the port. Raises ConfigError if the file is not readable any more.
    """
    good = LastGood(file)
    config = uvicorn.Config(_worker(good, settings["host"]), factory=True, workers=count, **settings)
    workers = _Workers(config, good)
    announce(workers.sockets[0].getsockname()[1])
    workers.run()
    return int(any(process.exitcode == _COULD_NOT_BEGIN for process in workers.processes))


def _worker(good: LastGood, host: str) -> Any:
    return partial(bootstrap.worker, good.file, host, good.data)


class LastGood:
    """What was in a file when it was last fit: what a process that is started later can begin with.

    `look` is called again and again; like `adapters.watch`, it does not read a file that is being written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known = self._before = signature(file)
        self.data = bytes_of(file)

    def look(self) -> None:
        """Read the file if it has changed and is whole."""
        now = signature(self.file)
        if now is not None and now == self._before and now != self._known:
            self._known = now
            self.read()
        self._before = now

    def read(self) -> None:
        """Take over what is in the file, if a reload would put it in force."""
        with contextlib.suppress(ConfigError):
            data = bytes_of(self.file)
            bootstrap.proved(data, self.file)
            self.data = data


class _Workers(Multiprocess):
    def __init__(self, config: uvicorn.Config, good: LastGood) -> None:
        super().__init__(config, [config.bind_socket()])
        self._good = good

    def keep_subprocess_alive(self) -> None:
        """Replace whoever has ended, and say so."""
        self._good.look()
        self.config.app = _worker(self._good, self.config.host)
        before = list(self.processes)
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if old is not new:
                log.error("worker %s has ended (%s); %s takes its place", old.pid, old.exitcode, new.pid)

    def handle_hup(self) -> None:
        self._good.read()
        self.hand_on(signal.SIGHUP)

    def join_all(self) -> None:
        """A second signal, while they are ending, tells them to hurry."""
        while any(process.process.is_alive() for process in self.processes):
            if self.signal_queue:
                self.signal_queue.clear()
                self.hand_on(signal.SIGTERM)
            time.sleep(_LOOK)
        super().join_all()

    def hand_on(self, number: int) -> None:
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, number)
