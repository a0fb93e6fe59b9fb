"""`scripts/chaos`: some minutes of a proxy under load whose world breaks at random, and a verdict per invariant."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos.crowd import Crowd
from tests.chaos.trouble import NAMES, Day, Place, mortal
from tests.chaos.verdict import Evidence, Verdict, judge
from tests.e2e.harness import ADMIN
from tests.upstream import FakeUpstream, Seen

ROOT = Path(__file__).parents[2]
_REST = 60.0
"""Seconds in which everything must have come to rest: the longest patience of anybody, with room."""
_KILLS = 0.5
"""The part of the day in which the proxy itself is killed; afterwards its memory is watched."""


async def chaos(seconds: float, seed: int, clients: int = 24) -> tuple[list[Verdict], str]:
    """The verdicts on one day, and what happened in it in a line."""
    dice = random.Random(seed)
    async with AsyncExitStack() as stack:
        fakes = {name: await stack.enter_async_context(FakeUpstream()) for name in NAMES[:2]}
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        process, url = await mortal()
        urls = {**{name: fake.url for name, fake in fakes.items()}, NAMES[2]: url}
        place = Place(folder, _free_port(), urls)
        place.write(place.config())
        day = Day(place, await place.start(), fakes, process, session, dice)
        stack.push_async_callback(_end, day)
        evidence = await _spend(day, Crowd(day.url, session, dice), seconds, clients)
        counts = Counter(sight.kind for sight in evidence.sights)
        return list(judge(evidence)), f"seed {seed}: {dict(counts)}; {day.done}"


async def _spend(day: Day, crowd: Crowd, seconds: float, clients: int) -> Evidence:
    """From the first request to the last record."""
    loop = asyncio.get_running_loop()
    for name in NAMES:
        await day.usual(name)
    stop = asyncio.Event()
    began = loop.time()
    work = [asyncio.create_task(crowd.one(stop)) for _ in range(clients)]
    trouble = asyncio.create_task(day.run(stop, began + _KILLS * seconds))
    await asyncio.sleep((_KILLS + (1 - _KILLS) / 3) * seconds)
    warm = _rss(day.proxy.process.pid)
    await asyncio.sleep((1 - _KILLS) * 2 / 3 * seconds)
    stop.set()
    await asyncio.gather(trouble, *work)
    status = await _at_rest(day)
    records = (await _admin(day, "requests?limit=1000"))["requests"]
    rss, sockets = _rss(day.proxy.process.pid), len(list(_sockets(day.proxy.process.pid)))
    code = await day.proxy.stop()
    asked = Counter(
        seen.headers["x-client-request-id"] for fake in day.fakes.values() for seen in fake.seen if _is_prompt(seen)
    )
    since = day.outages[-1][1] if day.outages else began
    return Evidence(
        crowd.sights, day.outages, day.reloads, asked, records, status, since, (warm, rss), (1, sockets),
         "\n".join([*day.output, *day.proxy.output]), code,
    )  # fmt: skip


async def _at_rest(day: Day) -> Any:
    """What the proxy says of itself once nothing is under way, or when it should have been so long ago.

    Only its listening socket is left then: the connections that it kept have been closed for want of use.
    """
    await day.session.close()
    end = asyncio.get_running_loop().time() + _REST
    while True:
        status = await _admin(day, "status")
        sockets = len(list(_sockets(day.proxy.process.pid)))
        if (not status["in_flight"] and sockets <= 1) or asyncio.get_running_loop().time() > end:
            return status
        await asyncio.sleep(0.5)


async def _admin(day: Day, path: str) -> Any:
    """Asked over a connection that is closed at once."""
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with aiohttp.ClientSession() as session, session.get(f"{day.url}/admin/{path}", headers=headers) as answer:
        return await answer.json()


def _is_prompt(seen: Seen) -> bool:
    return seen.path.endswith("/completions")


def _rss(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _sockets(pid: int) -> Iterator[str]:
    """The TCP sockets of a process."""
    inodes = {line.split()[9] for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(entry.readlink())
        except FileNotFoundError:
            continue  # closed since the listing
        if name.removeprefix("socket:[").removesuffix("]") in inodes:
            yield name


async def _end(day: Day) -> None:
    """Leave no process behind."""
    for process in (day.proxy.process, day.mortal):
        if process.returncode is None:
            process.kill()
            await process.wait()
    await day.proxy.ended()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def report(verdicts: list[Verdict], told: str) -> int:
    """Print it; 1 if anything was breached."""
    print(told)
    for verdict in verdicts:
        print(f"{'holds ' if verdict.holds else 'BREACH'}  {verdict.invariant} ({verdict.looked_at} looked at)")
        for breach in verdict.breaches:
            print(f"        {breach}")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the day is (5)")
    parser.add_argument("--seed", type=int, default=None, help="repeats the troubles of a day; not written: a new one")
    parser.add_argument("--clients", type=int, default=24, help="how many there are at once (24)")
    parser.add_argument("--model", type=int, metavar="RUNS", help="play so many histories against the model instead")
    arguments = parser.parse_args()
    if arguments.model:
        histories = ["-m", "pytest", "-q", "-o", "faulthandler_timeout=0", "tests/semantics"]
        environment = {**os.environ, "FAILSOFT_HISTORIES": str(arguments.model)}
        return subprocess.run([sys.executable, *histories], cwd=ROOT, env=environment, check=False).returncode
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of every write to a connection that was cut
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    return report(*asyncio.run(chaos(arguments.minutes * 60, seed, arguments.clients)))


if __name__ == "__main__":
    sys.exit(main())
