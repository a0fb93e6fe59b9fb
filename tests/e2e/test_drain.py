"""The end of the process: what is under way is finished within its time, and the rest is told that it is over."""

from __future__ import annotations

import asyncio
import json
import signal
import socket

import aiohttp
import pytest

from tests.e2e.harness import ADMIN, CHAT, Child, Proxy, document, upstream
from tests.upstream import FakeUpstream, Script

LONG = {"drain": "1h"}
STREAM = CHAT | {"stream": True}


@pytest.fixture
async def session():
    """One kept connection per request that is under way."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def begin(proxy: Proxy, body: dict, path: str = "/v1/chat/completions") -> aiohttp.ClientResponse:
    return await proxy.session.post(proxy.url + path, json=body)


async def draining(proxy: Proxy) -> None:
    """Wait until it says so; it listens as long as something is under way, for a while."""
    while (await proxy.get("/readyz")).status != 503:
        pass


async def ended_by_the_proxy(answer: aiohttp.ClientResponse) -> None:
    """The stream ends with an event that says why, and with nothing that looks like a good end."""
    body = await answer.content.read()
    *_, last, rest = body.split(b"\n\n")
    assert rest == b""
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"]) == ("server_shutdown", "service_unavailable_error")
    assert b"[DONE]" not in body
    assert b'"finish_reason":"stop"' not in body


def term(child: Child) -> None:
    child.process.send_signal(signal.SIGTERM)


@pytest.mark.fault(69)
async def test_streams_and_whole_answers_end_in_their_time(launch, one, session):
    child = await launch(document({"one": upstream(one)}, server=LONG))
    proxy = Proxy(await child.url(), session)
    gates = [one.gate(), one.gate()]
    one.script(Script(pauses={2: gates[0]}), model="streamed")
    one.script(Script(before_head=gates[1]), model="whole")
    streamed = await begin(proxy, STREAM | {"model": "streamed"})
    whole = asyncio.create_task(proxy.chat(model="whole"))
    await asyncio.gather(*(gate.reached() for gate in gates))
    term(child)
    await draining(proxy)
    assert (await proxy.get("/livez")).headers["connection"] == "close"
    assert (await proxy.get("/health")).json["status"] == "draining"
    for gate in gates:
        gate.open()
    assert (await streamed.content.read()).endswith(b"data: [DONE]\n\n")
    assert (await whole).text == "Hello, world!"
    assert await child.ended() == 0


@pytest.mark.parametrize("query", ["", "?way=asgi"], ids=["hot", "asgi"])
async def test_new_requests_are_served_meanwhile_but_their_connections_close(launch, one, session, query):
    child = await launch(document({"one": upstream(one)}, server=LONG))
    proxy = Proxy(await child.url(), session)
    gate = one.gate()
    one.script(Script(pauses={2: gate}), model="held")
    kept = await proxy.chat()
    assert "connection" not in kept.headers
    held = await begin(proxy, STREAM | {"model": "held"})
    await gate.reached()
    term(child)
    await draining(proxy)
    for stream in (False, True):
        answer = await proxy.post("/v1/chat/completions" + query, CHAT | {"stream": stream})
        assert (answer.status, answer.headers["connection"]) == (200, "close")
    gate.open()
    await held.content.read()
    assert await child.ended() == 0


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
@pytest.mark.fault(69)
async def test_streams_that_do_not_end_in_time_are_told(launch, one, session, workers):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = document({"one": upstream(one)}, server={"drain": "300ms"})
    child = await launch(config, "--port", str(port), *workers)
    proxy = Proxy(await child.url(), session)
    answers = await open_streams(proxy, one, 8)
    term(child)
    await asyncio.gather(*(ended_by_the_proxy(answer) for answer in answers))
    assert await child.ended() == 0
    assert sum('"ended":"draining"' in line for line in child.output) == 8
    assert not [line for line in child.output if "Traceback" in line]
    assert not one.connections


async def open_streams(proxy: Proxy, fake: FakeUpstream, count: int) -> list[aiohttp.ClientResponse]:
    """Streams that have begun and go no further; the server may still be starting."""
    gate = fake.gate()
    fake.script(Script(pauses={2: gate}), times=None)
    answers: list[aiohttp.ClientResponse] = []
    while len(answers) < count:
        try:
            answers.append(await begin(proxy, STREAM))
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)
            continue
        await answers[-1].content.readuntil(b"Hello")
    return answers


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
@pytest.mark.fault(69)
async def test_a_second_signal_makes_an_end_at_once(launch, one, session, workers):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    child = await launch(document({"one": upstream(one)}, server=LONG), "--port", str(port), *workers)
    proxy = Proxy(await child.url(), session)
    answers = await open_streams(proxy, one, 4)
    term(child)
    await draining(proxy)
    term(child)
    await asyncio.gather(*(ended_by_the_proxy(answer) for answer in answers))
    assert await child.ended() == 0


async def test_who_has_no_answer_yet_is_told_so_too(launch, one, session):
    child = await launch(document({"one": upstream(one)}, server={"drain": "200ms"}))
    proxy = Proxy(await child.url(), session)
    gate = one.gate()
    one.script(Script(before_head=gate))
    call = asyncio.create_task(proxy.chat())
    await gate.reached()
    term(child)
    answer = await call
    assert (answer.status, answer.error["code"]) == (503, "server_shutdown")
    assert (answer.headers["connection"], answer.headers["x-should-retry"]) == ("close", "true")
    assert await child.ended() == 0


async def test_a_client_that_does_not_read_holds_nothing_up(launch, one, session):
    child = await launch(document({"one": upstream(one)}, server={"drain": "200ms", "write_timeout": "2m"}))
    proxy = Proxy(await child.url(), session)
    one.script(Script(deltas=("x" * 100_000,), endless=True))
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.transport.pause_reading()
    data = json.dumps(STREAM).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await (await one.arrived()).stuck()
    term(child)
    assert await child.ended() == 0
    writer.transport.abort()


async def test_an_idle_process_ends_without_delay(launch, one, session):
    """Kept connections, with nothing under way on them, hold nothing up."""
    child = await launch(document({"one": upstream(one)}, server=LONG))
    proxy = Proxy(await child.url(), session)
    assert (await proxy.get("/admin/health", {"x-api-key": ADMIN})).json["status"] == "ok"
    assert (await proxy.chat()).status == 200
    assert await child.stop() == 0
