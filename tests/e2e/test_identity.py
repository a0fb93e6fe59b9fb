"""Same dialect in and out: the same bytes in and out, but for the model's name; and nothing of the client's headers."""

from __future__ import annotations

import json

import aiohttp
import pytest

from tests.e2e.harness import CANARY, CHAT, document, upstream
from tests.upstream import Script

ODD = (
    '{ "messages" : [{"role":"user","content":"\\u2028\\ud83d\\ude00 é\u2028\u0085"}],\n'
    '\t"temperature":1.00, "unknown": {"a":[1e2, -0.0, {}]} , "model":"m", "seed": 12345678901234567890 }'
)
ANSWER = (
    '{"id":"x","object":"chat.completion","created":1,"model":"m-2026","odd":[1.0,1E2],"choices":[{"index":0,'
    '"message":{"role":"assistant","content":"caf\\u00e9 \\ud83d\\ude00 é\u2028"},"finish_reason":"stop"}], '
    '"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3} }\n'
)


@pytest.fixture
async def alias(serve, one):
    return await serve(document({"one": upstream(one)}, models={"fast": ["one/vendor/big-model:q4"]}, routes=[]))


async def test_the_request_s_bytes_are_the_same(proxy, one):
    answer = await proxy.post("/v1/chat/completions", ODD.encode())
    assert answer.status == 200
    assert answer.headers["x-failsoft-mode"] == "identity"
    assert one.seen[0].body == ODD.encode()


async def test_only_the_model_s_name_is_replaced(alias, one):
    await alias.post("/v1/chat/completions", ODD.replace('"m"', '"fast"').encode())
    assert one.seen[0].body == ODD.replace('"m"', '"vendor/big-model:q4"').encode()


async def test_a_model_s_name_elsewhere_in_the_body_stays(alias, one):
    body = (
        '{"metadata":{"model":"fast"},"model":"fast","messages":[{"role":"user","content":"\\"model\\":\\"fast\\""}]}'
    )
    await alias.post("/v1/chat/completions", body.encode())
    expected = body.replace(',"model":"fast"', ',"model":"vendor/big-model:q4"')
    assert one.seen[0].body.decode() == expected


async def test_a_stream_s_request_asks_for_usage_and_else_is_the_same(proxy, one):
    await proxy.chat(stream=True)
    sent = one.seen[0].request.json
    assert sent.pop("stream_options") == {"include_usage": True}
    assert sent == CHAT | {"stream": True}


async def test_the_answer_s_bytes_are_the_same(proxy, one):
    one.script(Script(body=ANSWER.encode()))
    assert (await proxy.chat()).body == ANSWER.encode()


STREAMS = {
    "plain": Script(),
    "many frames in a write": Script(frames_per_write=100),
    "byte by byte": Script(write_size=1),
    "in pieces of 7": Script(write_size=7),
    "until the connection closes": Script(framing="close"),
    "of known length": Script(framing="length"),
    "emoji": Script(deltas=("😀" * 50, "\u2028\u2029\u0085", '"\\\n'), write_size=3),
    "with reasoning": Script(reasoning=("hm", " well")),
}


@pytest.mark.parametrize("script", STREAMS.values(), ids=STREAMS)
async def test_a_stream_s_bytes_are_the_same(proxy, one, script):
    one.script(script)
    answer = await proxy.chat(stream=True, stream_options={"include_usage": True})
    await one.seen[0].finished()
    assert answer.body == one.seen[0].sent


async def test_a_stream_with_crlf_says_the_same(proxy, one):
    one.script(Script(line_end="\r\n", write_size=5))
    answer = await proxy.chat(stream=True, stream_options={"include_usage": True})
    assert answer.body == one.seen[0].sent
    one.script(Script(line_end="\r\n", usage_always=True))
    answer = await proxy.chat(stream=True)
    assert b"usage" not in answer.body
    assert answer.body.endswith(b"data: [DONE]\r\n\r\n")


async def test_legacy_bytes_are_the_same(proxy, one):
    body = b'{"prompt":[[1,2],[3]],  "model":"m","n":2,"logit_bias":{"1":-100}}'
    answer = await proxy.post("/v1/completions", body)
    assert one.seen[0].body == body
    assert answer.body == one.seen[0].sent
    options = {"stream": True, "stream_options": {"include_usage": True}}
    answer = await proxy.post("/v1/completions", {"model": "m", "prompt": "a"} | options)
    assert answer.body == one.seen[1].sent


@pytest.mark.parametrize("gzipped", [False, True])
async def test_a_coded_answer_is_decoded(proxy, one, gzipped):
    """The proxy asks for no coding; an upstream that codes all the same is understood."""
    one.script(Script(gzip=gzipped))
    answer = await proxy.chat()
    assert one.seen[0].headers["accept-encoding"] == "identity"
    assert answer.body == one.seen[0].sent
    assert "content-encoding" not in answer.headers


async def test_nothing_of_the_client_s_headers_reaches_an_upstream(proxy, one):
    """Requests to upstreams are built from an allow-list; this test names the whole of it."""
    await proxy.chat(
        {
            "authorization": "Bearer client-secret",
            "x-api-key": "client-secret",
            "cookie": "session=client-secret",
            "x-failsoft-offline": "never",
            "x-failsoft-anything": "client-secret",
            "x-forwarded-for": "10.0.0.1",
            "openai-organization": "client-org",
            "connection": "authorization",
            "x-correlation-id": "mine",
            "accept-language": "xx",
            "user-agent": "client-agent",
        }
    )
    [seen] = one.seen
    allowed = {
        "host", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "authorization",
        "x-client-request-id", "connection",
    }  # fmt: skip
    assert set(seen.headers) <= allowed
    assert seen.headers["authorization"] == f"Bearer {CANARY}"
    assert seen.headers["user-agent"].startswith("failsoft/")
    assert "client" not in " ".join(seen.headers[name] for name in set(seen.headers) - {"x-client-request-id"})


async def test_nothing_of_the_upstream_s_headers_reaches_the_client(proxy, one):
    private = (("set-cookie", "a=b"), ("openai-organization", "acme"), ("x-internal", "1"), ("server", "fake"))
    one.script(Script(headers=private))
    answer = await proxy.chat()
    assert not {name for name, _ in private} & set(answer.headers)


async def test_answers_carry_receipt_ids_and_security_headers(proxy):
    for answer in (await proxy.chat(), await proxy.chat(stream=True)):
        headers = answer.headers
        assert headers["x-failsoft-route"] == "all"
        assert headers["x-failsoft-upstream"] == "one"
        assert headers["x-failsoft-model"] == "m"
        assert headers["x-failsoft-attempts"] == "1"
        assert headers["x-failsoft-mode"] == "identity"
        assert headers["x-request-id"] == headers["x-correlation-id"]
        assert float(headers["x-process-time"]) > 0
        assert headers["server-timing"].startswith("total;dur=")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_both_ways_in_give_the_same(proxy, one, stream):
    """A request with a query takes the ASGI way instead of the shorter one; nobody can tell by the answer."""
    body = CHAT | {"stream": stream}
    short = await proxy.post("/v1/chat/completions", body)
    asgi = await proxy.post("/v1/chat/completions?way=asgi", body)
    assert short.body == asgi.body
    assert set(short.headers) == set(asgi.headers)
    assert one.seen[0].body == one.seen[1].body


EVERYWHERE = ["/", "/livez", "/readyz", "/health", "/v1/models", "/v1/models/absent", "/absent", "/admin/status"]


@pytest.mark.parametrize("path", [*EVERYWHERE, "/v1/chat/completions"])
async def test_every_answer_has_the_security_headers(proxy, path):
    headers = (await proxy.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-request-id"].startswith("req_")
    assert "x-process-time" in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"x-correlation-id": "order-7.a_B"}, "order-7.a_B"),
        ({"x-request-id": "from-lb"}, "from-lb"),
        ({"x-correlation-id": "first", "x-request-id": "second"}, "first"),
        ({"x-correlation-id": "bad id; x"}, None),
        ({"x-correlation-id": "x" * 129}, None),
        ({"x-correlation-id": "é"}, None),
    ],
)
async def test_the_caller_s_correlation_id_comes_back_if_it_is_well_formed(proxy, sent, kept):
    for answer in (await proxy.chat(sent), await proxy.get("/health", sent)):
        assert answer.headers["x-correlation-id"] == (kept or answer.headers["x-request-id"])
        assert answer.headers["x-request-id"].startswith("req_")


async def test_a_kept_connection_serves_many(proxy, one):
    for number in range(5):
        await proxy.chat(stream=number % 2 == 0)
    assert one.connected == 1
    assert isinstance(proxy.session, aiohttp.ClientSession)
    assert json.loads(one.seen[-1].body)["model"] == "m"
