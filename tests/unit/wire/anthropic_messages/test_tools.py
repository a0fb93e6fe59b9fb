"""Tools, every form of `tool_choice`, and models that cannot be made to call."""

from __future__ import annotations

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.family import Family
from tests.unit.wire.anthropic_messages.asking import ask, assistant, result, tool, user

FREE = Family(forced_tools=False)
TWO = [tool("f"), tool("g")]
NAMED_G = {"type": "function", "function": {"name": "g"}}


def allowed(mode, *names):
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def chosen(choice, **fields):
    sent, losses = ask(tools=TWO, tool_choice=choice, **fields)
    return sent.get("tool_choice"), [one["name"] for one in sent["tools"]], losses


@pytest.mark.parametrize(
    ("choice", "sent", "names"),
    [
        (None, None, ["f", "g"]),
        ("auto", {"type": "auto"}, ["f", "g"]),
        ("none", {"type": "none"}, ["f", "g"]),
        ("required", {"type": "any"}, ["f", "g"]),
        (NAMED_G, {"type": "tool", "name": "g"}, ["f", "g"]),
        (allowed("auto", "g"), {"type": "auto"}, ["g"]),
        (allowed("required", "f"), {"type": "any"}, ["f"]),
    ],
)
def test_choices(choice, sent, names):
    assert chosen(choice) == (sent, names, [])


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, {"type": "auto"}),
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        (NAMED_G, {"type": "tool", "name": "g"}),
    ],
)
def test_one_call_at_a_time(choice, sent):
    assert chosen(choice, parallel_tool_calls=False)[0] == sent | {"disable_parallel_tool_use": True}
    assert chosen(choice, parallel_tool_calls=True)[0] == (None if choice is None else sent)


def test_where_nothing_may_be_called_nothing_is_said_of_parallel_calls():
    assert chosen("none", parallel_tool_calls=False)[0] == {"type": "none"}
    assert "tool_choice" not in ask(parallel_tool_calls=False)[0]


@pytest.mark.parametrize(
    ("choice", "names"), [("required", ["f", "g"]), (NAMED_G, ["g"]), (allowed("required", "f"), ["f"])]
)
def test_a_model_that_cannot_be_forced_is_asked(choice, names):
    sent, losses = ask(tools=TWO, tool_choice=choice, of=FREE)
    assert (sent["tool_choice"], [one["name"] for one in sent["tools"]]) == ({"type": "auto"}, names)
    assert sent["system"][-1]["text"] == "Answer with a call of one of your tools."
    assert losses == ["tool_choice: the model cannot be made to call a tool; it is asked to"]


def test_definitions():
    parameters = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    bare = {"type": "function", "function": {"name": "bare"}}
    described = tool("f", description="does", parameters=parameters, eager_input_streaming=True, odd=1)
    sent, losses = ask(tools=[described, bare])
    assert sent["tools"] == [
        {"name": "f", "description": "does", "eager_input_streaming": True, "input_schema": parameters},
        {"name": "bare", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert losses == ["tools[0].function.odd: there is no equivalent"]


def test_a_strict_tool_has_a_schema_that_the_grammar_knows():
    parameters = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    sent, losses = ask(tools=[tool("f", parameters=parameters, strict=True)])
    [made] = sent["tools"]
    assert made["strict"] is True
    assert made["input_schema"]["properties"] == {"n": {"type": "integer", "description": "minimum: 1"}}
    assert losses == ["tools[0].function.parameters: minimum is told to the model, not enforced"]


def test_calls_of_the_past_need_tools_that_may_not_be_called():
    sent, _ = ask(user("a"), assistant(None, "f", "g"), result("f"), result("g"), assistant(None, "f"), result("f"))
    assert [one["name"] for one in sent["tools"]] == ["f", "g"]
    assert sent["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"tools": TWO, "tool_choice": allowed("auto", "h")}, "tool_choice"),
    ],
)
def test_refused(fields, param):
    with pytest.raises(ProxyError) as caught:
        ask(**fields)
    assert (caught.value.kind, caught.value.param) == (ErrorKind.BAD_REQUEST, param)
