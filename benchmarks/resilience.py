"""What becomes of requests when upstreams cannot: overload, one dead among three, all dead, faults for very long."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.crowd import BUSY, CUT, FAULT, GOOD, MODEL, SILENT, Crowd, Told, Upstream
from benchmarks.machine import BUILD, LOOPBACK, Process, allow_many_files, choose_cores, free_port

KEY = "bench-admin-key"
_START_LIMIT = 30.0  # seconds
_QUICK = 0.2  # share of the usual durations


@dataclass(frozen=True, slots=True)
class Finding:
    """One number beside what it must be."""

    what: str
    measured: str
    limit: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """A running proxy and the upstreams behind it; `share` shortens every phase."""

    url: str
    process: Process
    upstreams: Sequence[Upstream]
    session: aiohttp.ClientSession
    share: float

    def crowd(self, **headers: str) -> Crowd:
        return Crowd(self.url, self.session, headers)

    async def status(self) -> Any:
        headers = {"authorization": f"Bearer {KEY}"}
        async with self.session.get(f"{self.url}/admin/status", headers=headers) as answer:
            return await answer.json()

    async def until(self, holds: Callable[[Any], bool], patience: float) -> float:
        """Seconds until the status `holds`; infinite if it does not in time."""
        started = time.monotonic()
        while (passed := time.monotonic() - started) < patience:
            if holds(await self.status()):
                return passed
            await asyncio.sleep(0.05)
        return float("inf")


@asynccontextmanager
async def stage(upstreams: Sequence[Upstream], share: float, **fields: Any) -> AsyncIterator[Stage]:
    """The proxy as a process of its own on one core, everything else on the other."""
    async with AsyncExitStack() as stack:
        for upstream in upstreams:
            await upstream.start()
            stack.push_async_callback(upstream.stop)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        process = stack.enter_context(_launch(folder, port, upstreams, fields))
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60))
        )
        one = Stage(f"http://{LOOPBACK}:{port}", process, upstreams, session, share)
        await _started(one)
        yield one


def _launch(folder: Path, port: int, upstreams: Sequence[Upstream], fields: Mapping[str, Any]) -> Process:
    names = [f"u{number}" for number, _ in enumerate(upstreams)]
    document = {
        "server": {"port": port, "admin_keys": ["${BENCH_ADMIN}"], "max_in_flight": 20000},
        "offline": {"levels": ["rules"]},
        "upstreams": {
            name: {"provider": "compatible", "url": f"http://{LOOPBACK}:{one.port}/v1", "keys": ["${BENCH_KEY}"]}
            | fields.get("upstream", {})
            for name, one in zip(names, upstreams, strict=True)
        },
        "routes": [
            {"name": "all", "match": {"model": "*"}, "use": [{"to": f"{name}/*", "weight": 1} for name in names]}
            | fields.get("route", {})
        ],
    }
    file = folder / "routes.yaml"
    file.write_text(json.dumps(document))
    environment = {
        **os.environ, "BENCH_ADMIN": KEY, "BENCH_KEY": "k", "PYTHONPATH": str(BUILD.parent.parent),
        "FAILSOFT_STATE": str(folder),
    }  # fmt: skip
    argv = (sys.executable, "-m", "proxy", "serve", file)
    return Process(argv, choose_cores().proxy, folder / "log", environment)


async def _started(one: Stage) -> None:
    for _ in range(int(_START_LIMIT / 0.05)):
        try:
            await one.status()
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
        else:
            return
    sys.exit(f"the proxy did not start: {one.process.tail()}")


def p99(told: Sequence[Told]) -> float:
    """Seconds."""
    return sorted(one.seconds for one in told)[int(len(told) * 0.99)] if told else float("inf")


async def overload(share: float) -> list[Finding]:
    """Five times what the upstream can bear, for 30 s; nobody repeats, nobody gets an offline answer."""
    upstream = Upstream(capacity=10, seconds=0.1)
    capacity, seconds = 100.0, 30 * share
    async with stage([upstream], share, upstream={"slots": {"limit": 10}}) as one:
        crowd = one.crowd(**{"x-failsoft-offline": "never"})
        await crowd.come(50, 2)
        upstream.arrivals.clear()
        started = time.monotonic()
        told = await crowd.come(5 * capacity, seconds)
        good = sum(answer.is_good for answer in told) / (time.monotonic() - started)
        attempts = len(upstream.arrivals) / sum(answer.status == 200 for answer in told)
        refused = [answer for answer in told if answer.status == 503]
        return [
            Finding("5x overload: goodput", f"{good / capacity:.0%} of capacity", ">= 90 %", good >= 0.9 * capacity),
            Finding("5x overload: tries per answer", f"{attempts:.3f}", "<= 1.2", attempts <= 1.2),
            Finding(
                "5x overload: all others get a 503",
                f"{len(refused)} of {len(told)}, p99 {p99(refused):.2f} s",
                "all",
                len(refused) + sum(answer.is_good for answer in told) == len(told),
            ),
        ]


async def one_of_three(share: float) -> list[Finding]:
    """Three targets with equal weights take 150 requests/s; one of them resets every connection, then it is well."""
    upstreams = [Upstream(), Upstream(), Upstream()]
    sick, rate = upstreams[0], 150.0
    normal, down, back = 20 * share, 30 * share, max(80 * share, 40)
    async with stage(upstreams, share, route={"order": "weighted"}) as one:
        crowd = one.crowd(**{"x-failsoft-offline": "never"})
        await crowd.come(rate, 2)
        before = await crowd.come(rate, normal)
        sick.reply = lambda: None
        fell = time.monotonic()
        opening = asyncio.create_task(one.until(lambda status: _is_open(status, "u0"), down))
        during = await crowd.come(rate, down)
        opened = fell + await opening
        probes = sick.rate(opened, fell + down)
        sick.reply = lambda: GOOD
        rose = time.monotonic()
        after = await crowd.come(rate, back)
        usual, recovered = rate / 3, float("inf")
        for second in range(int(back) - 5):
            if sick.rate(rose + second, rose + second + 5) >= 0.9 * usual:
                recovered = second + 5.0
                break
        peak = max(sick.rate(rose + second, rose + second + 10) for second in range(int(back) - 10))
        told = [*during, *after]
        success = sum(answer.is_good for answer in told) / len(told)
        calm = p99(before)
        strained = p99([answer for answer in during if answer.at > opened])
        return [
            Finding("one of three dies: success", f"{success:.3%} of {len(told)}", ">= 99.9 %", success >= 0.999),
            Finding(
                "one of three dies: p99 once its breaker is open",
                f"{strained * 1e3:.1f} ms, {strained / calm:.2f} x normal",
                "<= 1.5 x",
                strained <= 1.5 * calm,
            ),
            Finding("while it is down: requests/s it still gets", f"{probes:.2f}", "probes only", probes <= 1),
            Finding("recovery to its usual share", f"{recovered:.0f} s", "<= 60 s", recovered <= 60),
            Finding(
                "recovery: most requests/s in any 10 s", f"{peak / usual:.2f} x normal", "<= 1.1 x", peak <= 1.1 * usual
            ),
        ]


def _is_open(status: Any, name: str) -> bool:
    return any(one["name"] == name and one["breaker"]["isOpen"] for one in status["upstreams"])


async def all_dead(share: float) -> list[Finding]:
    """No upstream answers; once all breakers are open, 100 requests/s for 20 s."""
    upstreams = [Upstream(reply=lambda: None) for _ in range(3)]
    async with stage(upstreams, share) as one:
        crowd = one.crowd()
        await crowd.come(20, 3)
        await one.until(lambda status: all(_is_open(status, f"u{number}") for number in range(3)), 10)
        told = await crowd.come(100, 20 * share)
        offline = [answer for answer in told if answer.is_offline and answer.status == 200]
        slowest = p99(told)
        return [
            Finding("all dead: offline answers", f"{len(offline)} of {len(told)}", "all", len(offline) == len(told)),
            Finding("all dead: p99", f"{slowest * 1e3:.1f} ms", "<= 100 ms", slowest <= 0.1),
        ]


async def long_run(share: float) -> list[Finding]:
    """200,000 requests, one in ten of which meets a fault: an error, a full server, a cut answer, a reset."""
    dice = random.Random(7)
    weighted = [GOOD] * 36 + [FAULT, BUSY, CUT, None]
    upstreams = [Upstream(seconds=0.0, reply=lambda: dice.choice(weighted)) for _ in range(2)]
    requests = int(200_000 * share)
    async with stage(upstreams, share, route={"order": "weighted"}) as one:
        crowd = one.crowd()
        await crowd.take_turns(32, requests // 10)
        begun = one.process.rss()
        await crowd.take_turns(32, requests)
        grown = (one.process.rss() - begun) / 2**20
        what = f"{requests:,} requests with faults: growth of resident memory"
        return [Finding(what, f"{grown:.1f} MB of {begun / 2**20:.0f} MB", "<= 10 MB", grown <= 10)]


async def abandoned(share: float) -> list[Finding]:
    """1,000 streams that have begun and say nothing more; then all their clients leave at once."""
    count = int(1000 * share)
    upstream = Upstream(seconds=0.0, reply=lambda: SILENT)
    async with stage([upstream], share, upstream={"slots": {"limit": 2000}}) as one:
        body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
        host, port = one.url.removeprefix("http://").split(":")
        writers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection(host, int(port))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            await reader.readuntil(b"data: ")
            writers.append(writer)
        held = upstream.open
        left = time.monotonic()
        for writer in writers:
            writer.transport.abort()
        while upstream.open > 1 and time.monotonic() < left + 10:  # noqa: ASYNC110 — nobody tells of it
            await asyncio.sleep(0.002)
        freed = time.monotonic() - left
        rest = (await one.status())["in_flight"]
        what = f"{held:,} abandoned streams: all is free, here and upstream"
        return [Finding(what, f"{freed * 1e3:.0f} ms, {rest} in flight", "<= 2 s", freed <= 2 and not rest)]


PARTS: Mapping[str, Callable[[float], Coroutine[None, None, list[Finding]]]] = {
    "overload": overload,
    "one_of_three": one_of_three,
    "all_dead": all_dead,
    "abandoned": abandoned,
    "long_run": long_run,
}


def main(argv: Sequence[str]) -> int:
    """Measure and print a table; 1 if a number misses its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resilience", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(PARTS), metavar="name", help=f"which: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a fifth of the time")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    allow_many_files()
    os.sched_setaffinity(0, {choose_cores().tools})
    print("| | measured | must be | |\n|---|---|---|---|")
    holds = True
    for name in arguments.names:
        for found in asyncio.run(PARTS[name](_QUICK if arguments.quick else 1.0)):
            holds &= found.holds
            print(
                f"| {found.what} | {found.measured} | {found.limit} | {'yes' if found.holds else '**no**'} |",
                flush=True,
            )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
