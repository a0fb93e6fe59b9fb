"""Answers that no transcript holds: broken, odd, and split in unlikely places."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import Failed, Finish, Text, Tokens, ToolArgs, ToolOpen, fold
from proxy.wire import sse
from proxy.wire.dialects.anthropic_messages import DIALECT
from proxy.wire.dialects.anthropic_messages.answer import decode_body, read_usage
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from tests.unit.wire.anthropic_messages.asking import ask, result, user


def event(kind, **fields):
    return sse.frame(json.dumps({"type": kind, **fields}).encode())


START = event("message_start", message={"id": "msg_1", "model": "c", "usage": {"input_tokens": 3, "output_tokens": 1}})


def streamed(*frames):
    decoder = DIALECT.decoder()
    return [*decoder.feed(b"".join(frames)), *decoder.close()]


def ends(reason):
    return event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 5})


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "stop"),
        ("brand_new", "stop"),
    ],
)
def test_finish_reasons(reason, finish):
    """A call that was announced and never came is none."""
    assert Finish(finish) in streamed(START, ends(reason))


@pytest.mark.parametrize(
    ("reason", "finish"), [("tool_use", "tool_calls"), ("end_turn", "tool_calls"), ("max_tokens", "length")]
)
def test_finish_reasons_with_a_call(reason, finish):
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert Finish(finish) in streamed(START, event("content_block_start", index=0, content_block=block), ends(reason))


def test_arguments_are_a_piece_or_the_input_of_the_beginning_or_an_empty_object():
    def told(block, *pieces):
        frames = [
            event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": p}) for p in pieces
        ]
        block = {"type": "tool_use", "id": "t", "name": "f", **block}
        frames = [
            event("content_block_start", index=0, content_block=block),
            *frames,
            event("content_block_stop", index=0),
        ]
        return "".join(one.text for one in streamed(START, *frames) if isinstance(one, ToolArgs))

    assert told({"input": {}}, "", '{"a":', "1}") == '{"a":1}'
    assert told({"input": {"a": 2}}) == '{"a":2}'
    assert told({}) == "{}"


def test_a_character_cut_between_two_pieces_is_whole():
    halves = [
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\u%s"}}' % half
        for half in (b"d83c", b"df0d")
    ]
    begun = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    assert Text("🌍") in streamed(START, begun, *map(sse.frame, halves))


def test_nothing_follows_the_end_or_an_error():
    late = event("content_block_start", index=0, content_block={"type": "text", "text": "late"})
    decoder = DIALECT.decoder()
    found = decoder.feed(START + ends("end_turn") + event("message_stop") + late)
    assert decoder.ended
    assert not any(isinstance(one, Text) for one in found)
    failed = streamed(START, event("error", error={"type": "api_error"}), late)
    assert isinstance(failed[-1], Failed)


def test_an_end_without_a_reason_is_an_end():
    assert [one for one in streamed(START, event("message_stop")) if isinstance(one, Finish)] == [Finish("stop")]
    assert not streamed(event("message_stop"))


@pytest.mark.parametrize("frame", [b"data: [1]\n\n", b"data: nonsense\n\n", b"data: " + b"x" * (sse.LIMIT + 1)])
def test_what_is_no_event_is_no_answer(frame):
    [failed] = streamed(frame)
    assert failed.kind is ErrorKind.NOT_AN_ANSWER


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", ErrorKind.NOT_AN_ANSWER),
        (b"{", ErrorKind.NOT_AN_ANSWER),
        (b"[]", ErrorKind.NOT_AN_ANSWER),
        (b'{"content": "x"}', ErrorKind.NOT_AN_ANSWER),
        (b'{"type":"error","error":{"type":"overloaded_error"}}', ErrorKind.OVERLOAD),
    ],
)
def test_whole_answers_that_are_none(body, kind):
    with pytest.raises(UpstreamFailure) as caught:
        decode_body(body)
    assert caught.value.kind is kind


def test_a_whole_answer_may_come_as_a_stream():
    frames = (
        START + event("content_block_start", index=0, content_block={"type": "text", "text": "Hi"}) + ends("end_turn")
    )
    assert fold(decode_body(frames)).choices[0].text == "Hi"


def test_a_whole_answer_ends_with_its_usage():
    events = decode_body(b'{"content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 1}}')
    assert [type(one) for one in events[-2:]] == [Finish, Tokens]


@pytest.mark.parametrize("odd", [None, "x", -1, True, 1e300, [1]])
def test_counts_are_plausible(odd):
    usage = {
        "input_tokens": odd,
        "output_tokens": 2,
        "output_tokens_details": {"thinking_tokens": 9},
        "service_tier": odd,
    }
    found = read_usage(usage)
    assert (found.prompt, found.completion, found.reasoning, found.source) == (0, 2, 2, "vendor")


BLOCKS = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=5).map(lambda text: {"type": "text", "text": text}),
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=4), max_size=2).map(
            lambda given: {"type": "tool_use", "id": "t", "name": "f", "input": given}
        ),
        st.text(max_size=4).map(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}),
        st.just({"type": "redacted_thinking", "data": "d"}),
        st.just({"type": "brand_new", "text": "?"}),
    ),
    max_size=5,
)
EMPTY = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
FIELDS = {
    "text": ("text_delta", "text", "text"),
    "thinking": ("thinking_delta", "thinking", "thinking"),
    "tool_use": ("input_json_delta", "partial_json", "input"),
}


def frames_of(index, block, cut):
    yield event("content_block_start", index=index, content_block=block | EMPTY.get(block["type"], {}))
    if block["type"] in FIELDS:
        delta, name, source = FIELDS[block["type"]]
        told = (
            block[source]
            if isinstance(block[source], str)
            else json.dumps(block[source], separators=(",", ":"), ensure_ascii=False)
        )
        for piece in (told[:cut], told[cut:]):
            yield event("content_block_delta", index=index, delta={"type": delta, name: piece})
    if block["type"] == "thinking":
        yield event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": "s"})
    yield event("content_block_stop", index=index)


@given(BLOCKS, st.integers(0, 6))
@settings(max_examples=150, deadline=None)
def test_streamed_and_whole_fold_to_the_same(content, cut):
    frames = [frame for index, block in enumerate(content) for frame in frames_of(index, block, cut)]
    usage = {"input_tokens": 3, "output_tokens": 5}
    whole = {"id": "msg_1", "model": "c", "content": content, "stop_reason": "end_turn", "usage": usage}
    one = fold(streamed(START, *frames, ends("end_turn"), event("message_stop")))
    assert one == fold(decode_body(json.dumps(whole).encode()))


@given(BLOCKS)
@settings(max_examples=100, deadline=None)
def test_calls_are_numbered_over_calls_alone(content):
    opened = [one.index for one in decode_body(json.dumps({"content": content}).encode()) if isinstance(one, ToolOpen)]
    assert opened == list(range(sum(block["type"] == "tool_use" for block in content)))


THINKING = st.sampled_from(
    [
        {"type": "thinking", "thinking": "hm", "signature": "s1"},
        {"type": "thinking", "thinking": "", "signature": "s2"},
        {"type": "redacted_thinking", "data": "d"},
    ]
)
GIVEN = st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.text(max_size=4) | st.none(), max_size=2)
CALLS = GIVEN.map(lambda given: {"type": "tool_use", "name": "f", "input": given})
TURNS = st.tuples(
    st.lists(THINKING, max_size=2), st.just({"type": "text", "text": "Ä words"}), st.lists(THINKING | CALLS, max_size=4)
).map(lambda made: [*made[0], made[1], *made[2]])


@given(TURNS)
@settings(max_examples=150, deadline=None)
def test_what_the_model_said_returns_to_it_unchanged(content):
    """Answer, to a chat client, back in the next request: text, calls and signed thinking are where they were."""
    numbered = [block | ({"id": f"t{i}"} if block["type"] == "tool_use" else {}) for i, block in enumerate(content)]
    body = json.dumps({"id": "msg_1", "content": numbered, "stop_reason": "end_turn"}).encode()
    [chat] = CHAT.decode_request(json.dumps({"model": "m", "messages": [user("hi")]}).encode())
    answer = json.loads(CHAT.encode_body(DIALECT.decode_body(body), chat, 7))
    message = answer["choices"][0]["message"]
    results = [result("f") | {"tool_call_id": made["id"]} for made in message.get("tool_calls", ())]
    sent, losses = ask(user("hi"), message, *results, user("go on"))
    assert sent["messages"][1]["content"] == numbered
    assert not losses
