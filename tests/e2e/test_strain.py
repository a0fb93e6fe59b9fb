"""Nothing leaks, nothing grows, and nobody's answer reaches somebody else, however upstreams and clients behave."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import pytest

from tests.e2e.harness import CHAT, document, upstream
from tests.e2e.test_fallback import FAULTS, SHORT, STREAM_FAULTS
from tests.upstream import Script


def descriptors() -> int:
    """How many this process has open; 0 where the system has no list of them."""
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.is_dir() else 0


async def test_many_at_once_get_their_own_answers(proxy, one):
    for number in range(40):
        one.script(Script(deltas=(f"for {number} ", "only"), write_size=11), model=f"m{number}")
    answers = await asyncio.gather(*(proxy.chat(model=f"m{number}", stream=number % 2 == 0) for number in range(40)))
    assert [answer.text for answer in answers] == [f"for {number} only" for number in range(40)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_after_all_faults_nothing_is_held(serve, one, two, stream):
    """Connections, descriptors and gauges go back to what they were."""
    proxy = await serve(document({"one": upstream(one, timeouts=SHORT), "two": upstream(two)}))
    await proxy.chat()
    before = descriptors()
    for fault in (*FAULTS.values(), *STREAM_FAULTS.values()):
        one.script(fault)
    count = len(FAULTS) + len(STREAM_FAULTS)
    answers = await asyncio.gather(*(proxy.chat(stream=stream) for _ in range(count)))
    assert {answer.status for answer in answers} == {200}
    statistics = await proxy.admin("statistics")
    assert statistics["in_flight"] == 0
    assert statistics["requests"] == count + 1
    status = await proxy.admin("status")
    assert {row["in_flight"] for row in status["upstreams"]} == {0}
    await proxy.session.close()
    gc.collect()
    idle = len(one.connections) + len(two.connections)
    # What is left are the proxy's own idle connections, both ends of which are in this process.
    assert descriptors() <= before + 2 * idle


async def test_bytes_beyond_the_announced_length_never_reach_the_next_answer(proxy, one):
    body = json.dumps({"id": "x", "choices": [{"index": 0, "message": {"content": "mine"}, "finish_reason": "stop"}]})
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    stray = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{"choices":[]}'
    one.script(Script(head=(head + stray).encode(), framing="close", body=b"", ending="hang"))
    first = await proxy.chat()
    assert (first.status, first.text) in [(200, "mine"), (200, "")] or first.headers.get("x-failsoft-offline")
    assert (await proxy.chat()).text == "Hello, world!"


async def test_early_hints_are_not_the_answer(proxy, one):
    one.script(Script(interim=b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"))
    assert (await proxy.chat()).text == "Hello, world!"


async def test_a_redirect_is_never_followed(serve, one, two):
    """Another host would be given the key (SSRF)."""
    proxy = await serve(document({"one": upstream(one)}, offline={"levels": []}))
    one.script(Script(status=307, headers=(("location", two.url + "/chat/completions"),)), times=None)
    answer = await proxy.chat()
    assert answer.status == 502
    assert not two.everything


async def test_a_line_without_end_is_a_fault_and_not_a_heap(serve, one, two):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    one.script(Script(chunks=(b"data: " + b"x" * 65_536,) + (b"x" * 65_536,) * 400), times=None)
    answer = await proxy.chat(stream=True)
    assert answer.headers["x-failsoft-upstream"] == "two"


async def test_a_gzip_bomb_is_a_fault(serve, one, two):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    one.script(Script(body=b" " * (80 << 20), gzip=True), times=None)
    assert (await proxy.chat()).headers["x-failsoft-upstream"] == "two"


async def test_a_slow_reader_slows_the_upstream_and_nobody_else(proxy, one):
    """What the proxy holds for one client is bounded: reading is asking."""
    one.script(Script(deltas=("x" * 50_000,), endless=True), model="big")
    async with proxy.session.post(f"{proxy.url}/v1/chat/completions", json=CHAT | {"model": "big", "stream": True}):
        seen = await one.arrived()
        await seen.stuck()
        assert (await proxy.chat()).status == 200
    await seen.closed()


async def test_odd_usage_passes_and_is_not_believed(proxy, one):
    usage = {"prompt_tokens": -5, "completion_tokens": 2**63, "total_tokens": "many", "prompt_tokens_details": None}
    whole = {"id": "x", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
    one.script(Script(body=json.dumps(whole | {"usage": usage}).encode()))
    assert (await proxy.chat()).json["usage"] == usage
    tokens = (await proxy.admin("statistics"))["upstreams"]["one"]["tokens"]
    assert all(0 <= count < 10_000 for count in tokens.values())


async def test_pipelined_requests_are_answered_in_order(proxy, one):
    one.script(Script(deltas=("first",)), model="a")
    one.script(Script(deltas=("second",)), model="b")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for model in "ab":
        data = json.dumps(CHAT | {"model": model, "stream": True}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(data), data))
    got = await reader.readuntil(b"0\r\n\r\n") + await reader.readuntil(b"0\r\n\r\n")
    assert 0 < got.index(b'"first"') < got.index(b'"second"')
    writer.close()


async def test_a_bodyless_get_between_two_posts_on_one_connection(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    data = json.dumps(CHAT).encode()
    post = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data)
    for request in (post, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n", post):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


async def test_a_body_in_single_bytes(proxy, one):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    data = json.dumps(CHAT).encode()
    for byte in b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s" % (
        len(data),
        data,
    ):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert b" 200 " in await reader.readline()
    assert one.seen[0].body == data
    writer.close()


async def test_expect_continue(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    data = json.dumps(CHAT).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    )
    writer.write(head % len(data))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(data)
    assert b" 200 " in await reader.readline()
    writer.close()
