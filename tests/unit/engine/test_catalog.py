"""Which models the upstreams list is asked in the background, over real sockets, and never waited for in vain."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from proxy.adapters.local_models import LocalModels
from proxy.adapters.transport_http import HttpTransport
from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.engine.catalog import Catalog
from proxy.engine.live import Live
from proxy.engine.readiness import Readiness
from tests.upstream import FakeUpstream, Gate, Script

LISTED = {"fake-small", "fake-large", "vendor/fake:q4"}
ALWAYS = 3600.0


def snapshot(**upstreams: FakeUpstream | str) -> Snapshot:
    made = {
        name: {"provider": "compatible", "url": at if isinstance(at, str) else at.url, "keys": ["${KEY}"]}
        for name, at in upstreams.items()
    }
    return loads(json.dumps({"upstreams": made}).encode(), "routes.yaml", {"KEY": "k-1"})


@pytest.fixture
async def one() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def two() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def live(one) -> Live:
    return Live(snapshot(one=one), FakeClock())


@pytest.fixture
async def catalog(live) -> AsyncIterator[Catalog]:
    transport = HttpTransport()
    yield Catalog(live, transport, Readiness(live, LocalModels(transport)))
    await transport.aclose()


def asked(fake: FakeUpstream) -> int:
    return sum(seen.method == "GET" for seen in fake.everything)


async def test_the_lists_of_all_enabled_upstreams(catalog, live, one, two):
    live.snapshot = snapshot(one=one, two=two, closed="http://127.0.0.1:1/v1")
    await catalog.refresh()
    assert live.listed("one") == live.listed("two") == LISTED
    assert live.listed("closed") is None, "nobody could ask it"
    (seen,) = one.everything
    assert (seen.request.path, dict(seen.request.headers)["authorization"]) == ("/v1/models", "Bearer k-1")


async def test_looking_again_within_a_moment_asks_nobody(catalog, live, one):
    for seconds, times in ((0, 1), (14, 1), (2, 2)):
        live.clock.advance(seconds)
        await catalog.refresh()
        assert asked(one) == times


async def test_all_who_look_at_once_share_one_question(catalog, one):
    gate = Gate()
    one.script(Script(before_head=gate), path="/v1/models")
    looking = [asyncio.create_task(catalog.refresh()) for _ in range(5)]
    await gate.reached()
    looking[0].cancel()
    gate.open()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*looking, return_exceptions=True)
    assert looking[0].cancelled()
    assert all(task.exception() is None for task in looking[1:])
    assert asked(one) == 1, "and who left did not take it away from the others"


@pytest.mark.parametrize(
    "script",
    [
        Script(status=500),
        Script(status=401),
        Script(body=b"<html>"),
        Script(body=b'{"data":[{"name":"x"}]}'),
        Script(body=b'{"data":[{"id":"\xff"}]}'),
        Script(body=b'{"data":[{"id":"x"}]}', cut_after=5, ending="reset"),
        Script(ending="close", cut_head=0),
    ],
    ids=["500", "401", "no JSON", "another shape", "no UTF-8", "broken off", "closed"],
)
async def test_an_upstream_that_fails_keeps_its_last_list(catalog, live, one, script):
    await catalog.refresh()
    one.script(script, path="/v1/models", times=None)
    live.clock.advance(60)
    await catalog.refresh()
    assert live.listed("one") == LISTED
    assert asked(one) >= 2


async def test_other_upstreams_are_asked_at_once(catalog, live, one, two):
    """By whoever looks first: somebody, or the background task."""
    await catalog.refresh()
    live.snapshot = snapshot(one=one, two=two)
    catalog.outdate()
    await catalog.refresh()
    assert live.listed("two") == LISTED


async def test_a_change_while_the_old_upstreams_are_being_asked(catalog, live, one, two):
    gate = Gate()
    one.script(Script(before_head=gate), path="/v1/models")
    looking = asyncio.create_task(catalog.refresh())
    await gate.reached()
    live.snapshot = snapshot(two=two)
    catalog.outdate()
    late = asyncio.create_task(catalog.refresh())
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(looking, late)
    assert live.listed("two") == LISTED


async def test_the_background_task_wakes_up_for_a_change(catalog, live, one, two):
    for fake in (one, two):
        fake.script(Script(before_head=fake.gate("list")), path="/v1/models")
    task = asyncio.create_task(catalog.keep_fresh(ALWAYS))
    await one.gate("list").reached()
    one.gate("list").open()
    await catalog.refresh()
    assert live.listed("one") == LISTED
    live.snapshot = snapshot(two=two)
    catalog.outdate()
    await two.gate("list").reached()
    two.gate("list").open()
    await catalog.refresh()
    assert live.listed("two") == LISTED
    task.cancel()
