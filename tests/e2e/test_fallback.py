"""Whatever goes wrong before the first word, the next upstream answers; after it, nobody else may."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import openai
import pytest

from tests.e2e.harness import CHAT, document, upstream
from tests.upstream import Script

SHORT = {"connect": "2s", "first_byte": "250ms", "first_token": "400ms", "idle": "400ms", "attempt": "1s"}
ABOVE_ALL = b'{"error":"Unexpected endpoint or method. (POST /chat/completions)"}'
NOTHING_LOADED = b'{"error":{"message":"No models loaded. Please load a model","type":"invalid_request_error"}}'

FAULTS = {
    "reset before the head": Script(cut_head=0, ending="reset"),
    "closed before the head": Script(cut_head=0, ending="close"),
    "half a head": Script(cut_head=20, ending="close"),
    "reset in the head": Script(cut_head=20, ending="reset"),
    "no HTTP at all": Script(head=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "two lengths": Script(head=b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n"),
    "length and chunked": Script(
        head=b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", framing="close"
    ),
    "oversized head": Script(headers=(("x-big", "x" * 200_000),)),
    "never answers": Script(before_head="never"),
    "500": Script(status=500),
    "502 page": Script(status=502, content_type="text/html", body=b"<html><h1>Bad Gateway</h1></html>"),
    "503": Script(status=503),
    "529": Script(status=529),
    "429": Script(status=429, headers=(("retry-after", "3600"),)),
    "429 with odd waits": Script(status=429, headers=(("retry-after", "1e999"),)),
    "no money": Script(status=429, error={"code": "insufficient_quota", "type": "insufficient_quota"}),
    "401": Script(status=401),
    "403": Script(status=403),
    "404 model": Script(status=404),
    "408": Script(status=408),
    "redirect": Script(status=307, headers=(("location", "http://127.0.0.1:9/"),), body=b""),
    "200 page": Script(content_type="text/html", body=b"<html>log in</html>"),
    "200 page that says it is right": Script(body=b"<!doctype html><p>hello"),
    "200 plain text": Script(content_type="text/plain", body=b"overloaded"),
    "200 empty": Script(body=b""),
    "200 null": Script(body=b"null"),
    "200 list": Script(body=b"[]"),
    "200 half a JSON": Script(body=b'{"id":"x","choices":[{"index":0,"mess'),
    "200 no choices": Script(body=b'{"id":"x","object":"chat.completion","choices":[]}'),
    "200 with an error (LM Studio)": Script(body=ABOVE_ALL),
    "200 with an error object": Script(body=b'{"error":{"message":"boom","type":"server_error"}}'),
    "400 no model is loaded (LM Studio)": Script(status=400, body=NOTHING_LOADED),
    "404 no model is loaded (LM Studio)": Script(status=404, body=NOTHING_LOADED),
}
WHOLE_FAULTS = {
    "early end": Script(cut_after=30, ending="close"),
    "reset in the body": Script(cut_after=30, ending="reset"),
    "silence in the body": Script(cut_after=30, ending="hang"),
    "a stream": Script(chunks=(b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n',)),
    "early end of a chunked body": Script(framing="chunked", cut_after=30, ending="close"),
}
STREAM_FAULTS = {
    "empty stream": Script(chunks=()),
    "empty stream that is not closed": Script(chunks=(), ending="hang"),
    "only an end mark": Script(chunks=(b"data: [DONE]\n\n",)),
    "only a role": Script(cut_frames=1),
    "only a role, then FIN": Script(cut_frames=1, ending="close"),
    "only a role, then RST": Script(cut_frames=1, ending="reset"),
    "only a role, then silence": Script(pauses={1: "never"}),
    "half a frame": Script(cut_frames=0.5),
    "error first": Script(error={"message": "boom"}),
    "error after the role": Script(error={"message": "boom"}, error_after=1),
    "error as text": Script(error="The model has crashed without additional information. (Exit code: 6)"),
    "only comments": Script(chunks=(b": ping\n\n",) * 2000, between=0.02),
    "a frame that is no JSON": Script(chunks=(b"data: hello\n\n",)),
    "a page as a stream": Script(chunks=(b"<html>", b"</html>")),
    "a whole answer": Script(body=b'{"id":"x","choices":[{"index":0,"message":{"content":"Hello"}}]}'),
}
MODES = {"whole": False, "stream": True}


@pytest.fixture
async def pair(serve, one, two):
    """Two upstreams; the first has short timers, the second says something else."""
    two.default = Script(deltas=("second", " ", "answer"))
    return await serve(document({"one": upstream(one, provider="lmstudio", timeouts=SHORT), "two": upstream(two)}))


async def answers_from_two(pair, one, stream):
    answer = await pair.chat(stream=stream)
    assert answer.status == 200, answer.body
    assert answer.text == "second answer"
    assert answer.headers["x-failsoft-upstream"] == "two"
    assert 2 <= int(answer.headers["x-failsoft-attempts"]) <= len(one.seen) + 1
    assert "x-failsoft-offline" not in answer.headers
    assert stream is (b"data: [DONE]" in answer.body)


@pytest.mark.parametrize("stream", MODES.values(), ids=MODES)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_every_fault_moves_on(pair, one, fault, stream):
    one.script(fault, times=None)
    await answers_from_two(pair, one, stream)


@pytest.mark.parametrize("fault", WHOLE_FAULTS.values(), ids=WHOLE_FAULTS)
async def test_faults_in_a_whole_answer_move_on(pair, one, fault):
    """Nothing of a whole answer is sent before all of it is there and is valid."""
    one.script(fault, times=None)
    await answers_from_two(pair, one, stream=False)


@pytest.mark.parametrize("fault", STREAM_FAULTS.values(), ids=STREAM_FAULTS)
async def test_faults_before_the_first_word_of_a_stream_move_on(pair, one, fault):
    one.script(fault, times=None)
    await answers_from_two(pair, one, stream=True)


COMMENTS = Script(chunks=(b": ping\n\n",) * 100_000, between=0.02)
TIMERS = {
    "first byte": ("first_byte", Script(before_head="never"), True, "first_byte_timeout"),
    "first token, silence": ("first_token", Script(pauses={1: "never"}), True, "first_token_timeout"),
    "first token, comments": ("first_token", COMMENTS, True, "first_token_timeout"),
    "idle": ("idle", Script(pauses={1: "never"}), True, "idle_timeout"),
    "idle in a whole answer": ("idle", Script(cut_after=30, ending="hang"), False, "idle_timeout"),
    "attempt": ("attempt", COMMENTS, True, "idle_timeout"),
    "attempt for a whole answer": ("attempt", Script(before_head="never"), False, "first_byte_timeout"),
}


@pytest.mark.parametrize(("timer", "fault", "stream", "kind"), TIMERS.values(), ids=TIMERS)
async def test_each_timer_works_alone(serve, one, timer, fault, stream, kind):
    """All other timers keep their long defaults."""
    proxy = await serve(document({"one": upstream(one, timeouts={timer: "250ms"})}, offline={"levels": []}))
    one.script(fault, times=None)
    answer = await proxy.chat(stream=stream)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert f"one/m: {kind}" in answer.error["message"]
    await one.seen[0].closed()
    assert one.seen[0].left


@pytest.mark.parametrize("stream", MODES.values(), ids=MODES)
async def test_a_refused_connection_moves_on(serve, one, stream):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        proxy = await serve(document({"dead": upstream(dead), "one": upstream(one)}))
        answer = await proxy.chat(stream=stream)
    assert (answer.text, answer.headers["x-failsoft-upstream"]) == ("Hello, world!", "one")


@pytest.mark.parametrize("fate", ["reset", "close"])
async def test_a_connection_that_is_ended_at_once_moves_on(serve, one, two, fate):
    one.on_connect = fate
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    answer = await proxy.chat()
    assert answer.headers["x-failsoft-upstream"] == "two"
    assert not one.seen


async def test_an_answer_is_judged_by_its_body_and_not_by_its_label(pair, one):
    """Some servers label streams as plain text; what parses as an answer is one."""
    for stream in (False, True):
        one.script(Script(content_type="text/plain"))
        assert (await pair.chat(stream=stream)).text == "Hello, world!"


async def test_legacy_completions_fall_back_too(pair, one):
    one.script(Script(status=500), times=None)
    for stream in (False, True):
        answer = await pair.post("/v1/completions", {"model": "m", "prompt": "a", "stream": stream})
        assert answer.headers["x-failsoft-upstream"] == "two"
        assert b"second" in answer.body


async def test_an_upstream_gone_between_two_requests_is_noticed(pair, one):
    """A pooled connection that the upstream has closed meanwhile costs the client nothing."""
    for _ in range(3):
        one.script(Script(ending="close"))
        answer = await pair.chat()
        assert answer.headers["x-failsoft-upstream"] == "one"
    assert one.connected >= 3


@pytest.mark.parametrize("status", [400, 422, 451])
async def test_a_request_that_is_at_fault_does_not_move_on(pair, one, two, status):
    one.script(Script(status=status, error={"message": "temperature is too high", "param": "temperature"}))
    answer = await pair.chat()
    assert answer.status == status
    assert answer.error["message"] == "temperature is too high"
    assert answer.error["param"] == "temperature"
    assert not two.seen


async def test_a_request_that_is_too_long_moves_on_and_is_told_if_all_say_so(pair, one, two):
    error = {"message": "maximum context length is 10 tokens", "code": "context_length_exceeded"}
    one.script(Script(status=400, error=error), times=None)
    assert (await pair.chat()).text == "second answer"
    two.script(Script(status=400, error=error), times=None)
    answer = await pair.chat()
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")


BREAKS = {
    "reset": Script(cut_frames=3, ending="reset"),
    "FIN": Script(cut_frames=3, ending="close"),
    "clean end": Script(cut_frames=3),
    "clean end in half a frame": Script(cut_frames=3.5),
    "silence": Script(pauses={3: "never"}),
    "error": Script(error={"message": "secret detail"}, error_after=3),
    "error as text": Script(error="The model has crashed", error_after=3),
    "frame that is no JSON": Script(
        chunks=(
            b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n',
            b'data: {"choices":[{"index":0,"delta":{"content":","}}]}\n\n',
            b"data: <html>\n\n",
        )
    ),
    "no finish and no end mark": Script(finish="", done=False),
}


@pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
async def test_a_stream_that_breaks_ends_in_one_error_event(pair, one, two, fault):
    """After the first word: what came is kept, one error event follows, no end mark, and nobody else speaks."""
    gate = one.gate()
    one.script(replace(fault, pauses={2: gate} | dict(fault.pauses), before_end=gate))
    async with pair.session.post(f"{pair.url}/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        body = await answer.content.readuntil(b"Hello")
        gate.open()
        body += await answer.content.read()
    *kept, last = [frame for frame in body.split(b"\n\n") if frame]
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"]) == ("stream_interrupted", "upstream_error")
    chunks = [json.loads(frame.removeprefix(b"data: ")) for frame in kept]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks).startswith("Hello")
    assert b"[DONE]" not in body
    assert b"secret detail" not in body
    assert body.count(b'"error"') == 1
    assert not two.seen


async def test_an_error_that_comes_together_with_the_first_words_moves_on(pair, one):
    """Nothing had been given to the client yet, so nothing is lost."""
    one.script(Script(error={"message": "boom"}, error_after=3, frames_per_write=10), times=None)
    await answers_from_two(pair, one, stream=True)


async def test_an_end_mark_without_a_finish_is_an_end(pair, one, two):
    """Some servers never give a finish reason."""
    one.script(Script(finish=""))
    answer = await pair.chat(stream=True)
    assert (answer.text, answer.frames[-1]) == ("Hello, world!", b"data: [DONE]")
    assert not two.seen


async def test_the_sdk_raises_when_a_stream_breaks(pair, one):
    gate = one.gate()
    one.script(Script(cut_frames=3, ending="close", before_end=gate))
    async with pair.sdk() as sdk:
        stream = aiter(await sdk.chat.completions.create(**CHAT, stream=True))
        said = [(await anext(stream)).choices[0].delta.content for _ in range(3)]
        gate.open()
        with pytest.raises(openai.APIError, match="interrupted"):
            await anext(stream)
    assert said == ["", "Hello", ","]


async def test_legacy_streams_break_the_same_way(pair, one, two):
    gate = one.gate()
    one.script(Script(cut_frames=2, ending="close", before_end=gate))
    body = {"model": "m", "prompt": "a", "stream": True}
    async with pair.session.post(f"{pair.url}/v1/completions", json=body) as answer:
        got = await answer.content.readuntil(b"Hello")
        gate.open()
        got += await answer.content.read()
    last = got.split(b"\n\n")[-2]
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "stream_interrupted"
    assert b"[DONE]" not in got
    assert not two.seen


async def test_a_missing_end_mark_after_the_finish_is_made_good(pair, one, two):
    one.script(Script(done=False))
    answer = await pair.chat(stream=True)
    assert answer.text == "Hello, world!"
    assert answer.frames[-1] == b"data: [DONE]"
    assert b'"error"' not in answer.body
    assert not two.seen


async def test_what_follows_the_end_mark_is_ignored(pair, one):
    hello = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    one.script(Script(chunks=(hello, b"data: [DONE]\n\n", b"data: [DONE]\n\ndata: {}\n\n")))
    answer = await pair.chat(stream=True)
    assert answer.body.count(b"[DONE]") == 1
    assert answer.text == "Hi"
