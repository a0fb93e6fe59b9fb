"""When the client leaves, whatever the phase, the upstream connection closes and everything held is released."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.e2e.harness import ADMIN, CHAT, document, upstream
from tests.upstream import Script

pytestmark = pytest.mark.both_loops

LEGACY = {"model": "m", "prompt": "a"}


async def post(proxy, path, body) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request on a raw connection that the test can drop at any time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    return reader, writer


async def idle(proxy) -> dict:
    """The statistics once nothing is in flight any more."""
    while (statistics := await proxy.admin("statistics"))["in_flight"]:
        pass
    return statistics


async def released(proxy, fake) -> None:
    """The fake sees the connection go, the proxy holds nothing, and the next request is served."""
    seen = fake.seen[-1]
    await seen.closed()
    assert seen.left
    await idle(proxy)
    assert (await proxy.chat()).headers["x-failsoft-upstream"] == "one"
    assert len(fake.connections) == 1


WAITING = {
    "whole, no head yet": ("/v1/chat/completions", CHAT, {"before_head": "gate"}),
    "whole, head only": ("/v1/chat/completions", CHAT, {"before_first": "gate"}),
    "stream, no head yet": ("/v1/chat/completions", CHAT | {"stream": True}, {"before_head": "gate"}),
    "stream, head only": ("/v1/chat/completions", CHAT | {"stream": True}, {"before_first": "gate"}),
    "stream, role only": ("/v1/chat/completions", CHAT | {"stream": True}, {"pauses": {1: "gate"}}),
    "legacy whole": ("/v1/completions", LEGACY, {"before_head": "gate"}),
    "legacy stream": ("/v1/completions", LEGACY | {"stream": True}, {"before_first": "gate"}),
}


WAYS = {"FIN": ("", False), "RST": ("", True), "FIN, the ASGI way": ("?way=asgi", False)}
"""How the client leaves, and by which way its request came: with a query it does not take the shorter one."""


@pytest.mark.parametrize(("query", "abort"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("path", "body", "held"), WAITING.values(), ids=WAITING)
@pytest.mark.fault(54)
async def test_leaving_while_waiting(proxy, one, path, body, held, query, abort):
    gate = one.gate()
    [(place, step)] = held.items()
    one.script(Script(**{place: {1: gate} if isinstance(step, dict) else gate}))
    _, writer = await post(proxy, path + query, body)
    await gate.reached()
    if abort:
        writer.transport.abort()
    else:
        writer.close()
    await released(proxy, one)


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", CHAT), ("/v1/completions", LEGACY), ("/v1/chat/completions?way=asgi", CHAT)],
)
@pytest.mark.fault(54)
async def test_leaving_in_mid_stream(proxy, one, path, body):
    gate = one.gate()
    one.script(Script(pauses={3: gate}))
    reader, writer = await post(proxy, path, body | {"stream": True})
    await reader.readuntil(b"Hello")
    await gate.reached()
    writer.close()
    await released(proxy, one)


async def test_leaving_an_endless_stream_that_flows(proxy, one):
    one.script(Script(endless=True))
    reader, writer = await post(proxy, "/v1/chat/completions", CHAT | {"stream": True})
    await reader.readuntil(b"Hello")
    writer.close()
    await released(proxy, one)


@pytest.mark.fault(54)
@pytest.mark.fault(56)
async def test_leaving_without_having_read(proxy, one):
    """A client that does not read holds up the upstream; when it leaves, the upstream is let go."""
    one.script(Script(deltas=("x" * 100_000,), endless=True))
    _, writer = await post(proxy, "/v1/chat/completions", CHAT | {"stream": True})
    seen = await one.arrived()
    await seen.stuck()
    writer.transport.abort()
    await released(proxy, one)


async def test_leaving_is_not_the_upstream_s_fault(proxy, one):
    """It is no error of the upstream, and no other upstream is bothered."""
    gate = one.gate()
    one.script(Script(before_head=gate))
    _, writer = await post(proxy, "/v1/chat/completions", CHAT)
    await gate.reached()
    writer.close()
    await one.seen[0].closed()
    statistics = await idle(proxy)
    assert statistics["upstreams"]["one"]["errors"] == 0
    assert (statistics["offline_answers"], statistics["client_disconnects"]) == (0, 1)


async def test_leaving_before_the_fallback_asks_nobody_else(serve, one, two):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    gate = two.gate()
    one.script(Script(status=500), times=None)
    two.script(Script(before_head=gate))
    _, writer = await post(proxy, "/v1/chat/completions", CHAT | {"stream": True})
    await gate.reached()
    writer.close()
    await two.seen[0].closed()
    await idle(proxy)
    assert len(two.seen) == 1


async def test_leaving_in_the_middle_of_the_own_body(proxy, one):
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await idle(proxy)
    assert (await proxy.chat()).status == 200
    assert len(one.seen) == 1


async def test_leaving_the_admin_s_own_request(proxy, one):
    """`POST /admin/test` waits for a model too."""
    gate = one.gate()
    one.script(Script(before_head=gate))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    data = b'{"prompt":"hi"}'
    head = f"POST /admin/test HTTP/1.1\r\nhost: localhost\r\nx-api-key: {ADMIN}\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await gate.reached()
    gate.open()
    assert b"200" in await reader.readline()
    writer.close()


async def test_five_leave_and_five_stay(proxy, one):
    """Leaving ends one's own request and no other."""
    gates = [one.gate() for _ in range(10)]
    for number, gate in enumerate(gates):
        one.script(Script(pauses={2: gate}), model=f"m{number}")
    clients = [
        await post(proxy, "/v1/chat/completions", CHAT | {"model": f"m{number}", "stream": True})
        for number in range(10)
    ]
    await asyncio.gather(*(gate.reached() for gate in gates))
    for _, writer in clients[:5]:
        writer.close()
    by_model = {seen.request.json["model"]: seen for seen in one.seen}
    await asyncio.gather(*(by_model[f"m{number}"].closed() for number in range(5)))
    for gate in gates[5:]:
        gate.open()
    for reader, writer in clients[5:]:
        assert b"[DONE]" in await reader.readuntil(b"0\r\n\r\n")
        writer.close()
    assert {number for number in range(10) if by_model[f"m{number}"].left} == set(range(5))
