"""Responses from every kind of server, as events; memory stays flat however long they are."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.chat import Chat, Message, TextPart
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import Event, Failed, Finish, Folded, FoldedTool, Start, Tokens, fold
from proxy.core.usage import Usage
from proxy.engine.heartbeat import Heartbeat
from proxy.engine.relay import hold_until_begun, relay
from proxy.wire import sse
from proxy.wire.bridge import Translation
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.dialects.openai_responses import DIALECT as RESPONSES
from tests.upstream.dialects.openai_responses import DIALECT as FAKE
from tests.upstream.request import Request
from tests.upstream.script import Script, ToolCall

CALLER = Chat("m", (Message("user", (TextPart("hi"),)),), stream=True)
CALL = {"type": "function_call", "id": "x", "call_id": "c", "name": "f", "arguments": "{}"}
SAYS = {"type": "message", "content": [{"type": "output_text", "text": "ok"}]}


def frames(*events: Any) -> bytes:
    return b"".join(sse.frame(event if isinstance(event, bytes) else json.dumps(event).encode()) for event in events)


def read(*events: Any) -> list[Event]:
    decoder = RESPONSES.decoder()
    return [*decoder.feed(frames(*events)), *decoder.close()]


def told(*events: Any) -> Folded:
    return fold(read(*events))


def completed(*output: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"output": list(output), **fields}}


def done(place: int, item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


def test_a_server_that_sends_items_but_no_deltas() -> None:
    answer = told(done(0, SAYS), done(1, CALL), completed(SAYS, CALL)).choices[0]
    assert (answer.text, answer.tools, answer.finish) == ("ok", {0: FoldedTool("c", "f", "{}")}, "tool_calls")


def test_a_server_that_sends_its_answer_at_the_end_only() -> None:
    answer = told(completed(SAYS, CALL)).choices[0]
    assert (answer.text, answer.tools, answer.finish) == ("ok", {0: FoldedTool("c", "f", "{}")}, "tool_calls")


def test_nothing_is_told_twice() -> None:
    """Deltas, the item that repeats them, the same item again, and the response that repeats all."""
    delta = {"type": "response.output_text.delta", "output_index": 0, "delta": "ok"}
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
    no = {"type": "response.refusal.delta", "output_index": 1, "delta": "no"}
    answer = told(delta, done(0, SAYS), done(0, SAYS), no, done(1, refusal), completed(SAYS, refusal)).choices[0]
    assert (answer.text, answer.refusal) == ("ok", "no")


def test_an_output_that_leaves_items_out_repeats_nothing() -> None:
    """Its places are not those of the stream, so what was told by items is not looked for in it."""
    sealed = {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"}
    answer = told(done(0, sealed), done(0, sealed), done(1, SAYS), completed(SAYS)).choices[0]
    assert (answer.text, len(answer.extra["thinking_blocks"])) == ("ok", 1)


def test_half_a_character_at_the_end_is_told_as_what_it_is() -> None:
    text = b'{"type":"response.output_text.delta","output_index":0,"delta":"a\\ud83d"}'
    added = {"type": "response.output_item.added", "output_index": 1, "item": CALL}
    arguments = b'{"type":"response.function_call_arguments.delta","output_index":1,"delta":"b\\ud83d"}'
    answer = told(text, added, arguments, completed()).choices[0]
    assert (answer.text, answer.tools[0].arguments) == ("a\ufffd", "b\ufffd")


@pytest.mark.parametrize(
    ("item", "tool"),
    [
        ({"type": "function_call", "id": "x", "name": "f"}, FoldedTool("x", "f", "")),
        ({"type": "function_call", "name": "f", "arguments": {"a": [1]}}, FoldedTool("call_0", "f", '{"a":[1]}')),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "free"},
            FoldedTool("c", "g", "free", kind="custom"),
        ),
    ],
)
def test_calls_of_all_kinds(item: Mapping[str, Any], tool: FoldedTool) -> None:
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": "", "input": ""}}
    for stream in ((done(0, item),), (added, done(0, item))):
        assert told(*stream, completed()).choices[0].tools == {0: tool}


def test_reasoning_is_told_once_whichever_way() -> None:
    both = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
        "content": [{"type": "reasoning_text", "text": "long"}],
    }
    assert told(done(0, both), completed()).choices[0].reasoning == "a\n\nb"
    text = {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "long"}
    assert told(text, done(0, both), completed()).choices[0].reasoning == "long"


def test_usage_and_the_facts_of_the_start() -> None:
    usage = {
        "input_tokens": 20, "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3}, "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 29,
    }  # fmt: skip
    about = {"id": "r", "model": "u", "created_at": 7.5, "service_tier": "flex"}
    events = read({"type": "response.created", "response": about}, completed(usage=usage))
    assert events[0] == Start("r", "u", 7, {"service_tier": "flex"})
    assert events[-1] == Tokens(Usage(20, 9, cached=5, cache_write=3, reasoning=4, source="vendor"))
    assert read(completed(usage=None, created_at="soon")) == [Start("", ""), Finish("stop")]


@pytest.mark.parametrize(
    ("why", "finish"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "max_messages"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": "steered"}, "stop"),
        ({"reason": "brand_new"}, "length"),
        ({"reason": 3}, "length"),
        (None, "length"),
    ],
)
def test_why_an_answer_is_incomplete(why: Any, finish: str) -> None:
    response = {"output": [SAYS], "incomplete_details": why}
    assert told({"type": "response.incomplete", "response": response}).choices[0].finish == finish
    body = json.dumps({"status": "incomplete", **response}).encode()
    assert fold(RESPONSES.decode_body(body)).choices[0].finish == finish


ERRORS = [
    ("server_error", ErrorKind.FAULT),
    ("brand_new", ErrorKind.FAULT),
    ("rate_limit_exceeded", ErrorKind.THROTTLE),
    ("insufficient_quota", ErrorKind.MONEY),
    ("context_length_exceeded", ErrorKind.CONTEXT),
    ("invalid_prompt", ErrorKind.REJECTED),
    ("image_content_policy_violation", ErrorKind.REJECTED),
]


@pytest.mark.parametrize(("code", "kind"), ERRORS)
def test_errors_have_a_kind_wherever_they_stand(code: str, kind: ErrorKind) -> None:
    error = {"code": code, "message": "m", "param": "input"}
    failed = {"type": "response.failed", "response": {"error": error}}
    for event in (failed, {"type": "error", **error}, {"type": "error", "error": error}, {"error": error}):
        [*_, last] = read({"type": "response.output_text.delta", "delta": "x"}, event, completed(SAYS))
        assert isinstance(last, Failed)
        assert last.kind is kind
    with pytest.raises(UpstreamFailure) as caught:
        RESPONSES.decode_body(json.dumps({"status": "failed", "error": error}).encode())
    assert (caught.value.kind, caught.value.client_message) == (
        kind, "m" if kind in (ErrorKind.REJECTED, ErrorKind.CONTEXT) else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ErrorKind.NOT_AN_ANSWER),
        (b"<html>", ErrorKind.NOT_AN_ANSWER),
        (b"[]", ErrorKind.NOT_AN_ANSWER),
        (b'{"object":"response"}', ErrorKind.NOT_AN_ANSWER),
        (b'{"status":"in_progress","output":[]}', ErrorKind.NOT_AN_ANSWER),
        (b'{"status":"failed"}', ErrorKind.FAULT),
        (b'{"status":"cancelled","output":[]}', ErrorKind.FAULT),
        (b'{"error":"Unexpected endpoint or method. (POST /responses)"}', ErrorKind.NOT_AN_ANSWER),
    ],
)
def test_a_body_that_is_no_answer(body: bytes, kind: ErrorKind) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        RESPONSES.decode_body(body)
    assert caught.value.kind is kind


def test_blank_lines_before_a_body_are_no_failure() -> None:
    assert fold(RESPONSES.decode_body(b"\n \n" + json.dumps({"output": [SAYS]}).encode())).choices[0].text == "ok"


ODD = [
    3, [], None, {}, {"type": 3}, {"type": "response.created"}, {"type": "response.created", "response": 3},
    {"type": "response.output_item.added", "item": {"type": []}}, {"type": "response.output_item.done", "item": 4},
    done(0, {"type": "message", "content": [3, {"type": "output_text", "text": 4, "annotations": 5}]}),
    done(1, {"type": "reasoning", "summary": 3}), {"type": "response.output_text.delta", "delta": 4, "logprobs": [3]},
    {"type": "response.function_call_arguments.delta", "delta": "lost"}, {"type": "response.completed", "response": 3},
    {"type": "response.output_text.annotation.added", "annotation": 3}, {"type": "response.incomplete"},
    {"type": "response.failed", "response": 3}, {"type": "error"},
]  # fmt: skip


@pytest.mark.parametrize("event", ODD, ids=map(str, range(len(ODD))))
def test_odd_shapes_are_no_crash(event: Any) -> None:
    fold(read(event, completed(SAYS)))


def test_what_is_no_event_is_a_failure() -> None:
    [failed] = read(b"not json")
    assert isinstance(failed, Failed)
    assert failed.kind is ErrorKind.NOT_AN_ANSWER


WORDS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=1, max_size=4).map(tuple)
TOOLS = st.lists(st.builds(ToolCall, st.sampled_from(["f", "code"]), WORDS, st.uuids().map(str)), max_size=3).map(tuple)
FINISHES = st.sampled_from([None, "length", "content_filter", "refusal"])
SCRIPTS = st.builds(Script, deltas=WORDS, reasoning=st.just(()) | WORDS, tool_calls=TOOLS, finish=FINISHES)
ASKED = {
    "model": "m", "stream": True, "tools": [{"type": "custom", "name": "code"}],
    "include": ["reasoning.encrypted_content"],
}  # fmt: skip
REQUEST = Request("POST", "/v1/responses", (), json.dumps(ASKED).encode())


@settings(max_examples=80, deadline=None)
@given(SCRIPTS, st.integers(1, 90))
def test_stream_and_body_fold_to_the_same_answer(script: Script, size: int) -> None:
    """And the words are the model's own, cut anywhere."""
    stream = b"".join(FAKE.frames(REQUEST, script))
    decoder = RESPONSES.decoder()
    streamed = fold([event for at in range(0, len(stream), size) for event in decoder.feed(stream[at : at + size])])
    assert decoder.ended
    assert streamed == fold(RESPONSES.decode_body(FAKE.whole(REQUEST, script)))
    choice = streamed.choices[0]
    assert choice.reasoning == "".join(script.reasoning)
    assert [(tool.id, tool.name, tool.arguments, tool.kind) for tool in choice.tools.values()] == [
        (call.id, call.name, "".join(call.pieces), "custom" if call.name == "code" else "function")
        for call in script.tool_calls
    ]
    if not script.tool_calls:
        assert choice.text + choice.refusal == "".join(script.deltas)


class Source:
    """An upstream's answer that is made while it is read, as the relay sees one."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, piece: bytes, times: int, last: bytes) -> None:
        self._piece, self._left, self._last = piece, times, last

    async def read(self) -> bytes:
        if self._left:
            self._left -= 1
            return self._piece
        last, self._last = self._last, b""
        return last

    def expire(self, kind: ErrorKind) -> None: ...

    def close(self) -> None: ...


class Sink:
    """A client that counts what it gets."""

    started = True

    def __init__(self) -> None:
        self.size = 0

    async def start(self, status: int, headers: Any) -> None: ...

    async def write(self, data: bytes) -> None:
        self.size += len(data)

    async def finish(self, data: bytes = b"") -> None:
        self.size += len(data)


async def carry(source: Source) -> Sink:
    """The relay's whole way, from the first byte to the end mark."""
    sink, passage = Sink(), Translation(RESPONSES.decoder(), CHAT.encoder(CALLER, 1))

    async def nothing(_: bytes = b"") -> None: ...

    heartbeat = Heartbeat(3600, 3600, nothing, nothing)
    try:
        await sink.write(await hold_until_begun(source, passage))
        await relay(source, passage, sink, heartbeat, lambda: None)
    finally:
        heartbeat.stop()
    return sink


async def test_a_stream_of_100_megabytes_needs_no_more_memory_than_a_short_one() -> None:
    delta = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0}
    piece = frames(*[delta | {"delta": "x" * 100_000}] * 5)
    tracemalloc.start()
    try:
        sink = await carry(Source(piece, 200, frames(completed())))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.size > 100_000_000
    assert peak < 8 * len(piece)


@pytest.mark.parametrize("size", [1 << 16, 1 << 20])
def test_an_event_of_more_than_8_megabytes_is_a_fault_and_not_an_allocation(size: int) -> None:
    """Not much more than the limit is ever held, and what follows is not read."""
    begin = frames({"type": "response.output_text.delta", "delta": "x"}) + b'data: {"type":"'
    piece = b"y" * size
    passage = Translation(RESPONSES.decoder(), CHAT.encoder(CALLER, 1))
    passage.feed(begin)
    tracemalloc.start()
    try:
        for _ in range(4 * sse.LIMIT // size):
            passage.feed(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert passage.failure is ErrorKind.NOT_AN_ANSWER
    assert peak < 3 * sse.LIMIT
