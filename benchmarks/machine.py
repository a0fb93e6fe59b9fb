"""What a measurement needs of the machine: two cores, compiled tools, processes, their CPU time and memory."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / "build"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Cores:
    """The core that everything under measurement shares, and the one for the mock and the load generator."""

    proxy: int
    tools: int


def choose_cores() -> Cores:
    """Two different cores where there are two; they may still be two threads of one physical core."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(proxy=usable[0], tools=usable[-1])


def share_a_core(cores: Cores) -> bool:
    """Whether the two are threads of one physical core, so that work on one slows the other."""
    siblings = Path(f"/sys/devices/system/cpu/cpu{cores.proxy}/topology/thread_siblings_list")
    if not siblings.exists() or cores.proxy == cores.tools:
        return cores.proxy == cores.tools
    spans = [span.split("-") for span in siblings.read_text().strip().split(",")]
    return any(int(span[0]) <= cores.tools <= int(span[-1]) for span in spans)


def allow_many_files() -> int:
    """Raise the limit of open files, which children inherit, as far as it goes; returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def compile_tool(name: str) -> Path:
    """Compile `c/<name>.c` unless the program is newer than every source."""
    program = BUILD / name
    sources = list((HERE / "c").iterdir())
    if not program.exists() or program.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        compiler = shutil.which("cc")
        if compiler is None:
            sys.exit("a C compiler called cc is needed to build the mock upstream and the load generator")
        BUILD.mkdir(exist_ok=True)
        source = HERE / "c" / f"{name}.c"
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return program


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A process group that we started, pinned to one core; use it as a context."""

    def __init__(self, argv: Sequence[str | Path], core: int, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self.started = time.monotonic()
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                [shutil.which("taskset") or sys.exit("taskset is needed"), "-c", str(core), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=log.parent,
                start_new_session=True,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Ask the group to end, wait, then insist."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=10)
        self._child.wait()

    @property
    def is_alive(self) -> bool:
        """Whether the first process of the group still runs."""
        return self._child.poll() is None

    def cpu(self) -> int:
        """Nanoseconds of user and system time of the whole tree since its start."""
        return sum(_cpu_clock(pid) for pid in _tree(self._child.pid))

    def rss(self) -> int:
        """Resident bytes of the whole tree; pages that its processes share count once each."""
        return sum(_rss(pid) for pid in _tree(self._child.pid))

    def tail(self) -> str:
        """The end of what it has printed."""
        return self.log.read_text(errors="replace").strip()[-300:]


def _cpu_clock(pid: int) -> int:
    """utime + stime of a process in nanoseconds: /proc/<pid>/stat has the same sum, but in steps of 10 ms.

    The number of another process's CPU clock is part of Linux's ABI: clock_getcpuclockid(3).
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:  # it ended since the tree was listed
        return 0


def _rss(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * resource.getpagesize()


def _tree(root: int) -> Iterable[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def processor() -> str:
    """The processor's name and the number of its cores that we may use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else os.uname().machine}, {len(os.sched_getaffinity(0))} usable cores"


def first_line(argv: Sequence[str | Path]) -> str:
    """The first line that a command prints, on either stream."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip().partition("\n")[0]
