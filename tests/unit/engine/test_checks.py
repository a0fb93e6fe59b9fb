"""One's own servers are asked for their lists over real sockets; what comes of it is what routing sees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from proxy.adapters.transport_http import HttpTransport
from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.core.decision import Target
from proxy.core.errors import ErrorKind
from proxy.engine.checks import Checks
from proxy.engine.live import Live
from proxy.policy.breaker import State
from tests.upstream import FakeUpstream, Script

NOWHERE = "http://127.0.0.1:9/v1"


def snapshot(one: FakeUpstream | str, **fields: object) -> Snapshot:
    url = one if isinstance(one, str) else one.url
    home = {"provider": "compatible", "local": True, "url": url, "keys": ["${KEY}"], **fields}
    cloud = {"provider": "compatible", "url": NOWHERE, "keys": ["${KEY}"]}
    return loads(json.dumps({"upstreams": {"one": home, "cloud": cloud}}).encode(), "routes.yaml", {"KEY": "k-1"})


@pytest.fixture
async def one() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def live(one) -> Live:
    return Live(snapshot(one), FakeClock())


@pytest.fixture
async def checks(live) -> AsyncIterator[Checks]:
    transport = HttpTransport()
    yield Checks(live, transport)
    await transport.aclose()


async def check(checks: Checks, live: Live, times: int = 1) -> str:
    """So many checks; the state then."""
    upstream = live.snapshot.upstreams["one"]
    for _ in range(times):
        await checks.check(upstream, upstream.checking)
    return live.service.describe(upstream)["checks"]["state"]


def answer(fake: FakeUpstream, script: Script) -> None:
    fake.script(script, path="/models", times=None)


async def test_three_bad_checks_make_it_down_and_two_good_ones_up(live, checks, one):
    before = live.version
    assert await check(checks, live) == "up"
    answer(one, Script(status=500))
    assert await check(checks, live, 2) == "up"
    assert not live.is_down("one")
    assert live.version == before
    assert await check(checks, live) == "down"
    assert live.is_down("one")
    assert live.version != before
    assert live.why_down("one").startswith("3 checks failed in a row (fault: status 500")
    one.reset()
    assert await check(checks, live) == "down"
    assert await check(checks, live) == "up"
    assert not live.is_down("one")


@pytest.mark.parametrize(
    "script",
    [
        Script(body=b""), Script(body=b"null"), Script(body=b"[]"), Script(body=b"<html>busy</html>"),
        Script(body=b'{"data":[{"id":1}]}'), Script(body=b'{"error":"Unexpected endpoint"}'), Script(status=404),
        Script(status=503), Script(ending="reset", cut_head=0),
    ],
)  # fmt: skip
async def test_what_is_no_list_is_bad_once_there_was_one(live, checks, one, script):
    assert await check(checks, live) == "up"
    answer(one, script)
    assert await check(checks, live, 3) == "down"


@pytest.mark.parametrize("script", [Script(body=b"<html>"), Script(status=404), Script(status=405)])
async def test_a_server_without_such_a_list_is_not_judged(live, checks, one, script):
    """It may answer prompts all the same."""
    answer(one, script)
    assert await check(checks, live, 5) == "unknown"
    assert not live.is_down("one")


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_keys_are_no_matter_of_these_checks(live, checks, one, status):
    assert await check(checks, live) == "up"
    answer(one, Script(status=status))
    assert await check(checks, live, 5) == "up"


async def test_an_empty_list_is_a_list(live, checks, one):
    answer(one, Script(body=b'{"object":"list","data":[]}'))
    assert await check(checks, live) == "up"


async def test_nothing_listens_there(live, checks, one):
    await one.stop()
    assert await check(checks, live, 3) == "down"
    assert "connect" in live.why_down("one")


async def test_the_servers_words_are_fit_for_a_terminal(live, checks, one):
    live.snapshot = snapshot(one, health={"fall": 1})
    error = {"message": "out\x1b[2J\r\nof\u202eorder" + "x" * 500, "type": "server_error"}
    answer(one, Script(status=500, error=error))
    assert await check(checks, live) == "down"
    assert live.why_down("one").isprintable()
    assert "out" in live.why_down("one")
    assert len(live.why_down("one")) < 300


async def test_a_list_that_takes_too_long_is_bad_unless_the_server_is_at_work(live, checks, one):
    live.snapshot = snapshot(one, health={"every": "1s", "timeout": "20ms"})
    answer(one, Script(before_head="never"))
    live.enter("one")
    assert await check(checks, live, 4) == "unknown"
    live.leave("one")
    assert await check(checks, live, 3) == "down"
    assert "no list of models within 0.02 s" in live.why_down("one")


async def test_who_is_up_again_is_probed_at_once(live, checks, one):
    """However long its breaker was to stay open; it is real requests that close it."""
    target = Target(live.snapshot.upstreams["one"], "m")
    for _ in range(5):
        live.health.settle(target, live.health.enter(target), ErrorKind.CONNECT)
    answer(one, Script(status=500))
    await check(checks, live, 3)
    assert live.is_open(target)
    one.reset()
    before = live.version
    await check(checks, live, 2)
    assert not live.is_open(target)
    assert live.version != before
    assert live.health.state(target) is State.HALF_OPEN


async def test_the_duty_checks_local_servers_alone_and_follows_a_reload(live, checks, one):
    """The next check after a reload comes when it would have come."""
    duty = asyncio.create_task(checks.keep())
    await until(lambda: live.service.describe(live.snapshot.upstreams["one"])["checks"]["state"] == "up")
    assert live.service.describe(live.snapshot.upstreams["cloud"])["checks"] is None
    assert live.service.checkup(live.snapshot.upstreams["one"]).due == 10.0

    async with FakeUpstream() as other:
        live.snapshot = snapshot(other)
        checks.outdate()
        await until(lambda: len(other.everything) == 1)
        checks.outdate()
        await asyncio.sleep(0)
        assert len(other.everything) == 1

    live.snapshot = snapshot(one, health={"every": "never"})
    checks.outdate()
    duty.cancel()
    assert len(one.everything) == 1


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)
