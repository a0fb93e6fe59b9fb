"""Signs of life come after silence, and only after silence."""

from __future__ import annotations

import asyncio

import pytest

from proxy.engine.heartbeat import Heartbeat
from tests.unit.engine.virtual import run


class Client:
    """Notes what it gets, and when (seconds since the start)."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._from = self._loop.time()
        self.got: list[tuple[float, str]] = []

    @property
    def now(self) -> float:
        return round(self._loop.time() - self._from, 3)

    async def begin(self) -> None:
        self.got.append((self.now, "head"))

    async def write(self, data: bytes) -> None:
        assert data == b": keep-alive\n\n"
        self.got.append((self.now, "beat"))

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(5, 15, self.begin, self.write)


def test_the_first_beat_brings_the_head_and_the_others_follow_every_interval():
    async def work() -> None:
        client = Client()
        heartbeat = client.heartbeat()
        await asyncio.sleep(40)
        heartbeat.stop()
        assert client.got == [(5, "head"), (5, "beat"), (20, "head"), (20, "beat"), (35, "head"), (35, "beat")]

    run(work())


def test_an_answer_that_flows_needs_none():
    async def work() -> None:
        client = Client()
        heartbeat = client.heartbeat()
        for _ in range(30):
            await asyncio.sleep(4)
            heartbeat.heard()
        heartbeat.stop()
        assert client.got == []

    run(work())


def test_silence_counts_from_what_was_sent_last():
    async def work() -> None:
        client = Client()
        heartbeat = client.heartbeat()
        await asyncio.sleep(3)
        heartbeat.heard()
        await asyncio.sleep(31)
        heartbeat.stop()
        assert [at for at, what in client.got if what == "beat"] == [18, 33]

    run(work())


@pytest.mark.parametrize("at", [1, 5, 6, 20])
def test_none_comes_after_the_stop(at):
    async def work() -> None:
        client = Client()
        heartbeat = client.heartbeat()
        await asyncio.sleep(at - 0.5)
        heartbeat.stop()
        before = list(client.got)
        await asyncio.sleep(100)
        assert client.got == before

    run(work())


def test_the_stop_breaks_off_a_beat_that_waits_for_the_clients_socket():
    async def work() -> None:
        reached = asyncio.Event()
        broken_off = asyncio.Event()

        async def begin() -> None:
            return

        async def write(_data: bytes) -> None:
            reached.set()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                broken_off.set()
                raise

        heartbeat = Heartbeat(5, 15, begin, write)
        await reached.wait()
        heartbeat.stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert broken_off.is_set()

    run(work())
