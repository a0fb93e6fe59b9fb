"""Slots, lines and our own pace towards an upstream, seen from both sides of the proxy."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.config.load import loads
from proxy.core.clock import FakeClock
from tests.e2e.conftest import running
from tests.e2e.harness import ADMIN, CHAT, ENVIRONMENT, Proxy, document, upstream
from tests.e2e.test_disconnect import post
from tests.e2e.test_tenants import tenant
from tests.upstream import FakeUpstream, Script

PATIENT = {"limit": 4, "queue": 100, "wait": "50s"}
NEVER = {"x-failsoft-offline": "never"}
GOLD = {"authorization": "Bearer gold-key"}
AS_ADMIN = {"authorization": f"Bearer {ADMIN}"}


async def crowd(proxy: Proxy, name: str = "one") -> dict[str, int]:
    rows = (await proxy.admin("status"))["upstreams"]
    return next(row["slots"] for row in rows if row["name"] == name)


async def queued(proxy: Proxy, count: int) -> None:
    """Wait until so many stand in line."""
    async with asyncio.timeout(60):
        while (await crowd(proxy))["queued"] != count:
            pass


def gated(fake: FakeUpstream, count: int) -> list:
    """A gate before the answer to each of the models m0, m1, …"""
    gates = [fake.gate(f"m{number}") for number in range(count)]
    for number, gate in enumerate(gates):
        fake.script(Script(before_head=gate), model=f"m{number}")
    return gates


def models(fake: FakeUpstream) -> list[str]:
    """What was asked of it, in order."""
    return [seen.request.json["model"] for seen in fake.seen]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_never_more_at_the_upstream_than_there_are_slots(serve, one, stream):
    """Whoever is let through is let out again by the test alone, so each count is exact."""
    proxy = await serve(document({"one": upstream(one, slots=PATIENT)}))
    gates = gated(one, 50)
    calls = [asyncio.create_task(proxy.chat(model=f"m{number}", stream=stream)) for number in range(50)]
    for done in range(46):
        await one.arrived(done + 4)
        assert len(one.seen) - done == 4
        if done == 0:
            await queued(proxy, 46)
            assert await crowd(proxy) == {"limit": 4, "in_flight": 4, "queued": 46}
        next(gate for gate in gates if gate.name == models(one)[done]).open()
        await one.seen[done].finished()
    for gate in gates:
        gate.open()
    answers = await asyncio.gather(*calls)
    assert {answer.text for answer in answers} == {"Hello, world!"}
    assert await crowd(proxy) == {"limit": 4, "in_flight": 0, "queued": 0}


async def test_plans_say_who_goes_first(serve, one):
    tenants = {
        "rich": tenant("gold-key", plan="gold"),
        "poor": {"anonymous": True, "plan": "free"},
    }
    plans = {"free": {"priority": 0}, "gold": {"priority": 200}}
    slots = {"limit": 1, "queue": 10, "wait": "50s"}
    proxy = await serve(document({"one": upstream(one, slots=slots)}, tenants=tenants, plans=plans))
    gates = gated(one, 4)
    calls = []
    for number, headers in enumerate(({}, {}, GOLD, AS_ADMIN)):
        calls.append(asyncio.create_task(proxy.chat(headers, model=f"m{number}")))
        await one.arrived() if number == 0 else await queued(proxy, number)
    for gate in gates:
        gate.open()
    await asyncio.gather(*calls)
    assert models(one) == ["m0", "m3", "m2", "m1"]


async def test_a_full_line_moves_on_to_the_next_target(serve, one, two):
    slots = {"limit": 1, "queue": 0}
    proxy = await serve(document({"one": upstream(one, slots=slots), "two": upstream(two)}))
    (gate,) = gated(one, 1)
    first = asyncio.create_task(proxy.chat(model="m0"))
    await gate.reached()
    second = await proxy.chat()
    assert (second.headers["x-failsoft-upstream"], second.headers["x-failsoft-attempts"]) == ("two", "1")
    gate.open()
    assert (await first).headers["x-failsoft-upstream"] == "one"


@pytest.mark.parametrize("slots", [{"limit": 1, "queue": 0}, {"limit": 1, "wait": "50ms"}], ids=["full", "too long"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_without_another_target_the_caller_is_told_when_to_come_back(serve, one, slots, stream):
    proxy = await serve(document({"one": upstream(one, slots=slots)}))
    (gate,) = gated(one, 1)
    first = asyncio.create_task(proxy.chat(model="m0"))
    await gate.reached()
    refused = await proxy.chat(NEVER, stream=stream)
    assert (refused.status, refused.error["code"]) == (503, "server_overloaded")
    assert refused.headers["x-should-retry"] == "true"
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert refused.headers["x-failsoft-attempts"] == "0"
    offline = await proxy.chat(stream=stream)
    assert (offline.status, offline.headers["x-failsoft-offline"]) == (200, "rules")
    gate.open()
    assert (await first).status == 200
    assert len(one.seen) == 1
    assert (await proxy.chat()).headers["x-failsoft-upstream"] == "one"


async def test_who_leaves_the_line_is_never_sent(serve, one):
    proxy = await serve(document({"one": upstream(one, slots=PATIENT | {"limit": 1})}))
    gates = gated(one, 3)
    first = asyncio.create_task(proxy.chat(model="m0"))
    await gates[0].reached()
    _, writer = await post(proxy, "/v1/chat/completions", CHAT | {"model": "m1", "stream": True})
    await queued(proxy, 1)
    third = asyncio.create_task(proxy.chat(model="m2"))
    await queued(proxy, 2)
    writer.close()
    await queued(proxy, 1)
    for gate in gates:
        gate.open()
    assert {(await first).status, (await third).status} == {200}
    assert models(one) == ["m0", "m2"]
    assert await crowd(proxy) == {"limit": 1, "in_flight": 0, "queued": 0}


async def test_a_streaming_client_that_waits_in_line_gets_signs_of_life(serve, one):
    config = document({"one": upstream(one, slots=PATIENT | {"limit": 1})}, server={"heartbeat": {"first": "10ms"}})
    proxy = await serve(config)
    (gate,) = gated(one, 1)
    first = asyncio.create_task(proxy.chat(model="m0"))
    await gate.reached()
    reader, writer = await post(proxy, "/v1/chat/completions", CHAT | {"stream": True})
    await reader.readuntil(b": keep-alive\n\n")
    gate.open()
    await reader.readuntil(b"[DONE]")
    writer.close()
    await first


async def test_a_reload_changes_the_limit_for_those_who_wait(one):
    """What is held stays held, and the line stays in its order."""
    versions = iter([
        document({"one": upstream(one, slots=PATIENT | {"limit": limit})}) for limit in (1, 3)
    ])  # fmt: skip

    def source():
        return loads(json.dumps(next(versions)).encode(), "routes.yaml", ENVIRONMENT)

    async with running({}, source) as proxy:
        gates = gated(one, 4)
        calls = []
        for number in range(4):
            calls.append(asyncio.create_task(proxy.chat(model=f"m{number}")))
            await one.arrived() if number == 0 else await queued(proxy, number)
        assert (await proxy.post("/admin/reload", {}, {"x-api-key": ADMIN})).status == 200
        await one.arrived(3)
        assert await crowd(proxy) == {"limit": 3, "in_flight": 3, "queued": 1}
        for gate in gates:
            gate.open()
        await asyncio.gather(*calls)
        assert sorted(models(one)[:3]) == ["m0", "m1", "m2"]


async def test_our_own_pace_is_kept(serve, one):
    """Of a burst of two in a minute the third would have to wait too long, so the next target has it."""
    rate = {"limit": "2/minute", "burst": 2}
    proxy = await serve(document({"one": upstream(one, rate=rate)}))
    answers = [await proxy.chat() for _ in range(3)]
    assert [answer.headers["x-failsoft-upstream"] for answer in answers] == ["one", "one", "offline"]
    assert len(one.seen) == 2


async def test_requests_keep_their_distance(serve, one):
    proxy = await serve(document({"one": upstream(one, rate={"spacing": "100ms"})}))
    await asyncio.gather(*(proxy.chat() for _ in range(4)))
    arrived = [seen.arrived for seen in one.seen]
    assert len(arrived) == 4
    assert arrived[-1] - arrived[0] >= 0.25  # three distances, less what the first was late


async def test_batch_is_turned_away_first_at_an_upstream(serve, one):
    """At four fifths of its slots: by the plan, or by what the request says of itself."""
    tenants = {"night": tenant("night-key", plan="night"), "day": {"anonymous": True}}
    plans = {"night": {"batch": True, "priority": 9}}
    proxy = await serve(document({"one": upstream(one, slots={"limit": 5})}, tenants=tenants, plans=plans))
    night = NEVER | {"authorization": "Bearer night-key"}
    gates = gated(one, 5)
    calls = [asyncio.create_task(proxy.chat(night, model=f"m{number}")) for number in range(4)]
    await one.arrived(4)
    for headers, fields in ((night, {}), (NEVER, {"service_tier": "flex"}), (NEVER, {"service_tier": "batch"})):
        refused = await proxy.chat(headers, **fields)
        assert (refused.status, refused.error["code"]) == (503, "server_overloaded")
        assert 1 <= int(refused.headers["retry-after"]) <= 5
    calls.append(asyncio.create_task(proxy.chat(model="m4", service_tier="default")))
    await one.arrived(5)
    for gate in gates:
        gate.open()
    assert {answer.status for answer in await asyncio.gather(*calls)} == {200}


async def test_batch_is_turned_away_first_by_the_process(serve, one):
    proxy = await serve(document({"one": upstream(one)}, server={"max_in_flight": 5}))
    gates = gated(one, 5)
    calls = [asyncio.create_task(proxy.chat(model=f"m{number}")) for number in range(4)]
    await one.arrived(4)
    refused = await proxy.chat(service_tier="flex")
    assert (refused.status, refused.error["code"], refused.headers["x-should-retry"]) == (
        503, "server_overloaded", "true",
    )  # fmt: skip
    assert (await proxy.chat(AS_ADMIN, service_tier="flex")).status == 200
    calls.append(asyncio.create_task(proxy.chat(model="m4")))
    await one.arrived(6)
    for gate in gates:
        gate.open()
    assert {answer.status for answer in await asyncio.gather(*calls)} == {200}


async def test_a_limit_that_is_found_out_is_shown(serve, one):
    """An upstream that says it is overloaded gets fewer; that streams begin is heard of."""
    clock = FakeClock()
    proxy = await serve(document({"one": upstream(one, slots={"limit": "auto", "least": 2, "most": 40})}), clock)
    assert (await proxy.chat(stream=True)).text == "Hello, world!"
    shown = await crowd(proxy)
    assert shown == {
        "limit": 40, "in_flight": 0, "queued": 0,
        "auto": {"least": 2, "most": 40, "lag": 1.0, "in_review": False},
    }  # fmt: skip
    one.script(Script(status=503), times=2)
    await proxy.chat(stream=True)
    assert (await crowd(proxy))["limit"] == int(40 * 0.75**2)
    gate = one.gate()
    one.script(Script(before_first=gate), times=20)
    calls = [asyncio.create_task(proxy.chat(stream=True)) for _ in range(20)]
    await one.arrived(3 + 20)
    clock.advance(2)
    gate.open()
    await asyncio.gather(*calls)
    shown = await crowd(proxy)
    assert (shown["limit"], shown["auto"]["in_review"]) == (10, True)
