"""Taking the steps: against a simulated LM Studio over real sockets, on a clock that moves only when told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.adapters.local_models import LocalModels
from proxy.adapters.transport_http import HttpTransport
from proxy.adapters.turns import TurnFolder
from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.core.decision import Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.engine.live import Live
from proxy.engine.readiness import Readiness, Wish
from tests.upstream import FakeUpstream, Gate, Script
from tests.upstream.dialects.lmstudio_native import LMStudio
from tests.upstream.local import Model

LEFT = 60.0


@dataclass
class Bench:
    """A server, the clock, and what is under test."""

    studio: LMStudio
    fake: FakeUpstream
    clock: FakeClock
    live: Live
    readiness: Readiness

    @property
    def upstream(self) -> Upstream:
        return self.live.snapshot.upstreams["u"]

    def configure(self, **settings: Any) -> None:
        """A new configuration is in force."""
        self.live.snapshot = snapshot(self.fake, **settings)

    async def use(self, model: str = "a", left: float = LEFT) -> None:
        async with self.readiness.hold(self.upstream, lambda: Wish(model), left):
            pass


def snapshot(fake: FakeUpstream, **settings: Any) -> Snapshot:
    section = {"provider": "lmstudio", "url": fake.url, "ensure_loaded": settings}
    return loads(json.dumps({"upstreams": {"u": section}}).encode(), "f", {})


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock, transport = FakeClock(), HttpTransport()
    studio = LMStudio({"a": Model("a", 4), "b": Model("b", 4)}, ceiling=6)
    async with FakeUpstream() as fake:
        fake.simulate(studio)
        live = Live(snapshot(fake, ttl="10m"), clock)
        yield Bench(studio, fake, clock, live, Readiness(live, LocalModels(transport, poll=0.0)))
    await transport.aclose()


async def test_an_idle_model_is_unloaded_exactly_once(bench: Bench) -> None:
    await bench.use()
    assert await bench.readiness.sweep() == 600.0
    bench.clock.advance(599.0)
    assert await bench.readiness.sweep() == 1.0
    assert bench.studio.unloads == []
    bench.clock.advance(1.0)
    assert await bench.readiness.sweep() is None
    bench.clock.advance(10_000.0)
    assert await bench.readiness.sweep() is None
    assert bench.studio.unloads == ["a"]
    assert bench.live.loaded("u") == frozenset()


async def test_sweeps_at_the_same_time_unload_once(bench: Bench) -> None:
    await bench.use()
    bench.clock.advance(600.0)
    await asyncio.gather(*(bench.readiness.sweep() for _ in range(5)))
    assert bench.studio.unloads == ["a"]


async def test_a_model_in_use_outlives_its_time(bench: Bench) -> None:
    async with bench.readiness.hold(bench.upstream, lambda: Wish("a"), LEFT):
        bench.clock.advance(10_000.0)
        assert await bench.readiness.sweep() is None
    assert await bench.readiness.sweep() == 600.0
    assert bench.studio.unloads == []


async def test_two_processes_that_need_the_same_model_load_it_once(bench: Bench, tmp_path: Path) -> None:
    """Each has its own account; whoever comes second finds the model in memory, and does not take it for its own."""
    transport, folder = HttpTransport(), TurnFolder(tmp_path)
    asked, both = [], asyncio.Event()

    def turn(url: str) -> AbstractAsyncContextManager[None]:
        asked.append(url)
        if len(asked) == 2:
            both.set()
        return folder.turn(url)

    one, two = (Readiness(bench.live, LocalModels(transport, poll=0.0), turn) for _ in range(2))

    async def use(readiness: Readiness) -> None:
        async with readiness.hold(bench.upstream, lambda: Wish("a"), LEFT):
            pass

    bench.studio.loading = Gate()
    first = asyncio.create_task(use(one))
    await bench.studio.loading.reached()
    second = asyncio.create_task(use(two))
    await both.wait()
    bench.studio.loading.open()
    await asyncio.gather(first, second)
    assert bench.studio.loads == [("a", 4096)]
    assert (one.owned("u"), two.owned("u")) == ({"a"}, frozenset())
    await transport.aclose()


async def test_a_model_in_memory_answers_while_another_is_loaded(bench: Bench) -> None:
    """However long that takes: what the server said is old by then, but it cannot be asked in between."""
    bench.studio.ceiling = 100
    await bench.use("a")
    bench.studio.loading = Gate()
    loading = asyncio.create_task(bench.use("b"))
    await bench.studio.loading.reached()
    bench.clock.advance(60.0)
    await bench.use("a")
    assert list(bench.studio.loaded) == ["a"]
    bench.studio.loading.open()
    await loading
    assert [name for name, _ in bench.studio.loads] == ["a", "b"]


async def test_what_is_known_survives_a_new_configuration(bench: Bench) -> None:
    await bench.use()
    bench.configure(ttl="1m")
    await bench.use()
    assert bench.studio.loads == [("a", 4096)]
    bench.clock.advance(60.0)
    await bench.readiness.sweep()
    assert bench.studio.unloads == ["a"]


async def test_an_unload_that_fails_is_tried_again_later(bench: Bench) -> None:
    await bench.use()
    bench.clock.advance(600.0)
    server, bench.fake.simulation = bench.fake.simulation, None
    bench.fake.script(Script(status=500), path="/api/v1/models")
    assert await bench.readiness.sweep() == 600.0
    bench.fake.simulation = server
    bench.clock.advance(600.0)
    await bench.readiness.sweep()
    assert bench.studio.unloads == ["a"]


async def test_a_load_that_was_given_up_and_ended_all_the_same_is_ours(bench: Bench) -> None:
    """It would stay in memory for ever otherwise."""
    bench.studio.loading, bench.studio.stubborn = Gate(), True
    asked = asyncio.create_task(bench.use())
    await bench.studio.loading.reached()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await bench.studio.until(lambda: bool(bench.studio.loaded))
    assert await bench.readiness.sweep() == 600.0
    assert bench.readiness.owned("u") == {"a"}
    bench.clock.advance(600.0)
    await bench.readiness.sweep()
    assert bench.studio.unloads == ["a"]


async def test_two_callers_cannot_thrash(bench: Bench) -> None:
    bench.configure(min_stay="1m")
    await bench.use("a")
    other = asyncio.create_task(bench.use("b"))
    await bench.studio.until(lambda: ("b", 4096) in bench.studio.loads)
    bench.clock.advance(59.0)
    await bench.use("a")
    assert not other.done()
    assert bench.studio.unloads == []
    bench.clock.advance(1.0)
    await bench.use("a")  # its end is news for those who wait
    await other
    assert bench.studio.unloads == ["a"]


async def test_without_single_flight_each_goes_its_own_way_and_finds_the_model_loaded(bench: Bench) -> None:
    bench.configure(single_flight=False)
    bench.studio.loading = Gate()
    asked = [asyncio.create_task(bench.use()) for _ in range(3)]
    await bench.studio.loading.reached()
    bench.studio.loading.open()
    await asyncio.gather(*asked)
    assert bench.studio.loads == [("a", 4096)]


async def test_nobody_waits_longer_than_it_may(bench: Bench) -> None:
    bench.studio.loading = Gate()
    with pytest.raises(UpstreamFailure) as caught:
        await bench.use(left=0.01)
    assert caught.value.kind is ErrorKind.DEADLINE
    bench.configure(timeout="10ms")
    with pytest.raises(UpstreamFailure) as caught:
        await bench.use()
    assert caught.value.kind is ErrorKind.FAULT


async def test_a_download_takes_as_long_as_it_takes_and_is_in_nobodys_way(bench: Bench) -> None:
    """While one model is fetched another is loaded; that one's timer, begun later, has run out, the download's not."""
    bench.configure(timeout="50ms", pull=True)
    bench.studio.pulling, bench.studio.loading = Gate(), Gate()
    fetched = asyncio.create_task(bench.use("new"))
    await bench.studio.pulling.reached()
    with pytest.raises(UpstreamFailure) as caught:
        await bench.use("a")
    assert caught.value.kind is ErrorKind.FAULT
    bench.configure(pull=True)
    bench.studio.loading = None
    await bench.use("a")
    bench.studio.unload("a")
    bench.studio.pulling.open()
    await fetched
    assert list(bench.studio.loaded) == ["new"]


async def test_where_nothing_is_written_nothing_is_asked(bench: Bench) -> None:
    bench.live.snapshot = loads(f'upstreams: {{u: {{provider: lmstudio, url: "{bench.fake.url}"}}}}'.encode(), "f", {})
    await bench.use()
    assert bench.fake.everything == []


async def test_the_watch_unloads_by_itself(bench: Bench) -> None:
    bench.configure(ttl="1ms")
    watch = asyncio.create_task(bench.readiness.keep())
    await bench.use()
    bench.clock.advance(1.0)
    await bench.studio.until(lambda: bench.studio.unloads == ["a"])
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
