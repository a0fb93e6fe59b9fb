"""Forms of `tool_choice`, for upstreams that know only some of them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import ProxyError
from proxy.wire.choices import narrow
from proxy.wire.gates import REFUSED

A, B = ({"type": "function", "function": {"name": name, "parameters": {}}} for name in "ab")
SQL = {"type": "custom", "custom": {"name": "sql"}}
TOOLS = [A, B, SQL]
NAMED = {"type": "function", "function": {"name": "b"}}
WORDS = {"auto", "none", "required"}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


@pytest.mark.parametrize(
    ("choice", "known", "fields"),
    [
        ("auto", WORDS, {}),
        ("none", WORDS, {}),
        ("required", WORDS, {}),
        (NAMED, WORDS, {"tools": [B], "tool_choice": "required"}),
        ({"type": "custom", "custom": {"name": "sql"}}, WORDS, {"tools": [SQL], "tool_choice": "required"}),
        (allowed("required", "b", "a"), WORDS, {"tools": [A, B], "tool_choice": "required"}),
        (allowed("auto", "a"), WORDS, {"tools": [A], "tool_choice": None}),
        (NAMED, {"named"}, {}),
        (allowed("auto", "a"), {"allowed"}, {}),
        ("none", {"auto"}, {"tools": None, "tool_choice": None, "parallel_tool_calls": None}),
        ("auto", set(), {"tool_choice": None}),
        (allowed("auto", "a"), {"auto"}, {"tools": [A], "tool_choice": None}),
    ],
)
def test_what_can_be_said_otherwise_loses_nothing(choice: Any, known: set[str], fields: dict[str, Any]) -> None:
    assert narrow(choice, TOOLS, known) == (fields, None)


@pytest.mark.parametrize(
    ("choice", "fields"),
    [
        ("required", {"tool_choice": None}),
        (NAMED, {"tools": [B], "tool_choice": None}),
        (allowed("required", "a"), {"tools": [A], "tool_choice": None}),
    ],
)
def test_a_call_that_cannot_be_demanded_is_a_loss(choice: Any, fields: dict[str, Any]) -> None:
    told, why = narrow(choice, TOOLS, {"auto"})
    assert told == fields
    assert why is not None
    assert (why == REFUSED) == (choice == "required")


@pytest.mark.parametrize("tools", [None, [], [A], "tools", [None, 1, {"type": []}]])
def test_a_choice_of_no_tool_is_the_caller_s_mistake(tools: Any) -> None:
    with pytest.raises(ProxyError, match="allows none") as refused:
        narrow(NAMED, tools, WORDS)
    assert refused.value.param == "tool_choice"


@pytest.mark.parametrize("choice", [None, 1, "any", {}, {"type": "any"}, {"type": ["function"]}, []])
def test_what_is_no_choice_is_left_to_the_upstream(choice: Any) -> None:
    assert narrow(choice, TOOLS, set()) == ({}, None)
