"""Clients of a chaotic day: each does something at random and notes what it saw."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.e2e.harness import Answer

PROMPT: Final = "prompt-canary-7d21"
PATIENCE: Final = 60.0
"""Seconds after which a client counts as forgotten."""
_WAITED = aiohttp.ClientTimeout(total=PATIENCE)


@dataclass(slots=True)
class Sight:
    """What one client saw. `answer` is None if its connection broke; `problem` says what should not have been."""

    kind: str
    began: float
    ended: float = 0.0
    answer: Answer | None = None
    has_left: bool = False
    is_forgotten: bool = False


@dataclass(slots=True)
class Crowd:
    """Asks the proxy at `url` in all ways that there are; `dice` decides which."""

    url: str
    session: aiohttp.ClientSession
    dice: random.Random
    sights: list[Sight] = field(default_factory=list)

    async def one(self, stop: asyncio.Event) -> None:
        """One client, which asks again and again until `stop`."""
        ways: Mapping[str, Callable[[], Awaitable[tuple[Answer | None, bool]]]] = {
            "whole": lambda: self._ask(stream=False),
            "stream": lambda: self._ask(stream=True),
            "no offline answer": lambda: self._ask(stream=False, **{"x-failsoft-offline": "never"}),
            "repeated by its SDK": lambda: self._ask(stream=True, **{"x-stainless-retry-count": "1"}),
            "nonsense": self._say_nonsense,
            "leaves": self._leave,
            "reads slowly": self._read_slowly,
        }
        names, weights = list(ways), (8, 8, 2, 2, 1, 3, 1)
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            (kind,) = self.dice.choices(names, weights)
            sight = Sight(kind, loop.time())
            try:
                sight.answer, sight.has_left = await ways[kind]()
            except TimeoutError:
                sight.is_forgotten = True
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.05)
            sight.ended = loop.time()
            self.sights.append(sight)
            await asyncio.sleep(self.dice.random() * 0.2)

    async def _ask(self, *, stream: bool, **headers: str) -> tuple[Answer | None, bool]:
        async with self._post(_chat(stream), headers) as response:
            return await _whole(response), False

    async def _say_nonsense(self) -> tuple[Answer | None, bool]:
        body = self.dice.choice([b"{", b"[]", b'{"model": 7}', b'{"model": "m", "messages": "hi"}', b"\xff\xfe"])
        async with self._post(body, {}) as response:
            return await _whole(response), False

    async def _leave(self) -> tuple[Answer | None, bool]:
        """Hang up before the answer, or somewhere in it."""
        try:
            async with asyncio.timeout(self.dice.random() * 0.3), self._post(_chat(stream=True), {}) as response:
                await response.content.read(self.dice.randint(1, 400))
        except TimeoutError:
            pass
        return None, True

    async def _read_slowly(self) -> tuple[Answer | None, bool]:
        """Through a receive buffer as small as the system makes it, with pauses."""
        async with self._post(_chat(stream=True), {}) as response:
            transport = response.connection and response.connection.transport
            raw: socket.socket | None = transport.get_extra_info("socket") if transport else None
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            body = b""
            while piece := await response.content.read(64):
                body += piece
                await asyncio.sleep(0.02)
            return Answer(response.status, _named(response), body), False

    def _post(self, body: bytes, headers: Mapping[str, str]) -> Any:
        return self.session.post(
            f"{self.url}/v1/chat/completions",
            data=body,
            headers={"content-type": "application/json", **headers},
            timeout=_WAITED,
        )


def _chat(stream: bool) -> bytes:
    return json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": PROMPT}]}).encode()


async def _whole(response: aiohttp.ClientResponse) -> Answer:
    return Answer(response.status, _named(response), await response.read())


def _named(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
