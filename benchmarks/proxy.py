"""The main comparison: the same work through every rival in turn, round after round."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import BUILD, LOOPBACK, Cores, Process, compile_tool, free_port
from benchmarks.rivals import KEY, MODEL, Rival

EVENTS = 200  # of a stream
INTERVAL = 20_000  # microseconds between two events
STREAMS = 40
SILENT_STREAMS = 1000
MANY_STREAMS = 5000
CONNECTIONS = 32
RATE = 100  # requests/s of the open loop
START_LIMIT = 60  # seconds until a rival must have answered
FREED_LIMIT = 8  # seconds within which abandoned streams should be free
MARKER = b"The mock upstream wrote this."


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is measured in each round."""

    milliseconds: int
    """Of the closed loop; the open loop takes twice as long."""
    flooded: int
    """Streams without a pace."""


WHOLE = Amount(milliseconds=3000, flooded=400)
QUICK = Amount(milliseconds=1000, flooded=100)


@dataclass(slots=True)
class Results:
    """values[rival][metric] is one number per round; faults say what went wrong, so that no number hides it."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    faults: list[str] = field(default_factory=list)

    def fault(self, rival: Rival, what: str) -> None:
        """Record that something went wrong."""
        self.faults.append(f"{rival.name}: {what}")
        print(f"  ! {self.faults[-1]}", flush=True)


@dataclass(frozen=True, slots=True)
class Running:
    """A rival that has answered, with a mock of its own; `process` is None where there is no proxy."""

    rival: Rival
    port: int
    mock_port: int
    process: Process | None


class NotStartedError(Exception):
    """A rival did not answer."""


class Bench:
    """What is measured, and where the numbers go."""

    def __init__(self, cores: Cores, amount: Amount, results: Results) -> None:
        self.cores = cores
        self.amount = amount
        self.results = results
        self._load = compile_tool("load")
        self._mock = compile_tool("mock")

    @contextlib.contextmanager
    def mock(self) -> Iterator[int]:
        """Run a mock upstream; gives its port."""
        port = free_port()
        argv = ("taskset", "-c", str(self.cores.tools), self._mock, str(port), str(EVENTS), str(INTERVAL))
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as mock:
            try:
                assert mock.stdout is not None
                if mock.stdout.readline() != b"ready\n":
                    sys.exit("the mock upstream did not start")
                yield port
            finally:
                mock.kill()

    def note(self, running: Running, **metrics: float) -> None:
        """Record numbers of this round."""
        for name, value in metrics.items():
            self.results.values[running.rival.name][name].append(value)

    @contextlib.contextmanager
    def start(self, rival: Rival) -> Iterator[Running]:
        """Run a rival and its mock; notes the time until the first answer, and the memory then."""
        with self.mock() as mock_port, tempfile.TemporaryDirectory(prefix="bench-") as folder:
            if rival.launch is None:
                yield Running(rival, mock_port, mock_port, None)
                return
            port = free_port()
            launch = rival.launch(port, mock_port, Path(folder))
            environment = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", **launch.environment}
            with Process(launch.argv, self.cores.proxy, Path(folder) / "output.log", environment) as process:
                running = Running(rival, port, mock_port, process)
                seconds = await_first_answer(running)
                self.note(running, start_s=seconds, idle_mib=process.rss() / 2**20)
                yield running

    def load(self, running: Running, mode: str, *words: int) -> dict[str, Any] | None:
        """Run the load generator; None, and a fault, if an answer was missing or wrong."""
        argv = self._command(running, mode, *words)
        done = subprocess.run(argv, capture_output=True, check=False)
        if done.returncode:
            self.results.fault(running.rival, f"{mode}: {done.stderr.decode(errors='replace').strip()}")
            return None
        result: dict[str, Any] = json.loads(done.stdout.decode(errors="replace"))
        if result["errors"]:
            self.results.fault(running.rival, f"{mode}: {result['errors']} errors, the first: {result['first_error']}")
            return None
        return result

    def _command(self, running: Running, mode: str, *words: int) -> list[str | Path]:
        where = (str(running.port), running.rival.path, KEY, MODEL)
        return ["taskset", "-c", str(self.cores.tools), self._load, mode, *where, *map(str, words)]

    def requests(self, running: Running) -> None:
        """Closed loop: CPU per request, requests/s."""
        before = cpu(running)
        result = self.load(running, "requests", CONNECTIONS, self.amount.milliseconds, 0)
        if result is None:
            return
        used = cpu(running) - before
        self.note(running, requests_s=result["requests"] / result["seconds"])
        if running.process:
            self.note(running, us_request=used / 1000 / result["requests"])

    def latency(self, running: Running) -> None:
        """Open loop at a rate that nobody finds hard: the latency of each request from the moment it was due."""
        result = self.load(running, "requests", 64, self.amount.milliseconds * 2, RATE)
        if result is not None:
            self.note(running, p50_ms=result["p50_ms"], p99_ms=result["p99_ms"])

    def streams(self, running: Running) -> None:
        """Paced streams, checked character by character: CPU per relayed event."""
        before = cpu(running)
        result = self.load(running, "streams", STREAMS, EVENTS, INTERVAL)
        if result is not None and running.process:
            self.note(running, us_chunk=(cpu(running) - before) / 1000 / (STREAMS * EVENTS))

    def flood(self, running: Running) -> None:
        """Streams as fast as they are taken, checked too; here events may travel together."""
        streams = max(STREAMS // 4, int(self.amount.flooded * running.rival.scale))
        result = self.load(running, "flood", streams, EVENTS)
        if result is not None:
            self.note(running, chunks_s=streams * EVENTS / result["seconds"])

    def memory(self, running: Running) -> None:
        """Silent streams, held and abandoned: one for the delay, a thousand for memory and for the crowd."""
        self.load(running, "requests", 4, 300, 0)  # so that what is made once is not counted as a stream's
        alone = self._hold(running, 1)
        crowd = self._hold(running, SILENT_STREAMS)
        if alone is not None and alone.freed is not None:
            self.note(running, freed_one_s=alone.freed)
        if crowd is not None:
            if running.process:
                self.note(running, kib_stream=crowd.grown / 1024 / SILENT_STREAMS)
            if crowd.freed is not None:
                self.note(running, freed_s=crowd.freed)

    def many(self, running: Running) -> None:
        """Hold 5,000 silent streams at once."""
        if running.rival.holds_thousands and (held := self._hold(running, MANY_STREAMS)):
            self.note(running, held=held.alive)

    def _hold(self, running: Running, count: int) -> Held | None:
        left = stats(running)["open"]  # by an earlier part, if the rival does not free what is abandoned
        before = rss(running)
        argv = self._command(running, "silent", count)
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(argv, text=True, **pipes) as load:
            assert load.stdout is not None
            if not load.stdout.readline():
                _, why = load.communicate()
                self.results.fault(running.rival, f"{count} silent streams: {why.strip()}")
                return None
            grown = rss(running) - before
            answer, _ = load.communicate("go\n")
        told = json.loads(answer)
        if told["alive"] != count:
            self.results.fault(running.rival, f"only {told['alive']} of {count} silent streams stayed open")
        deadline = time.monotonic() + FREED_LIMIT
        while (counts := stats(running))["open"] > left and time.monotonic() < deadline:
            time.sleep(0.005)
        if kept := counts["open"] - left:
            self.results.fault(
                running.rival, f"{kept} of {count} abandoned streams were not freed within {FREED_LIMIT} s"
            )
        return Held(grown, told["alive"], None if kept else (counts["last_abort"] - told["abandoned"]) / 1e9)


@dataclass(frozen=True, slots=True)
class Held:
    """What holding silent streams showed: bytes grown, streams alive, seconds until all were free upstream."""

    grown: int
    alive: int
    freed: float | None


PARTS: Mapping[str, Callable[[Bench, Running], None]] = {
    "memory": Bench.memory,
    "latency": Bench.latency,
    "requests": Bench.requests,
    "streams": Bench.streams,
    "flood": Bench.flood,
}
"""In this order in each round."""


def stats(running: Running) -> dict[str, int]:
    """What the rival's mock has counted."""
    connection = http.client.HTTPConnection(LOOPBACK, running.mock_port, timeout=10)
    connection.request("GET", "/stats")
    counts: dict[str, int] = json.loads(connection.getresponse().read())
    connection.close()
    return counts


def cpu(running: Running) -> int:
    """Nanoseconds of CPU used so far by the proxy."""
    return running.process.cpu() if running.process else 0


def rss(running: Running) -> int:
    """Resident bytes of the proxy."""
    return running.process.rss() if running.process else 0


def await_first_answer(running: Running) -> float:
    """Ask until the mock's answer comes through; returns the seconds since the process was started."""
    process = running.process
    assert process is not None
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Say something."}]})
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    while process.is_alive and time.monotonic() - process.started < START_LIMIT:
        connection = http.client.HTTPConnection(LOOPBACK, running.port, timeout=START_LIMIT)
        try:
            connection.request("POST", running.rival.path, body, headers)
            if MARKER in connection.getresponse().read():
                return time.monotonic() - process.started
        except (OSError, http.client.HTTPException):
            pass  # it does not listen yet
        finally:
            connection.close()
        time.sleep(0.002)
    raise NotStartedError(f"did not answer; it printed: {process.tail()}")


def run(rivals: list[Rival], parts: list[str], rounds: int, amount: Amount, cores: Cores) -> Results:
    """Measure; a round starts fresh processes for memory, which leaves some of them busy, and again for the rest."""
    results = Results()
    for rival in rivals:
        results.values[rival.name] = defaultdict(list)
    bench = Bench(cores, amount, results)
    for turn in range(rounds):
        for stage in (["memory"], [part for part in PARTS if part != "memory"]):
            chosen = [part for part in stage if part in parts]
            if chosen:
                print(f"round {turn + 1} of {rounds}: {', '.join(chosen)}", flush=True)
                _run_stage(bench, rivals, chosen, turn)
    return results


def _run_stage(bench: Bench, rivals: list[Rival], parts: list[str], turn: int) -> None:
    """Start all rivals, let each part visit all of them, and stop them."""
    with contextlib.ExitStack() as stack:
        running: list[Running] = []
        for rival in rivals:
            try:
                running.append(stack.enter_context(bench.start(rival)))
            except NotStartedError as error:
                bench.results.fault(rival, str(error))
        first = turn % max(1, len(running))
        turned = running[first:] + running[:first]
        for part in parts:
            for one in turned:
                PARTS[part](bench, one)
        if turn == 0 and "memory" in parts:
            for one in turned:
                bench.many(one)


def import_seconds() -> float | None:
    """The self times of all imports that `failsoft serve` makes, by `python -X importtime`; None if one failed."""
    code = (
        "import proxy.cli.main, proxy.cli.serve, proxy.bootstrap, proxy.config.load, proxy.config.compile, "
        "uvicorn, uvicorn.protocols.http.httptools_impl, uvloop"
    )
    argv = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=BUILD.parent.parent)
    if done.returncode:
        return None
    lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()]
    return sum(int(own) for own, *_ in lines if own.strip().isdigit()) / 1e6
