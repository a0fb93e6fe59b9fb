"""Say which tools may be called to an upstream that does not know every form of `tool_choice`, or every kind of tool.

What a form means is told by the tools that are offered: of those that may not be called the model need not know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from proxy.wire.gates import REFUSED
from proxy.wire.peek import refuse

_ALLOWED: Final = "allowed"
_OBJECTS: Final[Mapping[str, str]] = {"function": "named", "custom": "named", "allowed_tools": _ALLOWED}
_NOT_HELD: Final = "the upstream cannot be made to call a tool, so it is offered only what may be called"
_NO_TOOLS: Final[Mapping[str, None]] = {"tools": None, "tool_choice": None, "parallel_tool_calls": None}

Fields = Mapping[str, Any]


def narrow(choice: Any, tools: Any, known: Collection[str]) -> tuple[Fields, str | None]:
    """The fields to write instead (None: to leave out) for an upstream that obeys the `known` forms only; what is lost.

    Raises ProxyError BAD_REQUEST if the choice leaves no tool. What is no choice at all is left to the upstream.
    """
    form = _form(choice)
    if form is None or form in known:
        return {}, None
    if form == "none":
        return _NO_TOOLS, None
    if form in ("auto", "required"):
        return {"tool_choice": None}, REFUSED if form == "required" else None
    names, must_call = _names(choice, form)
    offered = [tool for tool in tools if _name(tool) in names] if isinstance(tools, list) else []
    if not offered:
        refuse("`tool_choice` allows none of `tools`. Name tools of this request.", "tool_choice")
    if not must_call:
        return {"tools": offered, "tool_choice": None}, None
    if "required" in known:
        return {"tools": offered, "tool_choice": "required"}, None
    return {"tools": offered, "tool_choice": None}, _NOT_HELD


def refuse_custom(tools: Any) -> None:
    """Raise BAD_REQUEST for a tool that is no function."""
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and tool.get("type") == "custom":
            refuse(f"`tools[{number}]` is a custom tool; this upstream knows functions only.", f"tools[{number}].type")


def _form(choice: Any) -> str | None:
    if isinstance(choice, str):
        return choice if choice in ("auto", "none", "required") else None
    return _OBJECTS.get(str(choice.get("type"))) if isinstance(choice, dict) else None


def _names(choice: Fields, form: str) -> tuple[Collection[str], bool]:
    """The tools that may be called, and whether one must be."""
    if form != _ALLOWED:
        return {_name(choice)}, True
    allowed = choice.get("allowed_tools")
    inner: Fields = allowed if isinstance(allowed, dict) else {}
    tools = inner.get("tools")
    return set(map(_name, tools if isinstance(tools, list) else ())), inner.get("mode") == "required"


def _name(tool: Any) -> str:
    """Of a tool, or of a reference to one: `{"type": "function", "function": {"name": …}}`."""
    inner = tool.get(str(tool.get("type"))) if isinstance(tool, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else ""
