"""A second target beside a slow one, and streams that are slow to begin, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.harness import CHAT, document, upstream
from tests.e2e.test_disconnect import idle, post
from tests.upstream import FakeUpstream, Script

MODES = {"whole": False, "stream": True}
both_ways = pytest.mark.parametrize("stream", MODES.values(), ids=MODES)


def hedging(one: FakeUpstream, two: FakeUpstream, **fields: Any) -> dict[str, Any]:
    """Two clouds; the second is asked after a millisecond."""
    clouds = {"one": upstream(one, **{"local": False} | fields), "two": upstream(two, local=False)}
    routes = [{"name": "all", "match": {"model": "*"}, "use": ["one/*", "two/*"], "hedge": {"after": "1ms"}}]
    return document(clouds, routes=routes)


async def hedges(proxy) -> dict[str, int]:
    return (await idle(proxy))["hedges"]


@both_ways
async def test_the_hedge_wins(serve: Serve, one, two, stream):
    proxy = await serve(hedging(one, two))
    one.script(Script(before_first=one.gate()))
    two.script(Script(deltas=("quick",)))
    answer = await proxy.chat(stream=stream)

    assert (answer.text, answer.headers["x-failsoft-upstream"]) == ("quick", "two")
    assert (answer.headers["x-failsoft-hedge"], answer.headers["x-failsoft-attempts"]) == ("second", "2")
    await one.seen[0].closed()
    assert one.seen[0].left
    assert await hedges(proxy) == {"started": 1, "won": 1}
    (record,) = (await proxy.admin("requests"))["requests"]
    tried = {made["upstream"]: made for made in record["attempts"]}
    assert (tried["one"]["outcome"], tried["one"]["is_hedge"]) == ("hedged", False)
    assert (tried["two"]["outcome"], tried["two"]["is_hedge"]) == ("success", True)
    assert (tried["one"]["may_be_billed"], tried["one"]["estimated_tokens"] > 0) == (True, True)
    rows = (await proxy.admin("statistics"))["upstreams"]
    assert (rows["one"]["errors"], rows["one"]["fallbacks"]) == (0, 0)


@both_ways
async def test_the_first_wins(serve: Serve, one, two, stream):
    proxy = await serve(hedging(one, two))
    gate = one.gate()
    one.script(Script(before_first=gate, deltas=("first",)))
    two.script(Script(before_first="never"))
    asked = asyncio.create_task(proxy.chat(stream=stream))
    await two.arrived()
    gate.open()
    answer = await asked

    assert (answer.text, answer.headers["x-failsoft-hedge"]) == ("first", "first")
    await two.seen[0].closed()
    assert two.seen[0].left
    assert await hedges(proxy) == {"started": 1, "won": 0}


@both_ways
async def test_pings_and_an_empty_beginning_are_no_word(serve: Serve, one, two, stream):
    """The role that a stream begins with, or a head alone, does not win."""
    proxy = await serve(hedging(one, two))
    one.script(Script(pauses={1: "never"}) if stream else Script(before_first="never"))
    assert (await proxy.chat(stream=stream)).headers["x-failsoft-hedge"] == "second"


@both_ways
async def test_the_hedge_is_the_fallback(serve: Serve, one, two, stream):
    proxy = await serve(hedging(one, two))
    fails, answers = one.gate(), two.gate()
    one.script(Script(before_head=fails, status=500), times=None)
    two.script(Script(before_first=answers))
    asked = asyncio.create_task(proxy.chat(stream=stream))
    await two.arrived()
    fails.open()
    await one.seen[0].finished()
    answers.open()
    answer = await asked

    assert (answer.text, answer.headers["x-failsoft-hedge"]) == ("Hello, world!", "second")
    assert (len(one.seen), len(two.seen)) == (1, 1)


@both_ways
async def test_both_fail(serve: Serve, one, two, stream):
    proxy = await serve(hedging(one, two))
    gate = one.gate()
    one.script(Script(before_head=gate, status=500), times=None)
    two.script(Script(status=500), times=None)
    asked = asyncio.create_task(proxy.chat({"x-failsoft-offline": "never"}, stream=stream))
    await two.arrived()
    await two.seen[0].finished()
    gate.open()
    answer = await asked

    assert (answer.status, answer.error["code"]) == (502, "upstream_fault")
    assert "one/m: fault" in answer.error["message"]
    assert "two/m: fault" in answer.error["message"]
    assert len(two.seen) == 1
    assert await hedges(proxy) == {"started": 1, "won": 0}


@both_ways
async def test_a_client_that_leaves_leaves_both(serve: Serve, one, two, stream):
    proxy = await serve(hedging(one, two))
    one.script(Script(before_first="never"))
    two.script(Script(before_first="never"))
    _, writer = await post(proxy, "/v1/chat/completions", CHAT | {"stream": stream})
    await two.arrived()
    writer.close()
    for fake in (one, two):
        await fake.seen[0].closed()
        assert fake.seen[0].left
    statistics = await idle(proxy)
    assert (statistics["client_disconnects"], statistics["hedges"]) == (1, {"started": 1, "won": 0})
    assert [row["errors"] for row in statistics["upstreams"].values()][:2] == [0, 0]


async def test_a_stream_that_was_kept_alive_tells_who_won_in_a_comment(serve: Serve, one, two):
    """Its head is gone by then."""
    proxy = await serve(hedging(one, two) | {"server": {"port": 0, "heartbeat": {"first": "1ms"}}})
    gate = two.gate()
    one.script(Script(before_first="never"))
    two.script(Script(before_first=gate))
    url = f"{proxy.url}/v1/chat/completions"
    async with proxy.session.post(url, json=CHAT | {"stream": True}) as answer:
        assert await answer.content.readuntil(b"\n\n") == b": keep-alive\n\n"
        gate.open()
        rest = await answer.content.read()
    assert "x-failsoft-hedge" not in answer.headers
    assert b": x-failsoft-hedge: second\n" in rest
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_winner_that_breaks_is_not_replaced(serve: Serve, one, two):
    """The first word is out, and the other is gone by then."""
    proxy = await serve(hedging(one, two))
    one.script(Script(before_first="never"))
    two.script(Script(cut_frames=3, ending="reset"))
    answer = await proxy.chat(stream=True)

    assert answer.text == "Hello,"
    assert b"stream_interrupted" in answer.frames[-1]
    assert (len(one.seen), len(two.seen)) == (1, 1)
    assert await hedges(proxy) == {"started": 1, "won": 1}


async def test_at_most_two_of_a_hundred(serve: Serve, one, two):
    """And one more; a hundred at once, none of which gets a word from the first before all have come."""
    proxy = await serve(hedging(one, two, slots={"limit": 1000}))
    gate = one.gate()
    one.script(Script(before_first=gate), times=None)
    asked = [asyncio.create_task(proxy.chat()) for _ in range(100)]
    await one.arrived(100)
    await two.arrived(3)
    gate.open()
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {200}
    assert len(two.seen) == 3


async def test_never_beside_ones_own_machine(serve: Serve, one, two):
    proxy = await serve(hedging(one, two, local=True))
    one.script(Script(before_first=0.05))
    answer = await proxy.chat()
    assert (answer.headers["x-failsoft-upstream"], "x-failsoft-hedge" in answer.headers) == ("one", False)
    assert two.seen == []


async def test_a_stream_that_is_slow_to_begin_moves_on(serve: Serve, one, two):
    """Twenty have shown how long it usually takes; the next is given twice that, at least 50 ms."""
    timeouts = {"first_token": "auto", "first_token_floor": "50ms"}
    proxy = await serve(document({"one": upstream(one, timeouts=timeouts), "two": upstream(two)}))
    for _ in range(20):
        assert (await proxy.chat(stream=True)).headers["x-failsoft-upstream"] == "one"
    one.script(Script(before_first="never"))
    answer = await proxy.chat(stream=True)

    assert answer.headers["x-failsoft-upstream"] == "two"
    await one.seen[-1].closed()
    assert one.seen[-1].left
    await idle(proxy)
    record = (await proxy.admin("requests"))["requests"][0]
    assert [made["outcome"] for made in record["attempts"]] == ["first_token_timeout", "success"]


async def test_a_stream_of_pings_ends(serve: Serve, one):
    """Bytes come all the time, and no words."""
    proxy = await serve(document({"one": upstream(one, timeouts={"progress": "80ms"})}))
    first = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
    one.script(Script(chunks=(first, *[b": ping\n\n"] * 2000), between=0.01))
    answer = await proxy.chat(stream=True)

    assert answer.text == "Hello"
    assert b"stream_interrupted" in answer.frames[-1]
    await one.seen[0].closed()
    assert one.seen[0].left
    await idle(proxy)
    record = (await proxy.admin("requests"))["requests"][0]
    assert (record["ended"], record["attempts"][0]["outcome"]) == ("broken_stream", "idle_timeout")
