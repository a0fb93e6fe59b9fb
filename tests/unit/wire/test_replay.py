"""An answer told again: nothing leaves before it has repeated what the client has, and nothing once it departs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.chat import Chat
from proxy.core.errors import ErrorKind
from proxy.core.events import (
    Checkpoint,
    Event,
    Extra,
    Failed,
    Finish,
    Reason,
    Refuse,
    Start,
    Text,
    Tokens,
    ToolArgs,
    ToolOpen,
    Unknown,
    fold,
)
from proxy.core.request import Peek
from proxy.core.usage import Usage
from proxy.wire.dialects import openai_chat, openai_completions
from proxy.wire.replay import LIMIT, Echo, Heard, Overlapping, Resumed, Verified

CHAT = openai_chat.DIALECT
DONE = b"data: [DONE]\n\n"
ASKED = Chat("m", (), stream=True)
TEXTS = st.text(st.sampled_from("ab €😀"), max_size=12)


class Told:
    """A decoder of which each byte fed gives one event, in their order, and the end of the bytes all that are left."""

    def __init__(self, *events: Event) -> None:
        self._events = list(events)
        self.ended = False

    def feed(self, data: bytes) -> list[Event]:
        return [self._events.pop(0) for _ in data[: len(self._events)]]

    def close(self) -> list[Event]:
        rest, self._events = self._events, []
        return rest


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """`text` in any pieces, empty ones among them."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def replays(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """What the client has, and an answer, in its pieces, that often begins with that."""
    expected = draw(TEXTS)
    answer = draw(st.one_of(TEXTS.map(lambda rest: expected + rest), TEXTS))
    return expected, answer, pieces(draw, answer)


def expected_of(replay: tuple[str, str, list[str]]) -> tuple[str, bool]:
    """What may leave in all, and whether it is a departure that ends it."""
    expected, answer, _ = replay
    return (answer[len(expected) :], False) if answer.startswith(expected) else ("", not expected.startswith(answer))


@given(replays())
def test_an_echo_gives_out_what_comes_after_the_beginning_or_nothing(replay: tuple[str, str, list[str]]) -> None:
    expected, _, told = replay
    echo = Echo(expected)
    assert ("".join(map(echo.feed, told)), echo.has_departed) == expected_of(replay)
    assert echo.feed("") == ""


@given(replays())
def test_client_and_answer_together_are_one_answer_or_a_failure(replay: tuple[str, str, list[str]]) -> None:
    """The law of all this: whatever the cut and the pieces, the client has the whole answer or a beginning of the
    first one."""
    expected, answer, told = replay
    verified = Verified(Told(Start("i", "m"), *map(Text, told), Finish("stop"), Tokens(Usage())), expected)
    events = [event for _ in range(len(told) + 3) for event in verified.feed(b"x")] + verified.close()
    new = "".join(event.text for event in events if isinstance(event, Text))
    failures = [event for event in events if isinstance(event, Failed)]
    if answer.startswith(expected):
        assert (expected + new, failures) == (answer, [])
        assert Finish("stop") in events
    else:
        assert (new, [failure.kind for failure in failures]) == ("", [ErrorKind.DEPARTED])
        assert Finish("stop") not in events
    assert verified.held <= len(expected)


@pytest.mark.parametrize(
    "event",
    [Reason("hm"), Refuse("no"), ToolOpen(0, "c", "f"), Extra("annotations", [1]), Finish("stop"), Text("a", 1)],
    ids=lambda event: type(event).__name__,
)
def test_before_it_has_caught_up_everything_but_the_same_text_is_a_departure(event: Event) -> None:
    verified = Verified(Told(Text("a"), event, Text("b"), Finish("stop")), "ab")
    [failed] = [event for _ in range(4) for event in verified.feed(b"x")]
    assert isinstance(failed, Failed)
    assert failed.kind is ErrorKind.DEPARTED


def test_once_it_has_caught_up_everything_passes() -> None:
    rest: list[Event] = [
        Unknown("x"),
        Reason("hm"),
        ToolOpen(0, "c", "f"),
        ToolArgs(0, "{}"),
        Finish("tool_calls"),
        Tokens(Usage()),
    ]
    verified = Verified(Told(Text("ab"), *rest), "ab")
    assert [event for _ in range(8) for event in verified.feed(b"x")] == rest
    assert verified.close() == []


def test_a_second_choice_is_a_departure_at_any_time() -> None:
    verified = Verified(Told(Text("ab"), Text("c", 1)), "ab")
    [failed] = verified.feed(b"xx")
    assert isinstance(failed, Failed)


def test_it_has_begun_before_it_has_caught_up() -> None:
    """The timer for the first word must not run while a long text is repeated."""
    verified = Verified(Told(Start("i", "m"), Text(""), Text("a")), "ab")
    assert not (verified.feed(b"xx"), verified.begun)[1]
    assert (verified.feed(b"x"), verified.begun, verified.held) == ([], True, 1)


@pytest.mark.parametrize("told", [(), (Text("a"),), (Text("ab"),), (Text("abc"),)])
def test_an_answer_that_ends_early_is_a_broken_one(told: tuple[Event, ...]) -> None:
    verified = Verified(Told(*told), "ab")
    *_, failed = verified.close()
    assert isinstance(failed, Failed)
    assert failed.kind is ErrorKind.BROKEN_STREAM


@pytest.mark.parametrize(
    ("blanks", "told", "new"),
    [
        ("\n", ("\n", "\nb"), "\nb"),
        ("\n", ("b",), "b"),
        (" \n", (" ", "b"), "b"),
        (" \n", (" ", "\n", " b"), " b"),
        ("", (" b",), " b"),
        ("  ", (" ", ""), ""),
    ],
)
def test_blanks_that_the_client_has_are_not_told_twice(blanks: str, told: tuple[str, ...], new: str) -> None:
    overlapping = Overlapping(Told(*map(Text, told), Finish("stop")), blanks)
    events = [event for _ in range(len(told) + 1) for event in overlapping.feed(b"x")]
    assert "".join(event.text for event in events if isinstance(event, Text)) == new
    assert events[-1] == Finish("stop")
    assert not any(isinstance(event, Text) and not event.text for event in events)


def chunk(**delta: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c1", "created": 7, "model": "a", "choices": [choice]}).encode() + b"\n\n"


def heard(*sent: bytes) -> Heard:
    told = Heard(CHAT.decoder())
    for data in sent:
        told.feed(data)
    return told


def test_what_a_client_has_is_read_along() -> None:
    told = heard(b": keep-alive\n\n", chunk(role="assistant", content=""), chunk(content="He") + chunk(content="llo"))
    assert (told.text, told.obstacle, told.is_torn) == ("Hello", None, False)
    assert told.start == Start("c1", "a", 7)
    assert told.text == "Hello"


CALL = [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]
OBSTACLES = {
    "a tool call": chunk(tool_calls=CALL),
    "reasoning": chunk(reasoning_content="hm"),
    "a refusal": chunk(refusal="no"),
    "annotations": chunk(annotations=[{"type": "url_citation"}]),
    "a second choice": b'data: {"choices":[{"index":1,"delta":{"content":"b"}}]}\n\n',
    "a finish": b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    "more than is remembered": chunk(content="x" * LIMIT),
}


@pytest.mark.parametrize("sent", OBSTACLES.values(), ids=OBSTACLES)
def test_nobody_goes_on_with_more_than_one_text(sent: bytes) -> None:
    told = heard(chunk(content="a"))
    assert told.feed(chunk(content="b"))
    assert not told.feed(sent), "told once, so that the request can be let go"
    assert told.feed(sent)
    assert told.obstacle
    assert told.text == "", "nothing is kept for nobody"


def test_half_a_character_can_not_be_gone_on_with() -> None:
    half, rest = chunk(content="a\ud83d"), chunk(content="\ude00")
    assert heard(half).is_torn
    assert (heard(half, rest).is_torn, heard(half, rest).text) == (False, "a😀")


def resumed(*events: Event, text: str, asked: Chat = ASKED, spent: Usage | None = None) -> bytes:
    start = Start("c1", "a", 7, {"x_failsoft": {"resumed": True}})
    passage = Resumed(Verified(Told(*events), text), CHAT.resumed(asked, 9, start), {"how": "replay"}, spent)
    return b"".join(passage.feed(b"x") for _ in events) + passage.close()


def chunks_of(out: bytes) -> list[dict[str, object]]:
    frames = [frame.removeprefix(b"data: ") for frame in out.split(b"\n\n") if frame.startswith(b"data: {")]
    return [json.loads(frame) for frame in frames]


def test_the_rest_of_a_stream_is_of_one_piece_with_its_beginning() -> None:
    events = (Start("other", "b"), Text("Hel"), Text("lo!"), Finish("stop"), Tokens(Usage(3, 2)))
    out = resumed(*events, text="Hello")
    assert out.startswith(b': x-failsoft-resumed: {"how":"replay"}\n\ndata: ')
    assert out.endswith(b"data: [DONE]\n\n")
    told = chunks_of(out)
    assert [(one["id"], one["model"], one["created"]) for one in told] == [("c1", "a", 7)] * 2
    assert all(one["x_failsoft"] == {"resumed": True} for one in told)
    assert b"role" not in out
    assert b"usage" not in out


def test_the_usage_that_was_asked_for_is_that_of_all_requests() -> None:
    asked = Chat("m", (), stream=True, include_usage=True)
    events = (Text("ab"), Finish("stop"), Tokens(Usage(3, 2, source="vendor")))
    last = chunks_of(resumed(*events, text="a", asked=asked, spent=Usage(10, 1, source="counted")))[-1]
    assert last["usage"]["prompt_tokens"] == 13  # type: ignore[index]
    assert last["usage"]["completion_tokens"] == 3  # type: ignore[index]
    assert last["x_failsoft"]


def test_an_answer_that_departs_says_nothing_at_all() -> None:
    assert resumed(Start("o", "b"), Text("Hey"), Finish("stop"), text="Hello") == b""


def test_what_was_held_back_was_written_all_the_same() -> None:
    encoder = CHAT.resumed(ASKED, 9, Start("c1", "a"))
    passage = Resumed(Verified(Told(Text("Hello")), "Hel"), encoder, {}, None)
    passage.feed(b"x")
    assert (passage.written, passage.begun) == (5, True)


def test_legacy_completions_go_on_too() -> None:
    completions = openai_completions.DIALECT
    told = Heard(completions.decoder())
    told.feed(b'data: {"id":"t1","object":"text_completion","model":"a","choices":[{"index":0,"text":"He"}]}\n\n')
    assert (told.text, told.obstacle, told.start.id) == ("He", None, "t1")
    encoder = completions.resumed(ASKED, 9, told.start)
    passage = Resumed(Verified(Told(Text("Hello"), Finish("stop")), "He"), encoder, {}, None)
    told_then = chunks_of(passage.feed(b"xx") + passage.close())
    assert [(one["id"], one["choices"][0]["text"]) for one in told_then] == [("t1", "llo"), ("t1", "")]  # type: ignore[index]


def test_a_checkpoint_counts_from_the_beginning_of_the_whole_answer() -> None:
    """Also what was held back is told, and what was told before by somebody else."""
    events = (Text("ab"), Checkpoint("x"), Text("c"), Text("de"), Checkpoint("y"), Text("f"))
    passage = Resumed(Verified(Told(*events), "abcd"), CHAT.resumed(ASKED, 9, Start("c1", "a")), {}, None, begins=10)
    passage.feed(b"xx")
    assert passage.checkpoint == Checkpoint("x", 12)
    passage.feed(b"xxxx")
    assert passage.checkpoint == Checkpoint("y", 15)
    assert passage.written == 6


def stream(told: list[str], identity: str = "c1") -> bytes:
    """A whole stream of chat completions that says `told`."""
    head = {"id": identity, "created": 7, "model": "a"}
    deltas = [{"role": "assistant", "content": ""}, *({"content": text} for text in told)]
    choices: list[dict[str, object]] = [{"index": 0, "delta": one, "finish_reason": None} for one in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    return b"".join(b"data: " + json.dumps(head | {"choices": [one]}).encode() + b"\n\n" for one in choices) + DONE


def at(places: list[int], data: bytes) -> list[bytes]:
    """`data`, cut at places that are taken round its length."""
    cuts = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(st.data(), TEXTS.filter(len), TEXTS, st.integers(1, 10_000), st.lists(st.integers(0, 10_000), max_size=5))
def test_whatever_the_bytes_and_the_cut_the_client_reads_one_answer(
    data: st.DataObject, answer: str, other: str, cut: int, places: list[int]
) -> None:
    """From the first upstream's bytes, cut off anywhere, through the second one's, in any pieces, to the client's."""
    told = data.draw(st.sampled_from([answer, answer, other]))
    first = stream(list(answer))
    tap = CHAT.tap(Peek("a", stream=True))
    begun = tap.feed(first[: cut % (len(first) - len(DONE))])
    have = heard(begun)
    if have.obstacle is not None:
        return  # it was finished but for the end mark
    source = Verified(CHAT.decoder(), have.text)
    passage = Resumed(source, CHAT.resumed(ASKED, 9, have.start), {"how": "replay"}, None)
    rest = b"".join(passage.feed(piece) for piece in at(places, stream(list(told), "c2")))
    reader = CHAT.decoder()
    read = fold(reader.feed(begun + rest))
    text = read.choice(0).text
    if told.startswith(have.text):
        assert (text, read.choice(0).finish, reader.ended, passage.failure) == (told, "stop", True, None)
        assert b'"c2"' not in rest
    else:
        assert (text, rest, passage.failure) == (have.text, b"", ErrorKind.DEPARTED)
        assert answer.startswith(text)
