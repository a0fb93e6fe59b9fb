"""One timer for the three kinds of patience with a stream; what the engine makes of it is in `test_first_token.py`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import uvloop

from proxy.core.decision import Timeouts
from proxy.core.errors import ErrorKind
from proxy.engine.vigil import Vigil
from tests.unit.engine.virtual import VirtualLoop, run
from tests.upstream import PATIENCE

TIMEOUTS = Timeouts(first_token=10.0, progress=40.0, attempt=200.0)


@dataclass
class Stream:
    """A response and its passage in one, as far as they are watched."""

    written: int = 0
    has_more: bool = False
    finished: bool = False
    ended: tuple[ErrorKind, float] | None = None

    def expire(self, kind: ErrorKind) -> None:
        self.ended = kind, asyncio.get_running_loop().time() - 1000.0


def watched(timeouts: Timeouts = TIMEOUTS) -> tuple[Stream, Vigil]:
    stream: Any = Stream()
    return stream, Vigil(stream, stream, timeouts, asyncio.get_running_loop().time())


def test_the_first_word_has_its_time() -> None:
    async def story() -> None:
        stream, _ = watched()
        await asyncio.sleep(500.0)
        assert stream.ended == (ErrorKind.FIRST_TOKEN_TIMEOUT, 10.0)

        stream, _ = watched(Timeouts(first_token=300.0, attempt=200.0))
        await asyncio.sleep(500.0)
        assert stream.ended == (ErrorKind.IDLE_TIMEOUT, 700.0)

    run(story())


def test_a_client_that_does_not_read_is_not_the_upstreams_silence() -> None:
    """While something lies here unread the answer could not grow."""

    async def story() -> None:
        stream, vigil = watched()
        vigil.begun()
        stream.has_more = True
        await asyncio.sleep(150.0)
        assert stream.ended is None
        stream.has_more = False
        await asyncio.sleep(51.0)
        assert stream.ended is not None
        assert 190.0 <= stream.ended[1] <= 200.0
        vigil.stop()

    run(story())


def test_it_ends_with_the_attempt_and_when_it_is_stopped() -> None:
    async def story() -> None:
        talking, vigil = watched()
        stopped, other = watched()
        vigil.begun()
        other.begun()
        other.stop()
        for _ in range(100):
            talking.written += 1
            await asyncio.sleep(5.0)
        assert talking.ended == (ErrorKind.IDLE_TIMEOUT, 200.0)
        assert stopped.ended is None

    run(story())


def test_a_standstill_of_our_own_is_not_the_upstreams_silence() -> None:
    """Fault 64: what has come meanwhile is heard first; only then it is over."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        lucky, vigil = watched()
        silent, _ = watched()
        await asyncio.sleep(9.0)
        loop.stand_still(3.0)
        await asyncio.sleep(1.0)
        assert (lucky.ended, silent.ended) == (None, None)
        vigil.begun()
        await asyncio.sleep(5.0)
        assert (lucky.ended, silent.ended) == (None, (ErrorKind.FIRST_TOKEN_TIMEOUT, 14.0))
        vigil.stop()

    run(story())


def test_what_follows_the_finish_has_a_moment() -> None:
    async def story() -> None:
        stream, vigil = watched()
        vigil.begun()
        stream.finished = True
        vigil.finished()
        await asyncio.sleep(3.0)
        vigil.finished()  # pings, the usage: they gain nothing
        await asyncio.sleep(500.0)
        assert stream.ended == (ErrorKind.IDLE_TIMEOUT, 5.0)

    run(story())


def test_a_choice_that_begins_after_the_finish_of_another_has_its_time() -> None:
    async def story() -> None:
        stream, vigil = watched()
        vigil.begun()
        stream.finished = True
        vigil.finished()
        stream.finished = False
        await asyncio.sleep(20.0)
        assert stream.ended is None
        stream.finished = True
        vigil.finished()
        stream.has_more = True  # and a client that is behind misses nothing
        await asyncio.sleep(20.0)
        assert stream.ended is None

    run(story())


def test_a_timer_that_is_due_at_once_is_none_to_uvloop() -> None:
    """Less than half a millisecond before its end, uvloop gives a handle that does not know when it is due."""

    async def story() -> None:
        ended = asyncio.Event()

        class Told(Stream):
            def expire(self, kind: ErrorKind) -> None:
                super().expire(kind)
                ended.set()

        stream: Any = Told()
        timeouts = Timeouts(first_token=60.0, progress=0.0004, attempt=60.0)
        Vigil(stream, stream, timeouts, asyncio.get_running_loop().time()).begun()
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
        assert stream.ended[0] is ErrorKind.IDLE_TIMEOUT

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
