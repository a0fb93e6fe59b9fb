"""The identity stream: what leaves, when it commits, how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.request import Peek
from proxy.core.usage import Usage
from proxy.wire.dialects import Passage
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.dialects.openai_completions import DIALECT as COMPLETIONS

DONE = b"data: [DONE]\n\n"
K = ErrorKind


def frame(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


def chunk(*choices: dict[str, Any], **top: Any) -> bytes:
    return frame({"id": "c1", "model": "m-1", "choices": list(choices), **top})


def text(words: str, **top: Any) -> bytes:
    return chunk(delta(content=words), **top)


ROLE = chunk(delta(role="assistant", content=""))
STOP = chunk(delta(finish="stop"))
USAGE = chunk(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})


def tap(*, include_usage: bool = False) -> Passage:
    return CHAT.tap(Peek("m", stream=True, include_usage=include_usage))


def run(passage: Passage, frames: Iterable[bytes]) -> bytes:
    return b"".join(map(passage.feed, frames)) + passage.close()


def test_a_good_stream_passes_byte_for_byte() -> None:
    passage = tap()
    stream = [ROLE, text("hé"), text("llo"), STOP, DONE]
    assert run(passage, stream) == b"".join(stream)
    assert (passage.begun, passage.finished, passage.ended, passage.failure) == (True, True, True, None)
    assert (passage.model, passage.finish, passage.written, passage.usage) == ("m-1", "stop", 5, None)


def test_a_chunk_that_is_one_frame_is_the_same_object() -> None:
    one = text("a")
    assert tap().feed(one) is one


@pytest.mark.parametrize(
    ("fields", "begins"),
    [
        ({"role": "assistant"}, False),
        ({"role": "assistant", "content": ""}, False),
        ({"content": None, "refusal": None, "tool_calls": []}, False),
        ({"tool_calls": [{}]}, False),
        ({"function_call": {}}, False),
        ({"tool_calls": [{"index": 0, "type": "function", "function": {}}]}, False),
        ({"content": " "}, True),
        ({"content": [{"type": "text", "text": "a"}]}, True),
        ({"reasoning_content": "a"}, True),
        ({"reasoning": "a"}, True),
        ({"refusal": "a"}, True),
        ({"tool_calls": [{"index": 0, "id": "c"}]}, True),
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}, True),
        ({"tool_calls": [{"index": 0, "function": {"arguments": {"a": "b"}}}]}, True),
        ({"function_call": {"name": "f"}}, True),
        ({"audio": {"data": "AA"}}, True),
    ],
)
def test_what_commits(fields: dict[str, Any], begins: bool) -> None:
    """Only what a client would miss is the line after which no other target may answer."""
    passage = tap()
    assert passage.feed(chunk(delta(**fields)))
    assert passage.begun is begins


def test_a_finish_commits_but_usage_does_not() -> None:
    passage = tap(include_usage=True)
    passage.feed(USAGE)
    assert not passage.begun
    passage.feed(STOP)
    assert passage.begun
    assert passage.finished


def test_counts_what_was_written() -> None:
    passage = tap()
    passage.feed(chunk(delta(content="ab"), delta(1, reasoning="cde", reasoning_content="cde")))
    passage.feed(chunk(delta(tool_calls=[{"index": 0, "id": "i", "function": {"name": "f", "arguments": "{}"}}])))
    assert passage.written == 5 + 3


# --- usage -----------------------------------------------------------------------------------------------------------


def test_usage_is_withheld_from_who_did_not_ask() -> None:
    passage = tap()
    out = run(passage, [text("a", usage=None), STOP, USAGE, DONE])
    assert out == text("a") + STOP + DONE
    assert passage.usage == Usage(3, 2, source="vendor")


def test_of_several_usages_the_last_one_passes() -> None:
    early = chunk(usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4})
    passage = tap(include_usage=True)
    assert run(passage, [early, text("a"), STOP, early, USAGE, DONE]) == b"".join([text("a"), STOP, USAGE, DONE])
    assert passage.usage == Usage(3, 2, source="vendor")


def test_usage_passes_to_who_asked() -> None:
    stream = [text("a", usage=None), STOP, USAGE, DONE]
    assert run(tap(include_usage=True), stream) == b"".join(stream)


def test_usage_beside_a_choice_stays_and_the_last_one_holds() -> None:
    passage = tap()
    first = text("a", usage={"prompt_tokens": 1, "completion_tokens": 1})
    assert passage.feed(first) == first
    passage.feed(USAGE)
    assert passage.usage == Usage(3, 2, source="vendor")


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (b'{"choices":[],"usage":null}', b'{"choices":[]}'),
        (b'{"usage":null,"choices":[]}', b'{"choices":[]}'),
        (b'{ "usage" : null , "choices" : [] }', b'{  "choices" : [] }'),
        (b'{"choices" : [ ] , "usage" : null , "x":1e2}', b'{"choices" : [ ]  , "x":1e2}'),
        (b'{"choices":[],"us\\u0061ge":null}', b'{"choices":[]}'),
        (b'{"choices":[],"x":{"usage":null},"usage":null}', b'{"choices":[],"x":{"usage":null}}'),
        (
            b'{"choices":[{"delta":{"content":",\\"usage\\":null"}}],"usage":null}',
            b'{"choices":[{"delta":{"content":",\\"usage\\":null"}}]}',
        ),
        (
            b'{"choices":[],"x":{"a":1,"usage":null},"usage":null}',
            b'{"choices":[],"x":{"a":1,"usage":null}}',
        ),
        # Not on the top level: none of our business.
        (b'{"choices":[],"x":{"usage":null}}', b'{"choices":[],"x":{"usage":null}}'),
    ],
)
def test_only_the_top_levels_null_usage_is_taken_out(data: bytes, left: bytes) -> None:
    out = tap().feed(b"data: " + data + b"\n\n")
    assert out.replace(b" ", b"") == (b"data: " + left + b"\n\n").replace(b" ", b"")
    assert json.loads(out[6:]) == json.loads(left)


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (frame({"error": {"message": "x", "type": "server_error"}}), K.FAULT),
        (frame({"error": {"message": "x", "type": "overloaded_error"}}), K.OVERLOAD),
        (frame({"error": {"message": "x", "code": "rate_limit_exceeded"}}), K.THROTTLE),
        (frame({"error": {"message": "x", "code": 429}}), K.THROTTLE),
        (frame({"error": {"message": "x", "type": "insufficient_quota"}}), K.MONEY),
        (frame({"error": "No models loaded. Please load a model"}), K.MODEL_ABSENT),
        (frame({"error": {"message": "Model is unloaded."}}), K.FAULT),
        (frame({"error": {"message": "x"}, "choices": [delta(finish="error")]}), K.FAULT),
        (b"event: error\n" + frame({"message": "The model has crashed"}), K.FAULT),
        (frame({"object": "error", "message": "busy", "code": 503}), K.OVERLOAD),
        (chunk(delta(content="x", finish="error")), K.FAULT),
        (chunk(delta(finish="insufficient_system_resource")), K.OVERLOAD),
        (b"data: <html>\n\n", K.NOT_AN_ANSWER),
        (b"data: {\n\n", K.NOT_AN_ANSWER),
        (b"data: null\n\n", K.NOT_AN_ANSWER),
        (b"data: [1]\n\n", K.NOT_AN_ANSWER),
        (b'data: {"choices":{}}\n\n', K.NOT_AN_ANSWER),
        (b"data: \xff\n\n", K.NOT_AN_ANSWER),
        (b"data: " + b"[" * 50_000 + b"\n\n", K.NOT_AN_ANSWER),
    ],
)
def test_a_reported_failure_does_not_leave(bad: bytes, kind: ErrorKind) -> None:
    """What came before leaves, nothing of the failure does, and what follows is ignored."""
    for before in ([], [text("a")]):
        passage = tap()
        assert passage.feed(b"".join([*before, bad, text("b")])) == b"".join(before)
        assert passage.failure is kind
        assert passage.detail
        assert passage.feed(text("c")) + passage.close() == b""


def test_a_null_error_is_none() -> None:
    passage = tap()
    assert passage.feed(text("a", error=None))
    assert passage.failure is None


def test_an_event_over_the_limit_is_a_failure() -> None:
    passage = tap()
    for _ in range(9):
        assert passage.feed(b"x" * (1 << 20)) == b""
    assert passage.failure is K.NOT_AN_ANSWER


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_missing_end_mark_is_added() -> None:
    passage = tap()
    assert run(passage, [text("a"), STOP]) == text("a") + STOP + DONE
    assert passage.ended


@pytest.mark.parametrize("stream", [[], [b": ping\n\n"], [ROLE], [DONE], [ROLE, DONE], [ROLE, USAGE, DONE]])
def test_a_stream_without_a_delta_is_no_answer(stream: list[bytes]) -> None:
    passage = tap()
    assert DONE not in run(passage, stream)
    assert passage.failure is K.NOT_AN_ANSWER


def test_a_cut_stream_is_broken_and_gets_no_end_mark() -> None:
    for rest in (b"", text("b")[:-2], text("b")[:20]):
        passage = tap()
        assert run(passage, [text("a"), rest]) == text("a")
        assert passage.failure is K.BROKEN_STREAM


@pytest.mark.parametrize("end", [[], [DONE]])
def test_one_cut_choice_breaks_the_answer(end: list[bytes]) -> None:
    passage = tap()
    good = chunk(delta(0, content="a"), delta(1, content="b")) + chunk(delta(0, finish="stop"))
    assert run(passage, [good, *end]) == good
    assert passage.failure is K.BROKEN_STREAM


def test_an_end_mark_without_any_finish_reason_is_an_end() -> None:
    """Some servers never give reasons; their mark is trusted as the clients trust it."""
    passage = tap()
    assert run(passage, [text("a"), DONE]) == text("a") + DONE
    assert (passage.failure, passage.ended, passage.finished) == (None, True, False)


def test_nothing_passes_after_the_end_mark() -> None:
    passage = tap()
    assert passage.feed(text("a") + STOP + DONE + text("b") + DONE) == text("a") + STOP + DONE
    assert passage.feed(DONE) + passage.feed(frame({"error": "x"})) + passage.close() == b""
    assert passage.failure is None


def test_the_first_choices_reason_is_told() -> None:
    passage = tap()
    passage.feed(chunk(delta(1, finish="length"), delta(0, finish="stop")))
    assert passage.finish == "stop"


# --- framing ---------------------------------------------------------------------------------------------------------


def test_comments_names_and_empty_events_stay_behind() -> None:
    """A blank data event or an event without JSON makes official clients raise."""
    noise = [b": ping\n\n", b"event: ping\n\n", b"data:\n\n", b"data: \n\n", b"\n\n", b"id: 1\n\n"]
    assert run(tap(), [*noise, text("a"), *noise, STOP, DONE]) == text("a") + STOP + DONE


def test_a_named_frames_data_pass_without_the_name() -> None:
    assert tap().feed(b"event: evil\nid: 1\n" + text("a")) == text("a")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_cut_gives_the_same_bytes_and_the_same_facts(end: bytes) -> None:
    frames = [ROLE, text("\u2028\u2029\x85é😀"), text('data: "x"\n\nb'), b"data:\n\n", STOP, USAGE, DONE]
    stream = b"".join(frames).replace(b"\n", end)
    expected = b"".join(one for one in frames if one not in (b"data:\n\n", USAGE)).replace(b"\n", end)
    cuts = [[stream[:place], stream[place:]] for place in range(len(stream) + 1)]
    for pieces in [*cuts, [bytes([byte]) for byte in stream]]:
        passage = tap()
        assert run(passage, pieces) == expected
        assert (passage.written, passage.usage, passage.finish) == (17, Usage(3, 2, source="vendor"), "stop")


SPELLINGS = st.sampled_from(
    ["a", "é", "😀", "\u2028", "\u2029", "\x85", "\\ud83d\\ude00", "\\ud83d", "\\ude00", "\\n", '\\"', "\\u0000", " "]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(SPELLINGS, max_size=5).map("".join), min_size=1, max_size=6), st.lists(st.integers(1, 90)))
def test_identity_is_exact_for_any_split(contents: list[str], sizes: list[int]) -> None:
    """Also for characters that were cut between frames, whose halves no strict reader takes."""
    stream = b"".join(
        b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % content.encode() for content in contents
    )
    stream += STOP + DONE
    passage, out, rest = tap(), b"", stream
    for size in sizes:
        out += passage.feed(rest[:size])
        rest = rest[size:]
    assert out + passage.feed(rest) + passage.close() == stream
    assert passage.failure is None


def test_completions_are_watched_by_their_text() -> None:
    passage = COMPLETIONS.tap(Peek("m", stream=True))
    start = frame({"choices": [{"index": 0, "text": "", "finish_reason": None}]})
    words = frame({"choices": [{"index": 0, "text": "abc", "finish_reason": None}], "usage": None})
    end = frame({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
    assert passage.feed(start) == start
    assert not passage.begun
    assert passage.feed(words) == words.replace(b',"usage":null', b"")
    assert passage.begun
    assert passage.feed(end + DONE) == end + DONE
    assert (passage.written, passage.finish, passage.ended) == (3, "length", True)


# --- whole answers ---------------------------------------------------------------------------------------------------

ANSWER = {
    "id": "c",
    "model": "m-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hé"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def test_a_whole_answer_is_judged_and_left_alone() -> None:
    body = json.dumps(ANSWER, indent=1).encode() + b"\n"
    answer = CHAT.judge(b"\n\r\n \n" + body)
    assert answer.body == body
    assert (answer.model, answer.finish, answer.written) == ("m-1", "stop", 2)
    assert answer.usage == Usage(3, 2, source="vendor")


def test_a_whole_completion_is_judged() -> None:
    body = b'{"choices":[{"text":"","finish_reason":"stop"}]}'
    assert COMPLETIONS.judge(body).body == body
    with pytest.raises(UpstreamFailure):
        COMPLETIONS.judge(json.dumps(ANSWER).encode())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", K.NOT_AN_ANSWER),
        (b"null", K.NOT_AN_ANSWER),
        (b"[]", K.NOT_AN_ANSWER),
        (b"<html>", K.NOT_AN_ANSWER),
        (json.dumps(ANSWER).encode()[:-9], K.NOT_AN_ANSWER),
        (b"{}", K.NOT_AN_ANSWER),
        (b'{"choices":[]}', K.NOT_AN_ANSWER),
        (b'{"choices":null}', K.NOT_AN_ANSWER),
        (b'{"choices":[{}]}', K.NOT_AN_ANSWER),
        (b'{"choices":[{"message":null}]}', K.NOT_AN_ANSWER),
        (b'{"choices":[{"message":{}},{"message":"x"}]}', K.NOT_AN_ANSWER),
        (b'{"error":"Unexpected endpoint or method. (POST /x)"}', K.NOT_AN_ANSWER),
        (b'{"error":{"message":"No models loaded."}}', K.MODEL_ABSENT),
        (b'{"error":{"message":"x","code":429}}', K.THROTTLE),
        (b'{"error":{"message":"x","code":"insufficient_quota"}}', K.MONEY),
        (b'{"message":"overloaded"}', K.OVERLOAD),
        (b'{"choices":[{"message":{},"finish_reason":"error"}]}', K.FAULT),
        (b"[" * 100_000, K.NOT_AN_ANSWER),
    ],
)
def test_what_is_no_whole_answer(body: bytes, kind: ErrorKind) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        CHAT.judge(body)
    assert caught.value.kind is kind


XAI = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 35,
    "completion_tokens_details": {"reasoning_tokens": 20},
}


def test_reasoning_that_only_the_total_counts_is_put_to_the_completion() -> None:
    passage = tap(include_usage=True)
    out = run(passage, [text("a"), STOP, chunk(usage=XAI), DONE])
    told = json.loads(out.split(b"\n\n")[2].removeprefix(b"data: "))
    assert told == json.loads(chunk(usage=XAI | {"completion_tokens": 25})[6:])
    assert passage.usage == Usage(10, 25, reasoning=20, source="vendor")


def test_the_same_of_a_whole_answer() -> None:
    answer = ANSWER | {"usage": XAI, "id": "keep"}
    told = CHAT.judge(json.dumps(answer).encode())
    assert json.loads(told.body) == answer | {"usage": XAI | {"completion_tokens": 25}}


def test_a_sum_that_is_right_keeps_its_bytes() -> None:
    right = chunk(usage=XAI | {"completion_tokens": 25})
    assert run(tap(include_usage=True), [text("a"), STOP, right, DONE]) == text("a") + STOP + right + DONE


ASIDE = chunk(delta(finish="stop"), created=7, x_vendor={"usage": {"prompt_tokens": 3, "completion_tokens": 2}})


@pytest.mark.parametrize("done", [DONE, b""])
def test_usage_in_an_extension_is_told_in_the_usual_place_to_who_asked(done: bytes) -> None:
    passage = tap(include_usage=True)
    out = run(passage, [text("a"), ASIDE, done])
    assert out.startswith(text("a") + ASIDE)
    assert out.endswith(DONE)
    told = json.loads(out[len(text("a") + ASIDE) : -len(DONE)].removeprefix(b"data: "))
    assert (told["id"], told["created"], told["choices"]) == ("c1", 7, [])
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (3, 2)
    assert passage.usage == Usage(3, 2, source="vendor")


def test_it_is_known_to_us_where_nobody_asked() -> None:
    passage = tap()
    assert run(passage, [text("a"), ASIDE, DONE]) == text("a") + ASIDE + DONE
    assert passage.usage == Usage(3, 2, source="vendor")


def test_the_usual_usage_is_told_once() -> None:
    stream = [text("a"), ASIDE, USAGE, DONE]
    assert run(tap(include_usage=True), stream) == b"".join(stream)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"reasoning": "hm"}, {"reasoning_content": "hm"}),
        ({"content": None, "reasoning": None}, {"content": None, "reasoning_content": None}),
        ({"reasoning": "a", "reasoning_content": "a"}, {"reasoning": "a", "reasoning_content": "a"}),
        ({"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
        ({"content": '"reasoning": "x"'}, {"content": '"reasoning": "x"'}),
        ({"content": "reasoning"}, {"content": "reasoning"}),
        ({"reasoning_details": "x"}, {"reasoning_details": "x"}),
    ],
)
def test_thinking_goes_by_one_name(sent: dict[str, Any], told: dict[str, Any]) -> None:
    passage = CHAT.tap(Peek("m", stream=True), "reasoning")
    assert run(passage, [chunk(delta(**sent)), STOP, DONE]) == chunk(delta(**told)) + STOP + DONE
    whole = json.dumps({"choices": [{"message": sent, "finish_reason": "stop"}]}).encode()
    assert json.loads(CHAT.judge(whole, "reasoning").body)["choices"][0]["message"] == told


def test_finish_reasons_without_a_word_are_counted_and_pass() -> None:
    passage, odd = tap(), chunk(delta(finish="eos"))
    assert run(passage, [text("a"), odd, DONE]) == text("a") + odd + DONE
    assert passage.unknown == {"finish reason eos": 1}
    whole = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "eos"}]}).encode()
    assert CHAT.judge(whole).unknown == {"finish reason eos": 1}


def test_an_error_keeps_what_the_client_may_read() -> None:
    passage = tap()
    passage.feed(frame({"error": {"message": "maximum context length is 5", "code": "context_length_exceeded"}}))
    assert passage.cause is not None
    assert (passage.cause.kind, passage.cause.client_message) == (K.CONTEXT, "maximum context length is 5")


def test_odd_finish_reasons_without_end_are_few_names() -> None:
    """An upstream that makes up a new one with each choice fills no memory."""
    passage = tap()
    passage.feed(b"".join(chunk(delta(number, finish=f"odd {number}")) for number in range(200)))
    assert len(passage.unknown) <= 65
    assert sum(passage.unknown.values()) == 200
