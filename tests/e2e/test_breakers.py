"""A target that fails is left alone, tried again by single requests, and comes back gently. Time is the test's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.adapters.http1.response import Response
from proxy.adapters.transport_http import HttpTransport
from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.core.ports import WireRequest
from tests.e2e.conftest import Serve, running
from tests.e2e.harness import ADMIN, ENVIRONMENT, Proxy, document, upstream
from tests.upstream import FakeUpstream, Script

BROKEN = Script(status=500)
MODES = {"whole": False, "stream": True}
ENOUGH = 20
"""Requests after which every breaker that should be open is."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def break_open(proxy: Proxy, fake: FakeUpstream, **fields: object) -> None:
    """`fake` answers with errors until nothing reaches it any more."""
    fake.script(BROKEN, times=None)
    for _ in range(ENOUGH):
        await proxy.chat(**fields)


async def breaker(proxy: Proxy, name: str) -> Any:
    status = await proxy.admin("status")
    (row,) = (row for row in status["upstreams"] if row["name"] == name)
    return row["breaker"]


@pytest.mark.parametrize("stream", MODES.values(), ids=MODES)
async def test_errors_without_end_open_the_breaker_after_five(serve: Serve, one, two, clock, stream):
    """Fault 18: the next target answers, at first after an attempt and then at once."""
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    one.script(BROKEN, times=None)
    answers = [await proxy.chat(stream=stream) for _ in range(ENOUGH)]

    assert {answer.headers["x-failsoft-upstream"] for answer in answers} == {"two"}
    assert len(one.seen) == 5
    assert answers[-1].headers["x-failsoft-attempts"] == "1"


@pytest.mark.parametrize("stream", MODES.values(), ids=MODES)
@pytest.mark.fault(71)
async def test_a_single_target_fails_fast(serve: Serve, one, clock, stream):
    """Faults 18 and 71: offline answers at once; who refuses them learns when to come back."""
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(BROKEN, times=None)
    answers = [await proxy.chat(stream=stream) for _ in range(ENOUGH)]

    assert {answer.headers["x-failsoft-offline"] for answer in answers} == {"rules"}
    assert len(one.seen) == 5
    assert answers[-1].headers["x-failsoft-attempts"] == "0"
    refused = await proxy.chat({"x-failsoft-offline": "never"}, stream=stream)
    assert (refused.status, refused.error["code"]) == (503, "upstream_resting")
    assert 4 <= int(refused.headers["retry-after"]) <= 6
    assert len(one.seen) == 5


async def test_streams_that_break_after_the_first_word_count(serve: Serve, one, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    gate = one.gate()
    gate.open()
    one.script(Script(cut_frames=3, ending="close", pauses={2: gate}), times=None)
    for _ in range(ENOUGH):
        await proxy.chat(stream=True)

    assert len(one.seen) == 5
    assert (await breaker(proxy, "one"))["isOpen"]


async def test_a_client_that_leaves_says_nothing_of_the_target(serve: Serve, one, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(Script(before_head="never"), times=None)
    for number in range(7):
        asked = asyncio.create_task(proxy.chat())
        await one.arrived(number + 1)
        asked.cancel()
        await one.seen[number].closed()

    rows = (await breaker(proxy, "one"))["targets"]
    assert [(row["failures"], row["isOpen"]) for row in rows] in ([], [(0, False)])


async def test_requests_at_fault_do_not_open_it(serve: Serve, one, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(Script(status=400), times=None)
    for _ in range(ENOUGH):
        assert (await proxy.chat()).status == 400

    assert len(one.seen) == ENOUGH


async def test_one_model_may_rest_while_another_works(serve: Serve, one, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(BROKEN, model="bad", times=None)
    for _ in range(ENOUGH):
        await proxy.chat(model="bad")

    assert (await proxy.chat(model="good")).headers["x-failsoft-upstream"] == "one"
    found = await breaker(proxy, "one")
    assert [(row["model"], row["state"]) for row in found["targets"]] == [("bad", "open"), ("good", "closed")]
    assert not found["isOpen"]


@pytest.mark.fault(70)
async def test_it_is_probed_and_comes_back_gently(serve: Serve, one, two, clock):
    """Fault 70 in a small form: ten minutes of outage, then health; the herd never gathers."""
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    one.script(BROKEN, times=None)
    for _ in range(600):
        clock.advance(1)
        assert (await proxy.chat()).headers["x-failsoft-upstream"] == "two"
    assert len(one.seen) <= 5 + 5 + 600 / 24

    one.reset()
    clock.advance(36)
    served = []
    for _ in range(60):
        clock.advance(1)
        served.append((await proxy.chat()).headers["x-failsoft-upstream"])
    assert served[:3] == ["one"] * 3
    assert 1 <= served[3:13].count("one") <= 5
    assert served[40:] == ["one"] * 20


@pytest.mark.fault(70)
async def test_one_probe_at_a_time(serve: Serve, one, two, clock):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    await break_open(proxy, one)
    one.reset()
    gate = one.gate()
    one.script(Script(before_head=gate))
    clock.advance(10)
    probe = asyncio.create_task(proxy.chat())
    await one.arrived()
    others = [(await proxy.chat()).headers["x-failsoft-upstream"] for _ in range(5)]
    gate.open()

    assert others == ["two"] * 5
    assert (await probe).headers["x-failsoft-upstream"] == "one"
    assert len(one.seen) == 1


class Watched(HttpTransport):
    """Notes how long each request may take to begin: its first byte and its first token, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.patience: list[tuple[float, float]] = []

    async def send(self, request: WireRequest) -> Response:
        if request.method == "POST":
            self.patience.append((request.timeouts.first_byte, request.timeouts.first_token))
        return await super().send(request)


@pytest.mark.parametrize("stream", MODES.values(), ids=MODES)
async def test_a_probe_gets_half_the_usual_time_to_begin(serve: Serve, one, clock, stream):
    transport = Watched()
    proxy = await serve(document({"one": upstream(one, timeouts={"attempt": "100s"})}), clock, transport=transport)
    await break_open(proxy, one, stream=stream)
    one.reset()
    for _ in range(4):
        clock.advance(10)
        assert (await proxy.chat(stream=stream)).headers["x-failsoft-upstream"] == "one"
    usual = (30.0, 60.0) if stream else (100.0, 60.0)
    half = (usual[0] / 2, usual[1] / 2)
    assert transport.patience == [usual] * 5 + [half] * 3 + [usual]


async def test_when_all_rest_one_request_a_second_asks_the_one_that_failed_longest_ago(serve: Serve, one, two, clock):
    """Fault 71 with two targets: everybody else is answered offline at once."""
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    two.script(BROKEN, times=None)
    await break_open(proxy, one)
    clock.advance(1.5)
    before = len(one.seen), len(two.seen)
    answers = [await proxy.chat() for _ in range(5)]
    assert (len(one.seen) + len(two.seen)) - sum(before) == 1
    assert {answer.headers["x-failsoft-offline"] for answer in answers} == {"rules"}

    two.reset()
    one.reset()
    clock.advance(1.5)
    assert (await proxy.chat()).headers["x-failsoft-upstream"] in ("one", "two")


@pytest.mark.fault(72)
async def test_two_of_three_that_fail_together_lose_nothing(serve: Serve, clock):
    """Fault 72: half of all requests to two of three targets fail; every one is answered by a model."""
    async with FakeUpstream() as a, FakeUpstream() as b, FakeUpstream() as c:
        config = document({"a": upstream(a), "b": upstream(b), "c": upstream(c)})
        async with running(config, clock=clock) as proxy:
            for number in range(200):
                clock.advance(0.5)
                for fake in (a, b):
                    fake.default = BROKEN if number % 2 else Script()
                answer = await proxy.chat()
                assert (answer.status, "x-failsoft-offline" in answer.headers) == (200, False)
            assert (await breaker(proxy, "a"))["targets"][0]["openings"]


async def test_the_state_is_shown_and_survives_a_reload(one, two, clock):
    """The breaker is known by its names; its settings are the new file's."""
    written = document({"one": upstream(one), "two": upstream(two)})

    def source():
        return loads(json.dumps(written).encode(), "routes.yaml", ENVIRONMENT)

    async with running(written, source, clock=clock) as proxy:
        await break_open(proxy, one)
        written["upstreams"]["one"]["breaker"] = {"consecutive": 7}
        reloaded = await proxy.post("/admin/reload", b"", {"x-api-key": ADMIN})
        assert reloaded.json["ok"]
        await proxy.chat()
        shown = await breaker(proxy, "one")

    assert len(one.seen) == 5
    (row,) = shown["targets"]
    assert (shown["isOpen"], row["isOpen"], row["state"], row["model"]) == (True, True, "open", "m")
    assert (row["success_rate"], row["successes"], row["failures"], row["openings"]) == (0.0, 0, 5, 1)
    assert 4 <= row["probes_in_seconds"] <= 6
    assert row["retry_budget"] == {"tokens": 500 - 14 * 2, "capacity": 500, "under_way": 0}
    assert shown["config"]["consecutive"] == 7
