"""Thinking between tags: told apart from the answer wherever the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.events import Event, Failed, Finish, Reason, Refuse, Start, Text, Tokens, ToolOpen
from proxy.core.usage import Usage
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.thoughts import Apart, Thoughts


def told(*events: Event) -> tuple[str, str]:
    """Thinking and text of what comes out."""
    out = list(Thoughts("think").events([*events]))
    thought = "".join(event.text for event in out if isinstance(event, Reason))
    return thought, "".join(event.text for event in out if isinstance(event, Text))


CASES = [
    ("<think>hm</think>yes", "hm", "yes"),
    ("\n<think>\n hm\n</think>\n\nyes\n", "hm\n", "yes\n"),
    ("<think></think>yes", "", "yes"),
    ("<think>\n\n</think>\n\nyes", "", "yes"),
    ("<think>a < b </thin </think>c", "a < b </thin ", "c"),
    ("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d"),
    ("<think>cut off </thi", "cut off </thi", ""),
    ("<think>", "", ""),
    ("no <think>tag</think>", "", "no <think>tag</think>"),
    ("<thinking>hm</thinking>", "", "<thinking>hm</thinking>"),
    ("<thi", "", "<thi"),
    (" \n", "", " \n"),
    ("", "", ""),
    ("hm</think>yes", "", "hm</think>yes"),
    (" " * 256 + "<think>hm</think>", "hm", ""),
    (" " * 257 + "<think>hm</think>", "", " " * 257 + "<think>hm</think>"),
]


@pytest.mark.parametrize(("text", "thought", "answer"), CASES)
def test_whole(text: str, thought: str, answer: str) -> None:
    assert told(Text(text), Finish("stop")) == (thought, answer)


@pytest.mark.parametrize(("text", "thought", "answer"), CASES)
def test_cut_at_every_place_and_into_letters(text: str, thought: str, answer: str) -> None:
    cuts = [(text[:at], text[at:]) for at in range(len(text) + 1)]
    for pieces in (*cuts, tuple(text)):
        assert told(*map(Text, pieces), Finish("stop")) == (thought, answer), pieces


@given(st.text(alphabet="<think>/ \nab", max_size=60), st.data())
def test_any_cut_tells_the_same(text: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 9))
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert told(*map(Text, pieces), Finish("stop")) == told(Text(text), Finish("stop"))


def test_nothing_is_held_back_but_what_may_become_a_tag() -> None:
    thoughts = Thoughts("think")
    steps = [("<thi", []), ("nk>", []), ("a<", [Reason("a")]), ("b", [Reason("<b")]), ("</think>c", [Text("c")])]
    for piece, out in steps:
        assert list(thoughts.events([Text(piece)])) == out
    assert list(Thoughts("think").events([Text("He")])) == [Text("He")]


def test_blanks_without_end_are_not_held_back() -> None:
    assert list(Thoughts("think").events([Text(" " * 200), Text(" " * 200)])) == [Text(" " * 400)]


@pytest.mark.parametrize("end", [Finish("tool_calls"), ToolOpen(0, "id", "f"), Refuse("no")])
def test_what_was_held_back_comes_before_what_ends_it(end: Event) -> None:
    assert list(Thoughts("think").events([Text("<thi"), end])) == [Text("<thi"), end]
    assert list(Thoughts("think").events([Text("<think>a</"), end])) == [Reason("a"), Reason("</"), end]


def test_each_choice_has_its_own() -> None:
    pieces = [Text("<think>a"), Text("b", 1), Text("</think>c"), Finish("stop", 1), Finish("stop")]
    parts = [Reason("a"), Text("b", 1), Text("c"), Finish("stop", 1), Finish("stop")]
    assert list(Thoughts("think").events(pieces)) == parts


def test_everything_else_passes() -> None:
    others = [Start("x", "m"), Reason("a"), Finish("stop"), Tokens(Usage(1, 1))]
    assert list(Thoughts("think").events(others)) == others


def test_as_a_decoder() -> None:
    decoder = Apart(CHAT.decoder(), "think")
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"<think>a</think>b"}}]}\n\n'
    assert [event for event in decoder.feed(chunk) if not isinstance(event, Start)] == [Reason("a"), Text("b")]
    assert not decoder.ended
    assert not any(isinstance(event, Failed) for event in decoder.feed(b"data: [DONE]\n\n"))
    assert decoder.ended
    assert decoder.close() == []
