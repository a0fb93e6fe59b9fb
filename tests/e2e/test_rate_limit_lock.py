"""A throttled cloud is left alone until its reset, and one's own machines step in. Time is the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.clock import FakeClock
from tests.e2e.conftest import Serve
from tests.e2e.harness import ADMIN, CHAT, Proxy, document, upstream
from tests.upstream import FakeUpstream, Script

THROTTLED = Script(status=429, headers=(("retry-after", "90"),))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def three(cloud: FakeUpstream, other: FakeUpstream, home: FakeUpstream, **fields: Any) -> dict[str, Any]:
    """A cloud, another cloud and a machine of one's own, in this order."""
    config = document({"cloud": upstream(cloud), "other": upstream(other), "home": upstream(home, local=True)})
    config["routes"][0] |= fields
    return config


async def served_by(proxy: Proxy, **fields: object) -> tuple[str, str]:
    answer = await proxy.chat(**fields)
    return answer.headers["x-failsoft-upstream"], answer.headers["x-failsoft-attempts"]


@pytest.mark.parametrize("stream", [False, True])
async def test_ones_own_machine_steps_in_until_the_reset(serve: Serve, one, two, clock, stream):
    async with FakeUpstream() as home:
        proxy = await serve(three(one, two, home), clock)
        one.script(THROTTLED, model="m")
        assert await served_by(proxy, stream=stream) == ("other", "2")
        assert [await served_by(proxy, stream=stream) for _ in range(5)] == [("home", "1")] * 5
        assert await served_by(proxy, model="n", stream=stream) == ("cloud", "1")

        clock.advance(90)
        assert await served_by(proxy, stream=stream) == ("cloud", "1")


async def test_a_route_may_keep_its_order(serve: Serve, one, two, clock):
    async with FakeUpstream() as home:
        proxy = await serve(three(one, two, home, when_throttled="next"), clock)
        one.script(THROTTLED)
        assert [await served_by(proxy) for _ in range(3)] == [("other", "2"), ("other", "1"), ("other", "1")]


async def test_it_is_shown_until_when(serve: Serve, one, two, clock):
    async with FakeUpstream() as home:
        proxy = await serve(three(one, two, home), clock)
        one.script(THROTTLED)
        await proxy.chat()
        clock.advance(30)
        rows = (await proxy.admin("status"))["upstreams"]
        asked = await proxy.post("/admin/explain", {"request": CHAT}, {"x-api-key": ADMIN})
        until = clock.wall().replace(minute=1, second=30).isoformat(timespec="seconds")

        shown = {row["name"]: row["throttled"] for row in rows}
        assert shown == {
            "cloud": [{"model": "m", "until": until, "seconds": 60.0}], "other": [], "home": [], "offline": [],
        }  # fmt: skip
        targets = [(row["target"], row["state"]) for row in asked.json["targets"][:3]]
        assert [target for target, _ in targets] == ["home/m", "other/m", "cloud/m"]
        assert targets[2][1] == [f"throttled until {until}"]
        assert asked.json["first"] == "home/m"

        clock.advance(60)
        rows = (await proxy.admin("status"))["upstreams"]
        assert [row["throttled"] for row in rows] == [[]] * 4
