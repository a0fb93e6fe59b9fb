"""One's own servers are checked and passed over while they are down, and upstreams may be taken out of service."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.config.load import loads
from proxy.core.clock import FakeClock
from tests.e2e.conftest import Serve, running
from tests.e2e.harness import ADMIN, CHAT, ENVIRONMENT, Answer, Proxy, document, upstream
from tests.upstream import PATIENCE, FakeUpstream, Script

KEY = {"x-api-key": ADMIN}
OFTEN = {"every": "10ms", "timeout": "1m", "fall": 2, "rise": 2}
MODES = {"whole": False, "stream": True}


def home(fake: FakeUpstream, **fields: Any) -> dict[str, Any]:
    """A server of one's own that is checked all the time."""
    return upstream(fake, local=True, **{"health": OFTEN, **fields})


async def health(proxy: Proxy, name: str) -> Any:
    return (await proxy.admin("health"))["upstreams"][name]


async def until(proxy: Proxy, name: str, state: str) -> None:
    """Wait for what checks find."""
    async with asyncio.timeout(PATIENCE):
        while (await health(proxy, name))["checks"]["state"] != state:
            pass


async def order(proxy: Proxy, name: str, state: str, reason: str = "new disk", **fields: Any) -> Answer:
    return await proxy.post("/admin/provider", {"upstream": name, "state": state, "reason": reason, **fields}, KEY)


async def explained(proxy: Proxy) -> Any:
    return (await proxy.post("/admin/explain", {"request": CHAT}, KEY)).json


async def asked(proxy: Proxy, **fields: Any) -> str:
    """Who answers."""
    return (await proxy.chat(**fields)).headers["x-failsoft-upstream"]


@pytest.mark.parametrize("stream", MODES.values(), ids=MODES)
async def test_a_server_that_goes_down_is_passed_over_and_comes_back_by_its_checks(serve: Serve, one, two, stream):
    """No request finds out that it is down, and none that it is up again."""
    proxy = await serve(document({"one": home(one), "two": upstream(two)}))
    await until(proxy, "one", "up")
    assert await asked(proxy, stream=stream) == "one"

    one.script(Script(status=500), path="/models", times=None)
    await until(proxy, "one", "down")
    assert await asked(proxy, stream=stream) == "two"
    told = await explained(proxy)
    assert told["first"] == "two/m"
    assert "down: " in told["text"]
    assert "checks failed in a row" in told["text"]

    before = len(one.seen)
    one.reset()
    await until(proxy, "one", "up")
    assert (len(one.seen), before) == (0, 1)
    assert await asked(proxy, stream=stream) == "one"


async def test_a_stream_goes_on_while_its_server_is_down_by_its_checks(serve: Serve, one, two):
    proxy = await serve(document({"one": home(one), "two": upstream(two)}))
    await until(proxy, "one", "up")
    gate = one.gate()
    one.script(Script(pauses={2: gate}))
    stream = asyncio.create_task(proxy.chat(stream=True))
    await (await one.arrived()).sent_frames(2)
    one.script(Script(body=b"<html>"), path="/models", times=None)
    await until(proxy, "one", "down")
    gate.open()
    assert (await stream).text == "Hello, world!"


async def test_when_everything_is_down_the_offline_answer_comes_at_once(serve: Serve, one):
    proxy = await serve(document({"one": home(one)}))
    await until(proxy, "one", "up")
    one.script(Script(status=500), path="/models", times=None)
    await until(proxy, "one", "down")
    answer = await proxy.chat()
    assert (answer.status, answer.headers["x-failsoft-offline"]) == (200, "rules")
    refused = await proxy.chat({"x-failsoft-offline": "never"})
    assert (refused.status, refused.error["code"]) == (503, "upstream_resting")
    assert not one.seen


async def test_of_several_that_are_down_one_is_asked_now_and_then(serve: Serve, one, two):
    """The checks may be wrong: once a second a request finds out."""
    clock = FakeClock()
    proxy = await serve(document({"one": home(one), "two": home(two)}), clock)
    for name, fake in (("one", one), ("two", two)):
        clock.advance(1)  # the next check is due
        await until(proxy, name, "up")
        fake.script(Script(status=500), path="/models", times=None)
    for name in ("one", "two"):
        await fall(proxy, clock, name)
    answers = [await proxy.chat() for _ in range(3)]
    assert ["x-failsoft-offline" in answer.headers for answer in answers] == [False, True, True]
    clock.advance(1)
    assert "x-failsoft-offline" not in (await proxy.chat()).headers


async def fall(proxy: Proxy, clock: FakeClock, name: str) -> None:
    """Let the time pass in which checks are due, until they have found it down."""
    async with asyncio.timeout(PATIENCE):
        while (await health(proxy, name))["checks"]["state"] != "down":
            clock.advance(0.01)


async def test_a_cloud_is_not_checked(serve: Serve, one):
    proxy = await serve(document({"one": upstream(one)}))
    assert (await health(proxy, "one"))["checks"] is None


async def test_a_reload_begins_and_ends_checks_and_runs_the_self_test(one):
    written = document({"one": upstream(one)})

    def source():
        return loads(json.dumps(written).encode(), "routes.yaml", ENVIRONMENT)

    async with running(written, source) as proxy:
        assert (await health(proxy, "one"))["checks"] is None
        written["upstreams"]["one"] = home(one)
        written["offline"] = {"levels": []}
        assert (await proxy.post("/admin/reload", b"", KEY)).json["ok"]
        await until(proxy, "one", "up")
        async with asyncio.timeout(PATIENCE):
            while (await proxy.admin("health"))["offline_self_test"] is not None:
                pass
        one.script(Script(status=500), path="/models", times=None)
        await until(proxy, "one", "down")
        written["upstreams"]["one"]["health"] = {"every": "never"}
        assert (await proxy.post("/admin/reload", b"", KEY)).json["ok"]
        assert (await health(proxy, "one"))["checks"] is None
        assert await asked(proxy) == "one"


@pytest.mark.parametrize("stream", MODES.values(), ids=MODES)
async def test_maintenance_lets_streams_end_and_takes_nothing_new(serve: Serve, one, two, stream):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    gate = one.gate()
    one.script(Script(pauses={2: gate}) if stream else Script(before_head=gate))
    first = asyncio.create_task(proxy.chat(stream=stream))
    await one.arrived()

    answer = await order(proxy, "one", "maintenance")
    assert answer.status == 200, answer.body
    assert (answer.json["in_flight"], answer.json["reason"], answer.json["until"]) == (1, "new disk", None)
    assert await asked(proxy, stream=stream) == "two"
    gate.open()
    assert (await first).headers["x-failsoft-upstream"] == "one"
    assert len(one.seen) == 1

    assert (await order(proxy, "one", "active")).json["was_in_maintenance"] is True
    assert await asked(proxy, stream=stream) == "one"


async def test_who_waits_in_the_line_of_an_upstream_in_maintenance_goes_elsewhere(serve: Serve, one, two):
    clock = FakeClock()
    slots = {"limit": 1, "queue": 1, "wait": "1h"}
    proxy = await serve(document({"one": upstream(one, slots=slots), "two": upstream(two)}), clock)
    gate = one.gate()
    one.script(Script(before_head=gate))
    first = asyncio.create_task(proxy.chat())
    await one.arrived()
    second = asyncio.create_task(proxy.chat())
    async with asyncio.timeout(PATIENCE):
        while not (await proxy.admin("status"))["upstreams"][0]["slots"]["queued"]:
            pass
    await order(proxy, "one", "maintenance")
    clock.advance(10)
    gate.open()
    assert [(await answer).headers["x-failsoft-upstream"] for answer in (first, second)] == ["one", "two"]


async def test_maintenance_is_seen_everywhere(serve: Serve, one, two):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    await order(proxy, "one", "maintenance")
    row = (await health(proxy, "one"))["maintenance"]
    assert (row["reason"], row["until"], len(row["by"])) == ("new disk", None, 8)
    assert row in [each["maintenance"] for each in (await proxy.admin("status"))["upstreams"]]
    assert (await explained(proxy))["left_out"] == [{"target": "one/*", "why": "in maintenance: new disk"}]


async def test_the_only_upstream_in_maintenance(serve: Serve, one):
    proxy = await serve(document({"one": upstream(one)}))
    await order(proxy, "one", "maintenance")
    assert (await proxy.chat()).headers["x-failsoft-offline"] == "rules"
    refused = await proxy.chat({"x-failsoft-offline": "never"})
    assert (refused.status, refused.error["code"]) == (503, "no_upstream")
    assert not one.seen


async def test_maintenance_with_an_end_ends_by_itself(serve: Serve, one, two):
    clock = FakeClock()
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    answer = await order(proxy, "one", "maintenance", until="30m")
    assert answer.json["until"] == "2026-01-01T00:30:00+00:00"
    clock.advance(29 * 60)
    assert await asked(proxy) == "two"
    clock.advance(60)
    assert await asked(proxy) == "one"
    assert (await health(proxy, "one"))["maintenance"] is None


async def test_maintenance_outlives_a_reload(one, two):
    written = document({"one": upstream(one), "two": upstream(two)})

    def source():
        return loads(json.dumps(written).encode(), "routes.yaml", ENVIRONMENT)

    async with running(written, source) as proxy:
        await order(proxy, "one", "maintenance")
        written["upstreams"]["one"]["breaker"] = {"consecutive": 7}
        assert (await proxy.post("/admin/reload", b"", KEY)).json["ok"]
        assert await asked(proxy) == "two"


async def test_the_nearest_name_is_told(serve: Serve, one):
    proxy = await serve(document({"primary": upstream(one)}))
    answer = await order(proxy, "primry", "maintenance")
    assert (answer.status, answer.error["code"]) == (404, "upstream_not_found")
    assert "did you mean `primary`" in answer.error["message"]
    assert (await order(proxy, "offline", "maintenance")).status == 404


async def test_other_workers_and_the_next_start_know_of_it(one, two, tmp_path):
    config = document({"one": upstream(one), "two": upstream(two)})
    state = tmp_path / "state"
    async with running(config, folder=state) as first, running(config, folder=state) as second:
        assert (await order(first, "one", "maintenance")).json["not_saved_because"] is None
        async with asyncio.timeout(PATIENCE):
            while (await health(second, "one"))["maintenance"] is None:
                pass
        assert await asked(second) == "two"
    async with running(config, folder=state) as third:
        assert await asked(third) == "two"
        await order(third, "one", "active")
    async with running(config, folder=state) as fourth:
        assert await asked(fourth) == "one"


async def test_an_order_that_cannot_be_kept_holds_nevertheless_and_says_so(one, two, tmp_path):
    state = tmp_path / "state"
    state.write_text("no folder")
    async with running(document({"one": upstream(one), "two": upstream(two)}), folder=state) as proxy:
        answer = await order(proxy, "one", "maintenance")
        assert (answer.status, answer.json["not_saved_because"]) == (200, "Not a directory")
        assert await asked(proxy) == "two"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", {}, {"upstream": "one", "state": "maintenance"}, {"upstream": "one", "state": "paused"},
        {"reason": ""}, {"reason": "two\nlines"}, {"reason": "\x1b[2J"}, {"reason": "x" * 501}, {"reason": 1},
        {"until": "soon"}, {"until": "0s"}, {"until": "9999d"}, {"state": "active", "until": "1h"}, {"odd": 1},
    ],
)  # fmt: skip
async def test_a_bad_order_changes_nothing(serve: Serve, one, body):
    proxy = await serve(document({"one": upstream(one)}))
    usual = {"upstream": "one", "state": "maintenance", "reason": "new disk"}
    whole = body if isinstance(body, bytes) or "upstream" in body or not body else usual | body
    answer = await proxy.post("/admin/provider", whole, KEY)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert await asked(proxy) == "one"


async def test_the_offline_path_is_tested_at_the_start_and_leaves_no_trace(serve: Serve, one):
    proxy = await serve(document({"one": upstream(one)}))
    async with asyncio.timeout(PATIENCE):
        while (tested := (await proxy.admin("health"))["offline_self_test"]) is None:
            pass
    assert (tested["ok"], tested["levels"]["rules"]) == (True, "ok")
    assert (await proxy.admin("statistics"))["requests"] == 0
    assert (await proxy.admin("requests"))["requests"] == []


async def test_no_self_test_where_there_is_nothing_to_test(serve: Serve, one):
    proxy = await serve(document({"one": upstream(one)}, offline={"levels": []}))
    assert (await proxy.admin("health"))["offline_self_test"] is None


async def test_the_loop_tells_that_it_turns(proxy: Proxy):
    answer = await proxy.get("/livez")
    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert 0 <= answer.json["loop_lag_seconds"] < 1
