"""Start the real model server, ask it how it is, and stop it."""

import json
import os
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

DEADLINE = 60.0
"""Seconds after which waiting is pointless; nothing here takes a second on an idle machine."""


@dataclass(frozen=True, slots=True)
class Llama:
    """A running server: its address without `/v1`, its log, the model's id, and whether that is the tiny one."""

    url: str
    log: Path
    model: str
    tiny: bool

    @property
    def base_url(self) -> str:
        """What an OpenAI client is pointed at."""
        return f"{self.url}/v1"

    def ask(self, path: str) -> Any:
        """The JSON answer to `GET path`."""
        with urllib.request.urlopen(self.url + path, timeout=DEADLINE) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, object]) -> Any:
        """The JSON answer to `POST path` with `body`."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.load(answer)

    def busy(self) -> bool:
        """Whether any slot works on an answer."""
        return any(slot["is_processing"] for slot in self.ask("/slots"))

    def cancelled(self) -> int:
        """How many answers the server gave up because their caller had left, by its log.

        The log and not `GET /slots`, because asking would disturb: while it waits for a whole answer the server
        looks after its caller only when no other task has finished for a second.
        """
        return self.log.read_bytes().count(b"cancel task")


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Poll until `true()`; AssertionError with `what` when the deadline passes."""
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, f"waited {DEADLINE:.0f} s in vain: {what}"
        time.sleep(0.01)


@contextmanager
def running(model: Path, log: Path, *, tiny: bool) -> Iterator[Llama]:
    """The server with `model`, up and healthy; its log is in `log`. Stopped, by its own process, at the end."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "tests.real.serve", str(model), str(writer)]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            pass_fds=(writer,),
        )
    os.close(writer)
    try:
        url = _address(reader)
        assert url, f"the model server did not start:\n{log.read_text(errors='replace')[-4000:]}"
        server = Llama(url, log, "", tiny)
        wait_until(lambda: server.ask("/health") == {"status": "ok"}, "GET /health")
        yield replace(server, model=server.ask("/v1/models")["data"][0]["id"])
    finally:
        process.terminate()
        process.communicate()


def _address(reader: int) -> str:
    """What the child writes into the pipe before it closes it; empty if it dies first or says nothing in time."""
    with os.fdopen(reader) as pipe:
        readable, _, _ = select.select([pipe], [], [], DEADLINE)
        return pipe.read() if readable else ""
