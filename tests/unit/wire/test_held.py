"""An answer held to a form: what goes on at once, what waits, and what is no answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind
from proxy.core.events import (
    Event,
    Extra,
    Failed,
    Finish,
    FinishReason,
    Reason,
    Refuse,
    Start,
    Text,
    Tokens,
    ToolArgs,
    ToolOpen,
    fold,
)
from proxy.core.usage import Usage
from proxy.wire import held
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.held import Held, Hold, Unfenced, read_strictly
from proxy.wire.structured import Form

OBJECT = Form("{", lambda _value: "")
LIST_OR_OBJECT = Form("{[", lambda _value: "")
NEEDS_A = Form("{", lambda value: "" if "a" in value else "$: required")
UNFIT = ErrorKind.UNFIT


def through(pieces: Iterable[str], form: Form = OBJECT, reason: FinishReason = "stop") -> list[Event]:
    return list(Hold(form).events([*map(Text, pieces), Finish(reason)]))


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"a":1}', '{"a":1}'),
        (' \n{"a":\n 1}\n', '{"a":\n 1}\n'),
        ('```json\n{"a":1}\n```', '{"a":1}\n'),
        ('```\n{"a":1}\n```\n', '{"a":1}\n'),
        ('```JSON {"a":1}```', '{"a":1}'),
        ('\n```json\r\n{"a":1}\r\n``` \n\n ', '{"a":1}\r\n'),
        ('```json\n{"a":1}\n', '{"a":1}\n'),  # a stop sequence may have eaten the closing fence
        ('```json\n{"a":"```"}\n```', '{"a":"```"}\n'),
        ('{"a":"```js\\nx\\n```"}', '{"a":"```js\\nx\\n```"}'),
        ('{"a":"\\ud83d\\ude00 \\ud83d"}', '{"a":"\\ud83d\\ude00 \\ud83d"}'),
        ("{}", "{}"),
    ],
)
def test_good_answers_at_every_cut(said: str, told: str) -> None:
    for cut in range(len(said) + 1):
        events = through([said[:cut], said[cut:]])
        assert (text_of(events), events[-1]) == (told, Finish("stop"))
    assert text_of(through(said)) == told


@pytest.mark.parametrize(
    "said",
    [
        "",
        "   ",
        "``",
        "```json",
        "Sure!",
        'Here it is: {"a":1}',
        'Here it is:\n```json\n{"a":1}\n```',  # words can take back what the object says
        '{"a":1} I made that up.',
        '```json\n{"a":1}\n``` I made that up.',
        '```json\n{"a":1}\n``',
        '````json\n{"a":1}\n````',
        '{"a":1}```',
        '{"a":1}{"a":2}',
        '{"a":NaN}',
        '{"a":1',
        "{'a': 1}",
        "[1]",
        '"a"',
        '{"a":' * 100_000,
    ],
)
def test_what_is_no_object_is_unfit(said: str) -> None:
    for pieces in ([said], [said[:1], said[1:]], said[:64] if len(said) > 64 else said):
        events = through(pieces)
        assert isinstance(events[-1], Failed)
        assert events[-1].kind is UNFIT


@given(st.data())
def test_what_is_told_does_not_depend_on_the_pieces(data: st.DataObject) -> None:
    """Any text, cut anywhere: the same verdict, and of a good answer the same text."""
    inside = data.draw(st.text('`\n \\"{}a[]', max_size=12))
    value = json.dumps({"a": inside})
    said = data.draw(
        st.sampled_from([value, f"```json\n{value}\n```", f"```\n{value}```\n", f"{value}`", f"``\n{value}", inside])
    )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(said)))))
    pieces = [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    whole, cut = through([said], LIST_OR_OBJECT), through(pieces, LIST_OR_OBJECT)
    assert cut[-1] == whole[-1]
    if isinstance(whole[-1], Finish):
        assert text_of(cut) == text_of(whole)
        assert read_strictly(text_of(whole)) == read_strictly(said.strip().removeprefix("```json").strip("`\n"))


@given(st.lists(st.text("`\n {a", max_size=3), max_size=12))
def test_what_is_cut_short_loses_nothing_but_an_opened_fence(pieces: list[str]) -> None:
    said, told = "".join(pieces), text_of(through(pieces, reason="length"))
    assert said.endswith(told)
    assert set(said[: len(said) - len(told)]) <= set("`\n a")


def test_an_object_goes_on_as_it_comes() -> None:
    unfenced = Unfenced("{")
    assert [unfenced.feed(piece) for piece in ('{"a', '":', ' "b"', "}")] == ['{"a', '":', ' "b"', "}"]
    unfenced = Unfenced("{")
    pieces = ["```", "json\n", '{"a', '":"``', '` x"}', "\n`", "``", " ", "\n"]
    assert [unfenced.feed(piece) for piece in pieces] == ["", "", '{"a', '":"', '``` x"}', "\n", "", "", ""]
    assert unfenced.close() == ""


def test_blanks_without_end_are_not_joined_again_and_again() -> None:
    """After a closing fence they are only kept: each of them costs the same."""
    unfenced = Unfenced("{")
    unfenced.feed("```\n{}\n```")
    assert {unfenced.feed("\n") for _ in range(1000)} == {""}
    assert unfenced._held == ["```", *["\n"] * 1000]
    assert unfenced.close() == ""


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls"])
def test_what_ends_otherwise_is_told_as_it_came(reason: FinishReason) -> None:
    assert through(["I will", " not."], reason=reason) == [Text("I will not."), Finish(reason)]
    assert through(['{"a":'], reason=reason) == [Text('{"a":'), Finish(reason)]
    assert text_of(through(['```json\n{"a":"x```'], reason=reason)) == '{"a":"x```'


def test_a_call_or_a_refusal_frees_what_was_held_back() -> None:
    call = [ToolOpen(0, "c", "f"), ToolArgs(0, "{}")]
    events = list(Hold(OBJECT).events([Text("Let me"), Text(" see."), *call, Text(" Done"), Finish("stop")]))
    assert events == [Text("Let me see."), *call, Text(" Done"), Finish("stop")]
    assert list(Hold(OBJECT).events([Refuse("No."), Finish("stop")])) == [Refuse("No."), Finish("stop")]


def test_all_other_events_pass() -> None:
    others = [Start("i", "m"), Reason("hm"), Extra("annotations", [1])]
    events = [*others, Text("{}"), Finish("stop"), Tokens(Usage(1, 2))]
    assert list(Hold(OBJECT).events(events)) == events


def test_each_choice_is_held_on_its_own() -> None:
    said = [Text("{", 0), Text("so", 1), Text("}", 0), Finish("stop", 0), Finish("length", 1)]
    assert fold(Hold(OBJECT).events(said)).choice(1).text == "so"
    events = list(Hold(OBJECT).events([*said[:-1], Finish("stop", 1), Tokens(Usage())]))
    assert events[-1] == Failed(UNFIT, "no JSON object")
    assert Finish("stop", 0) in events


def test_the_schema_has_the_last_word() -> None:
    assert through(['{"a":1}'], NEEDS_A)[-1] == Finish("stop")
    assert through(['{"b":1}'], NEEDS_A) == [Text('{"b":1}'), Failed(UNFIT, "$: required")]
    assert through(["[1]"], LIST_OR_OBJECT)[-1] == Finish("stop")


def test_an_answer_too_long_to_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "LONGEST", 10)
    events = through(['{"a":"', "12345", "67890", '"}'])
    assert events == [Text('{"a":"'), Failed(UNFIT, "an answer of more than 10 characters")]


def chunk(content: str | None = None, finish: str | None = None) -> bytes:
    delta = {"content": content} if content else {}
    told = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(told)}\n\n".encode()


def test_a_decoder_that_is_held_ends_with_its_own() -> None:
    data = chunk("```json\n{") + chunk("}\n```") + chunk(finish="stop") + b"data: [DONE]\n\n"
    for cut in range(len(data)):
        decoder = Held(CHAT.decoder(), OBJECT)
        events = decoder.feed(data[:cut]) + decoder.feed(data[cut:])
        assert (fold(events).choice(0).text, fold(events).choice(0).finish, decoder.ended) == ("{}\n", "stop", True)
        assert decoder.close() == []


@pytest.mark.parametrize(
    ("text", "value"), [('{"a":123456789012345678901234567890}', {"a": 123456789012345678901234567890}), (" [] ", [])]
)
def test_json_by_the_standard(text: str, value: object) -> None:
    assert read_strictly(text) == value


@pytest.mark.parametrize("text", ["", "NaN", "[Infinity]", "{} {}", "{,}", "nul"])
def test_no_json_by_the_standard(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 — whatever it says
        read_strictly(text)
