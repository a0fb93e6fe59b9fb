"""Raw answers, damaged at random and cut at random: ours and aiohttp must say the same, but for a listed few.

The rule of the table: ours may refuse what aiohttp guesses at, never the other way round without a reason, and two
answers that both came to their end are the same answer.
"""

from __future__ import annotations

import asyncio
import random
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.adapters.transport_http import HttpTransport
from proxy.core.errors import UpstreamFailure
from proxy.core.ports import Transport
from tests.contract.transport.aiohttp_oracle import AiohttpTransport
from tests.contract.transport.asking import Got, ask, wire
from tests.contract.transport.rawserver import Peer, RawServer, serving
from tests.contract.transport.test_ours import STRICT
from tests.contract.transport.test_transport import CUT, REFUSED, WHOLE

CORPUS = [
    raw
    for raw in (
        *(raw for raw, *_ in WHOLE.values()),
        *CUT.values(),
        *REFUSED.values(),
        *(raw for raw, _ in STRICT.values()),
    )
    if len(raw) < 2000
]
TOKENS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b";", b",", b"-1", b"0", b"7f", b"\x80", b"\xff",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"204", b"304",
    b"content-length: 2\r\n", b"Content-Length: 0\r\n", b"content-length:2\r\n", b"transfer-encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"connection: close\r\n", b"connection: keep-alive\r\n", b"upgrade: x\r\n",
    b"content-encoding: gzip\r\n", b"content-encoding: deflate\r\n", b"0\r\n\r\n", b"2\r\nok\r\n", b"2;a\r\nok\r\n",
]  # fmt: skip

# What ours says  ->  why aiohttp may answer there. Nothing else may differ.
EXPLAINED_REFUSALS = {
    r"bad framing: .*": (
        "llhttp's own words, as strict as it comes: aiohttp makes it lenient with answers (bare LF, control"
        " characters, folded fields, spaces after a chunk size), and 3.14 may wait for ever after a bad chunk"
    ),
    r"a transfer-encoding that nobody asked for": "aiohttp takes any coding, and chunked in HTTP/1.0",
    r"a content-encoding that nobody asked for": "aiohttp hands on the undecoded body",
    r"the compressed body is (cut short|damaged|too large)": "aiohttp does not ask for the end of the coding",
    r"bytes after the compressed body": "aiohttp drops them",
    r"switched protocols unasked": "aiohttp hands on a 101",
    r"not an HTTP/1 status line": "aiohttp takes any version",
}


@dataclass(frozen=True)
class Refused:
    detail: str


Outcome = Got | Refused


class Arena:
    """Both transports, and one server that gives the same pieces to each, then closes."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.pieces: Sequence[bytes] = ()

    @contextmanager
    def open(self) -> Iterator[Arena]:
        with self.runner:
            context = serving(self._script)
            self.server: RawServer = self.runner.run(context.__aenter__())
            self.runner.run(self._start())
            try:
                yield self
            finally:
                self.runner.run(self.ours.aclose())
                self.runner.run(self.oracle.aclose())
                self.runner.run(context.__aexit__(None, None, None))

    async def _start(self) -> None:
        self.ours, self.oracle = HttpTransport(), AiohttpTransport()

    async def _script(self, peer: Peer) -> None:
        await peer.answer(*self.pieces)

    def compare(self, pieces: Sequence[bytes]) -> None:
        raw = b"".join(pieces)
        ours = self.ask(self.ours, pieces)
        if isinstance(ours, Refused) and any(re.fullmatch(said, ours.detail) for said in EXPLAINED_REFUSALS):
            return
        theirs = self.ask(self.oracle, pieces)
        if isinstance(ours, Refused):
            is_agreed = isinstance(theirs, Refused)
        elif isinstance(theirs, Refused):
            # aiohttp fails a whole answer for the bytes behind it; ours delivers it and drops the connection.
            whole = self._without_leftovers(raw, ours)
            is_agreed = len(whole) < len(raw) and self.ask(self.oracle, [whole]) == ours
        else:
            is_agreed = ours == theirs
        assert is_agreed, f"{raw!r}\nours    {ours}\naiohttp {theirs}"

    def ask(self, transport: Transport, pieces: Sequence[bytes]) -> Outcome:
        self.pieces = pieces
        return self.runner.run(self._outcome(transport))

    async def _outcome(self, transport: Transport) -> Outcome:
        try:
            async with asyncio.timeout(60):
                return await ask(transport, wire(self.server.origin(), method="POST"))
        except UpstreamFailure as failure:
            return Refused(failure.detail)

    def _without_leftovers(self, raw: bytes, got: Got) -> bytes:
        """The shortest beginning of `raw` that is this answer already."""
        ends = range(len(raw) + 1)
        return raw[: bisect_left(ends, True, key=lambda end: self.ask(self.ours, [raw[:end]]) == got)]


def damage(raw: bytes, chance: random.Random) -> bytes:
    """One to three small injuries: a byte changed, a slice lost or doubled, a token put in, another raw joined on."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(raw))
        to = min(len(raw), at + chance.randint(1, 12))
        match chance.randrange(5):
            case 0:
                raw = raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]
            case 1:
                raw = raw[:at] + raw[to:]
            case 2:
                raw = raw[:to] + raw[at:]
            case 3:
                raw = raw[:at] + chance.choice(TOKENS) + raw[at:]
            case _:
                raw = raw[:at] + chance.choice(CORPUS)[chance.randrange(20) :]
    return raw


def cut(raw: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(raw) + 1) for place in places} | {0, len(raw)})
    return [raw[a:b] for a, b in pairwise(ends)]


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena().open() as opened:
        yield opened


@pytest.mark.parametrize("seed", range(10))
def test_damaged_answers(arena: Arena, seed: int) -> None:
    """A hundred injuries per seed, each whole and cut."""
    chance = random.Random(seed)
    for _ in range(100):
        raw = damage(chance.choice(CORPUS), chance)
        arena.compare([raw])
        arena.compare(cut(raw, [chance.randrange(len(raw) + 1) for _ in range(4)]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    parts=st.lists(st.sampled_from(TOKENS) | st.sampled_from(CORPUS) | st.binary(max_size=6), min_size=1, max_size=6),
    places=st.lists(st.integers(0, 2000), max_size=6),
)
def test_assembled_answers(arena: Arena, parts: list[bytes], places: list[int]) -> None:
    """Tokens and whole answers in any order, cut anywhere."""
    arena.compare(cut(b"".join(parts), places))
