"""The same target is asked again where that helps, within the deadline, and never as a storm. Pauses pass at once."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from proxy.core.clock import FakeClock
from tests.e2e.conftest import Serve
from tests.e2e.harness import document, upstream
from tests.upstream import FakeUpstream, Script

BROKEN = Script(status=500)
BUSY = Script(status=503)
MODES = {"whole": False, "stream": True}
REFUSES = {"x-failsoft-offline": "never"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize("stream", MODES.values(), ids=MODES)
async def test_a_single_fault_is_repeated(serve: Serve, one, clock, stream):
    """Fault 17."""
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(BROKEN)
    answer = await proxy.chat(stream=stream)

    assert (answer.text, answer.headers["x-failsoft-attempts"]) == ("Hello, world!", "2")
    assert 0 <= clock.now <= 0.25
    assert one.seen[0].request.body == one.seen[1].request.body


async def test_a_target_is_asked_twice_and_the_next_at_once(serve: Serve, one, two, clock):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    one.script(BROKEN, times=None)
    answer = await proxy.chat()

    assert (answer.headers["x-failsoft-upstream"], answer.headers["x-failsoft-attempts"]) == ("two", "3")
    assert len(one.seen) == 2


async def test_a_repetition_takes_no_target_its_try(serve: Serve, one, clock):
    """Four tries for four targets: the fourth answers."""
    async with FakeUpstream() as b, FakeUpstream() as c, FakeUpstream() as d:
        fakes = {"a": one, "b": b, "c": c, "d": d}
        proxy = await serve(document({name: upstream(fake) for name, fake in fakes.items()}), clock)
        for fake in (one, b, c):
            fake.script(BROKEN, times=None)
        answer = await proxy.chat()
    assert (answer.headers["x-failsoft-upstream"], answer.headers["x-failsoft-attempts"]) == ("d", "4")


async def test_the_route_says_how_long_a_pause_may_be(serve: Serve, one, clock):
    routes = [{"name": "all", "match": {"model": "*"}, "use": ["one/*"], "retry": {"base": "0s"}}]
    proxy = await serve(document({"one": upstream(one)}, routes=routes), clock)
    one.script(BROKEN)
    assert (await proxy.chat()).headers["x-failsoft-attempts"] == "2"
    assert clock.now == 0


async def test_an_overloaded_target_is_left_alone_for_a_second(serve: Serve, one, two, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(BUSY)
    assert (await proxy.chat()).headers["x-failsoft-attempts"] == "2"
    assert 1 <= clock.now <= 1.25

    other = await serve(document({"one": upstream(one), "two": upstream(two)}), FakeClock())
    one.script(BUSY)
    answer = await other.chat()
    assert (answer.headers["x-failsoft-upstream"], answer.headers["x-failsoft-attempts"]) == ("two", "2")


@pytest.mark.parametrize(("wait", "attempts"), [("1", "2"), ("2", "2"), ("3", "1")])
async def test_a_throttled_key_is_waited_for_if_it_is_soon(serve: Serve, one, clock, wait, attempts):
    """Fault 20 with one key."""
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(Script(status=429, headers=(("retry-after", wait),)))
    answer = await proxy.chat(REFUSES)

    assert answer.headers["x-failsoft-attempts"] == attempts
    assert answer.status == (200 if attempts == "2" else 429)
    if attempts == "2":
        assert clock.now == pytest.approx(float(wait), abs=0.1)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_refused_connection_costs_nothing(serve: Serve, one, clock, times):
    """The connection is tried again at once; what was not sent is no attempt that the upstream saw."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        proxy = await serve(document({"dead": upstream(dead), "one": upstream(one)}), clock)
        for _ in range(times):
            answer = await proxy.chat()
    assert answer.headers["x-failsoft-upstream"] == "one"
    assert clock.now == 0


async def test_who_repeats_already_gets_two_tries(serve: Serve, one, two, clock):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}, offline={"levels": []}), clock)
    for fake in (one, two):
        fake.script(BROKEN, times=None)
    answer = await proxy.chat({"x-stainless-retry-count": "1"})

    assert answer.headers["x-failsoft-attempts"] == "2"
    assert (len(one.seen), len(two.seen)) == (1, 1)


async def test_an_outage_is_no_storm(serve: Serve, one, clock):
    """With a breaker that never opens the budget alone limits the repetitions: 500 tokens at 14 each."""
    never: dict[str, Any] = {"consecutive": 10_000, "results": 10_000}
    proxy = await serve(document({"one": upstream(one, breaker=never)}), clock)
    one.script(BROKEN, times=None)
    for _ in range(100):
        await proxy.chat()
    assert len(one.seen) == 100 + 500 // 14


async def test_the_clients_patience_is_the_deadline(serve: Serve, one, two, clock):
    """The SDK says how long it waits for a byte: it gets an answer before, and the upstream is not blamed."""
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    one.script(Script(before_head="never"))
    answer = await proxy.chat({"x-stainless-read-timeout": "0.3"})

    assert answer.headers["x-failsoft-offline"] == "rules"
    assert (len(one.seen), len(two.seen)) == (1, 0)
    await one.seen[0].closed()
    status = await proxy.admin("status")
    (row,) = status["upstreams"][0]["breaker"]["targets"]
    assert (row["failures"], row["state"]) == (0, "closed")
    refused = await proxy.chat(REFUSES | {"x-stainless-read-timeout": "0.000001"})
    assert (refused.status, refused.error["code"]) == (504, "deadline_exceeded")


async def test_a_streaming_client_hears_something_in_time(serve: Serve, one):
    """Its read timeout counts from byte to byte, so signs of life are enough."""
    proxy = await serve(document({"one": upstream(one)}))
    gate = one.gate()
    one.script(Script(before_head=gate))
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    patience = {"x-stainless-read-timeout": "0.2"}
    async with proxy.session.post(f"{proxy.url}/v1/chat/completions", json=body, headers=patience) as answer:
        beats = [await answer.content.readuntil(b"\n\n") for _ in range(3)]
        gate.open()
        rest = await answer.content.read()
    assert beats == [b": keep-alive\n\n"] * 3
    assert b"[DONE]" in rest
