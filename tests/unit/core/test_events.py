"""A list of events and the answer that it describes."""

from __future__ import annotations

import typing

import pytest

from proxy.core import events
from proxy.core.errors import ErrorKind
from proxy.core.events import (
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
    is_semantic,
    tally,
)
from proxy.core.usage import Usage


def test_a_whole_answer():
    folded = fold(
        [
            Start("id", "m", 5, {"system_fingerprint": "fp"}),
            Reason("I "), Reason("think"), Text("Hel"), Text("lo"), Refuse("no"),
            Extra("annotations", [1]), Finish("stop", logprobs={"content": []}),
            Tokens(Usage(1, 1)), Tokens(Usage(1, 2)),
        ]
    )  # fmt: skip
    assert (folded.id, folded.model, folded.created, folded.extra) == ("id", "m", 5, {"system_fingerprint": "fp"})
    choice = folded.choice(0)
    assert (choice.text, choice.reasoning, choice.refusal, choice.finish) == ("Hello", "I think", "no", "stop")
    assert (choice.extra, choice.logprobs) == ({"annotations": [1]}, {"content": []})
    assert folded.usage == Usage(1, 2), "where it is repeated, the last one holds"
    assert folded.failed is None


def test_tool_calls_grow_each_by_its_own_pieces():
    folded = fold(
        [
            ToolOpen(0, "a", "look_up"), ToolOpen(1, "b", "add", signature="sig"), ToolArgs(1, "{"), ToolArgs(0, "[1"),
            ToolArgs(1, "}"), ToolArgs(0, "]"), Finish("tool_calls"),
        ]
    )  # fmt: skip
    tools = folded.choice(0).tools
    assert [(tool.id, tool.name, tool.arguments, tool.signature) for tool in tools.values()] == [
        ("a", "look_up", "[1]", None), ("b", "add", "{}", "sig"),
    ]  # fmt: skip


def test_choices_do_not_mix():
    folded = fold([Text("a", 0), Text("b", 1), Text("c", 0), Finish("length", 1)])
    assert (folded.choice(0).text, folded.choice(1).text) == ("ac", "b")
    assert (folded.choice(0).finish, folded.choice(1).finish) == (None, "length")


def test_a_failure_is_kept_with_what_came_before():
    folded = fold([Text("half"), Failed(ErrorKind.OVERLOAD, "busy")])
    assert folded.choice(0).text == "half"
    assert folded.failed == Failed(ErrorKind.OVERLOAD, "busy")


def test_every_kind_of_event_can_be_folded():
    assert set(events._FOLDS) == set(typing.get_args(Event))


@pytest.mark.parametrize(
    ("event", "commits"),
    [
        (Start("id", "m"), False), (Text(""), False), (Text(" "), True), (Reason(""), False), (Reason("x"), True),
        (Refuse(""), False), (Refuse("x"), True), (ToolOpen(0, "a", "b"), True), (ToolArgs(0, ""), True),
        (Finish("stop"), True), (Tokens(Usage()), False), (Extra("a", 1), False), (Failed(ErrorKind.FAULT), False),
    ],
)  # fmt: skip
def test_what_commits_the_proxy_to_an_upstream(event, commits):
    assert is_semantic(event) is commits


def test_unknown_things_are_counted_under_names_of_a_bounded_number_and_length() -> None:
    counts: dict[str, int] = {}
    for number in range(200):
        tally(counts, f"event {number}" + "x" * 1000)
    tally(counts, "a\nb", 3)
    assert len(counts) <= 65
    assert counts["others"] == 200 - 64 + 3
    assert all(len(name) <= 64 and name.isprintable() for name in counts)
    known: dict[str, int] = {}
    tally(known, "a\nb", 3)
    tally(known, "a\nb")
    assert known == {"a?b": 4}


def test_what_is_unknown_is_no_part_of_an_answer() -> None:
    assert fold([Unknown("event x")]) == fold([])
