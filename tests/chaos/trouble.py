"""What happens to a proxy on a chaotic day: upstreams that fail, files that change, kills; all drawn from one seed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.e2e.harness import ADMIN, Child, document
from tests.upstream import FakeUpstream

NAMES: Final = ("one", "two", "three")
SLOW: Final[Mapping[str, Any]] = {
    "first_byte": "2s", "first_token": "2s", "idle": "2s", "progress": "3s", "attempt": "10s",
}  # fmt: skip
"""Shorter than the usual timers, so that a day has more of them."""
_KEYS: Final = ("${E2E_KEY}", "${CHAOS_KEY}")
_BAD_FILES: Final = ("routes: [", '{"rooutes": []}', '{"routes": [{"name": "no targets"}]}', '{"upstreams": 7}')


def words(name: str) -> list[str]:
    """What an upstream says; nobody else does."""
    return [f"{name}-{number} " for number in range(4)]


FAULTS: Final[tuple[Mapping[str, Any], ...]] = (
    {"status": 500},
    {"status": 503, "headers": [["retry-after", "1"]]},
    {"status": 429, "headers": [["retry-after", "2"]]},
    {"status": 429, "error": {"code": "insufficient_quota"}},
    {"status": 401},
    {"status": 404, "error": {"code": "model_not_found"}},
    {"body": ""},
    {"body": "<html>maintenance</html>", "content_type": "text/html"},
    {"error": {"message": "scripted", "type": "server_error"}, "error_after": 2},
    {"before_head": "never"},
    {"before_first": "never"},
    {"pauses": {"3": "never"}},
    {"before_head": 0.5},
    {"between": 0.1},
    {"cut_frames": 2.5, "ending": "reset"},
    {"cut_frames": 3, "ending": "close"},
    {"cut_head": 20, "ending": "reset"},
    {"done": False},
    {"finish": "", "done": False},
    {"write_size": 1},
    {"deltas": ["x" * 2000] * 50},
)
"""Scripts of the fake upstream, as its control endpoint takes them."""


@dataclass(slots=True)
class Place:
    """The folder of the day's proxy: its file, and the port on which it is found again after a kill."""

    folder: Path
    port: int
    upstreams: Mapping[str, str]

    def config(self, dice: random.Random | None = None) -> dict[str, Any]:
        """A good configuration; drawn, if there are dice."""
        order = list(self.upstreams)
        slots = 8
        if dice is not None:
            dice.shuffle(order)
            slots = dice.choice([2, 8, 64])
        entries = {
            name: {"provider": "compatible", "url": self.upstreams[name], "keys": list(_KEYS), "timeouts": SLOW}
            | {"slots": {"limit": slots, "wait": "1s"}}
            for name in order
        }
        return document(entries, server={"port": self.port, "drain": "5s"}, logging={"level": "warning"})

    def write(self, config: Mapping[str, Any] | str) -> None:
        """In one step, as editors and mounts do it."""
        draft = self.folder / "draft"
        draft.write_text(config if isinstance(config, str) else json.dumps(config))
        draft.rename(self.folder / "routes.yaml")

    async def start(self) -> Child:
        state = {"FAILSOFT_STATE": str(self.folder / "state"), "CHAOS_KEY": "sk-chaos-canary-2"}
        child = await Child.start("serve", str(self.folder / "routes.yaml"), environment=state)
        await child.url()
        return child


@dataclass(slots=True)
class Day:
    """The proxy as a process, one upstream as a process, two here; what was done to them and when."""

    place: Place
    proxy: Child
    fakes: Mapping[str, FakeUpstream]
    mortal: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    dice: random.Random
    done: dict[str, int] = field(default_factory=dict)
    """How often each kind of trouble happened."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """From when to when there was no proxy."""
    reloads: list[tuple[int, int]] = field(default_factory=list)
    """The status that each reload should have had, and the one that it had."""
    output: list[str] = field(default_factory=list)
    """What proxies printed that were killed."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.place.port}"

    async def run(self, stop: asyncio.Event, kill_until: float) -> None:
        """One trouble after another; the proxy itself is killed only until `kill_until`, by the loop's clock."""
        loop = asyncio.get_running_loop()
        rare: Mapping[str, Callable[[], Awaitable[None]]] = {
            "good file": self._good_file,
            "bad file": self._bad_file,
            "upstream killed": self._kill_upstream,
            "proxy killed": self._kill_proxy,
        }
        while not stop.is_set():
            await asyncio.sleep(self.dice.random() * 0.5)
            kind = "fault"
            if self.dice.random() < 0.15:
                (kind,) = self.dice.choices(list(rare), (8, 4, 4, 1 if loop.time() < kill_until else 0))
            await (rare[kind]() if kind in rare else self._fault())
            self.done[kind] = self.done.get(kind, 0) + 1

    async def _fault(self) -> None:
        """Some upstream does something wrong for a while."""
        name = self.dice.choice(NAMES)
        script = {"deltas": words(name), **self.dice.choice(FAULTS)}
        await self.script(name, {"script": script, "times": self.dice.randint(1, 8)})

    async def script(self, name: str, command: Mapping[str, Any]) -> None:
        with contextlib.suppress(aiohttp.ClientError):  # it may be dead just now
            url = self.place.upstreams[name].removesuffix("/v1")
            async with self.session.post(f"{url}/_control/script", json=command) as answer:
                assert answer.status == 200, await answer.text()

    async def _good_file(self) -> None:
        self.place.write(self.place.config(self.dice))
        await self._reload(200)

    async def _bad_file(self) -> None:
        self.place.write(self.dice.choice(_BAD_FILES))
        await self._reload(409)
        self.place.write(self.place.config())

    async def _reload(self, expected: int) -> None:
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with self.session.post(f"{self.url}/admin/reload", headers=headers) as answer:
            self.reloads.append((expected, answer.status))

    async def _kill_upstream(self) -> None:
        self.mortal.kill()
        await self.mortal.wait()
        await asyncio.sleep(self.dice.random() * 2)
        port = int(self.place.upstreams["three"].split(":")[2].removesuffix("/v1"))
        self.mortal, _ = await mortal(port)
        await self.usual("three")

    async def _kill_proxy(self) -> None:
        self.place.write(self.place.config())
        began = asyncio.get_running_loop().time()
        self.proxy.process.kill()
        await self.proxy.ended()
        self.output += self.proxy.output
        self.proxy = await self.place.start()
        self.outages.append((began, asyncio.get_running_loop().time()))

    async def usual(self, name: str) -> None:
        """Its default answer says its own words."""
        command = {"script": {"deltas": words(name)}, "times": None}
        await self.script(name, command)


async def mortal(port: int = 0) -> tuple[asyncio.subprocess.Process, str]:
    """A fake upstream as a process, and its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.upstream", "--port", str(port), "--count-only",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    return process, line.rpartition(" ")[2].strip()
