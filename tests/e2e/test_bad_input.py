"""No input gives a 500, a stack trace or a dead connection: each mistake has its status and its JSON path."""

from __future__ import annotations

import asyncio
import io
import json

import aiohttp
import pytest

from tests.e2e.harness import CHAT, document, upstream

CHAT_PATH = "/v1/chat/completions"
LEGACY_PATH = "/v1/completions"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"


def chat(**fields) -> bytes:
    return json.dumps(CHAT | fields).encode()


def said(content: bytes) -> bytes:
    """A body whose message holds raw JSON text."""
    return b'{"model":"m","messages":[{"role":"user","content":' + content + b"}]}"


BAD = {
    "nothing": (b"", None),
    "not JSON": (b"hello", None),
    "half": (b'{"model":"m","messages":[', None),
    "two documents": (chat() + chat(), None),
    "null": (b"null", None),
    "list": (b"[]", None),
    "text": (b'"m"', None),
    "number": (b"1", None),
    "byte order mark only": (b"\xef\xbb\xbf", None),
    "UTF-16": (chat().decode().encode("utf-16"), None),
    "not UTF-8": (said(b'"\xff\xfe"'), None),
    "half an emoji": (said(b'"\xf0\x9f\x98"'), None),
    "encoded surrogate": (said(b'"\xed\xa0\x80"'), None),
    "NaN": (chat().replace(b"}]", b'}],"temperature":NaN', 1), None),
    "Infinity": (chat().replace(b"}]", b'}],"top_p":-Infinity', 1), None),
    "raw control character": (said(b'"\x00"'), None),
    "deep lists": (said(b"[" * 100_000 + b"]" * 100_000), None),
    "deep objects": (b'{"model":"m","messages":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", None),
    "deep and never closed": (b"[" * 100_000, None),
    "no model": (b'{"messages":[{"role":"user","content":"hi"}]}', "model"),
    "model null": (chat(model=None), "model"),
    "model empty": (chat(model=""), "model"),
    "model a number": (chat(model=1), "model"),
    "model a list": (chat(model=["m"]), "model"),
    "no messages": (b'{"model":"m"}', "messages"),
    "messages null": (chat(messages=None), "messages"),
    "messages a text": (chat(messages="hi"), "messages"),
    "messages empty": (chat(messages=[]), "messages"),
    "stream a text": (chat(stream="yes"), "stream"),
    "stream a number": (chat(stream=1), "stream"),
}
BAD_LEGACY = {
    "no prompt's model": (b'{"prompt":"a"}', "model"),
    "stream a text": (b'{"model":"m","prompt":"a","stream":"yes"}', "stream"),
}
ODD_BUT_GOOD = {
    "lone surrogate escape": said(b'"\\ud800"'),
    "escaped NUL": said(b'"\\u0000"'),
    "huge number": chat(seed=10**400),
    "duplicate keys": b'{"model":"x","model":"m","messages":[{"role":"user","content":"hi"}]}',
    "unknown fields": chat(x_unknown={"deep": [1, {"a": None}]}),
    "white space": b"\r\n\t " + chat() + b" \n",
    "escaped keys": b'{"\\u006dodel":"m","messages":[{"role":"user","content":"hi"}]}',
}


def refused(answer, status: int, param: str | None = None) -> None:
    assert answer.status == status, answer.body[:500]
    assert answer.error["message"]
    assert answer.headers["content-type"] == "application/json"
    assert b"Traceback" not in answer.body
    if param is not None:
        assert answer.error["param"] == param


@pytest.mark.parametrize(("body", "param"), BAD.values(), ids=BAD)
@pytest.mark.fault(58)
async def test_bad_chat_bodies(proxy, one, body, param):
    refused(await proxy.post(CHAT_PATH, body), 400, param)
    assert not one.seen
    assert (await proxy.chat()).status == 200, "and the connection still serves"


@pytest.mark.parametrize(("body", "param"), BAD_LEGACY.values(), ids=BAD_LEGACY)
async def test_bad_legacy_bodies(proxy, one, body, param):
    refused(await proxy.post(LEGACY_PATH, body), 400, param)
    assert not one.seen


@pytest.mark.parametrize("body", ODD_BUT_GOOD.values(), ids=ODD_BUT_GOOD)
@pytest.mark.fault(58)
async def test_odd_bodies_are_the_upstream_s_to_judge(proxy, one, body):
    """What is JSON, and says what routing needs, goes on as it is (or is refused as the client's, never a 500)."""
    answer = await proxy.post(CHAT_PATH, body)
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert one.seen[0].request.json.get("model") == "m"


@pytest.mark.fault(58)
async def test_a_body_that_is_too_large(serve, one):
    proxy = await serve(document({"one": upstream(one)}, server={"max_body": "10KiB"}))
    assert (await proxy.chat(pad="x" * 8000)).status == 200
    refused(await proxy.chat(pad="x" * 20_000), 413)
    assert len(one.seen) == 1


async def test_a_body_that_is_much_too_large(serve, one):
    """The client is still sending when the answer comes; it must be able to read it all the same."""
    proxy = await serve(document({"one": upstream(one)}, server={"max_body": "10KiB"}))
    async with proxy.session.post(proxy.url + CHAT_PATH, data=io.BytesIO(b"x" * 5_000_000)) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["code"] == "request_too_large"


async def test_a_client_that_goes_on_sending_is_not_cut_off_at_once(serve, one):
    """To close on bytes that nobody reads is to reset, and a reset may take the answer with it."""
    proxy = await serve(document({"one": upstream(one)}, server={"max_body": "10KiB"}))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(HEAD + b"content-length: 5000000\r\n\r\n")
    assert b"request_too_large" in await reader.read()
    for _ in range(5):
        writer.write(b"x" * 10_000)
        await writer.drain()
        await proxy.get("/livez")  # time for a reset to come back
    assert not writer.transport.is_closing()
    writer.close()


@pytest.mark.fault(58)
async def test_a_body_that_grows_too_large_without_saying_so(serve, one):
    proxy = await serve(document({"one": upstream(one)}, server={"max_body": "10KiB"}))

    async def pieces():
        for _ in range(20):
            yield b"x" * 1000

    async with proxy.session.post(proxy.url + CHAT_PATH, data=pieces()) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["code"] == "request_too_large"
    assert not one.seen


@pytest.mark.fault(58)
async def test_a_coded_body_is_refused(proxy):
    refused(await proxy.post(CHAT_PATH, b"\x1f\x8b", {"content-encoding": "gzip"}), 415)


UNKNOWN = [
    "/absent",
    "/v1",
    "/v1/chat",
    "/v1/chat/completions/",
    "/v1/chat/completions/x",
    "//v1/models",
    "/admin/..;/x",
]


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_paths(proxy, method, path):
    answer = await proxy.request(method, path, b"{}" if method == "POST" else None)
    if path.startswith("/admin"):
        refused(answer, 401)
    else:
        refused(answer, 404)
        assert answer.error["type"] == "invalid_request_error"


WRONG = {
    CHAT_PATH: ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"),
    LEGACY_PATH: ("GET",),
    "/v1/models": ("POST", "DELETE"),
    "/v1/models/m": ("POST",),
    "/health": ("POST",),
    "/": ("POST",),
}


@pytest.mark.parametrize(("method", "path"), [(method, path) for path, methods in WRONG.items() for method in methods])
async def test_wrong_methods(proxy, method, path):
    refused(await proxy.request(method, path, None), 405)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil.example", ""])
async def test_a_foreign_host_is_refused(proxy, one, host):
    """A web page that made its own name point to loopback gets nothing (DNS rebinding)."""
    for path in (CHAT_PATH, "/v1/models", "/health"):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        method = "POST" if path == CHAT_PATH else "GET"
        body = chat() if method == "POST" else b""
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        assert b" 400 " in await reader.readline()
        writer.close()
    assert not one.seen


async def raw(proxy, *pieces: bytes) -> bytes:
    """Send pieces on one connection and read until the proxy closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    got = await reader.read()
    writer.close()
    return got


SLOW = {
    "no body": (HEAD + b"content-length: 50\r\n\r\n",),
    "half a body": (HEAD + b"content-length: 50\r\n\r\n{", b'"model"'),
    "chunks without end": (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n",),
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
@pytest.mark.fault(57)
async def test_a_body_that_does_not_come_is_408(serve, one, pieces):
    proxy = await serve(document({"one": upstream(one)}, server={"body_timeout": "200ms"}))
    got = await raw(proxy, *pieces)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert not one.seen


SMUGGLED = {
    "both lengths": HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"content-length: 4\r\ncontent-length: 5\r\n\r\n{}{}",
    "odd coding": HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "negative length": HEAD + b"content-length: -1\r\n\r\n",
    "length a word": HEAD + b"content-length: ten\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("request_bytes", SMUGGLED.values(), ids=SMUGGLED)
@pytest.mark.fault(59)
async def test_requests_whose_end_is_in_doubt_are_refused_and_the_connection_closed(proxy, one, request_bytes):
    got = await raw(proxy, request_bytes + b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert b"HTTP/1.1 200" not in got
    assert b"Traceback" not in got
    assert not one.seen


async def test_headers_with_odd_bytes(proxy):
    head = HEAD + b"x-correlation-id: \xff\xfe\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    got = await raw(proxy, head % len(chat()) + chat())
    assert got.startswith(b"HTTP/1.1 200 ")


async def test_a_refusal_leaves_the_statistics_of_upstreams_alone(proxy):
    await proxy.post(CHAT_PATH, b"hello")
    rows = (await proxy.admin("statistics"))["upstreams"].values()
    assert all(row["attempts"] == 0 for row in rows)


async def test_many_kinds_at_once(proxy):
    """Bad requests side by side with good ones disturb nobody."""
    bodies = [body for body, _ in BAD.values() if len(body) < 10_000] + [chat()] * 20
    answers = await asyncio.gather(*(proxy.post(CHAT_PATH, body) for body in bodies))
    assert [answer.status for answer in answers[-20:]] == [200] * 20
    assert {answer.status for answer in answers[:-20]} == {400}
    assert isinstance(proxy.session, aiohttp.ClientSession)
