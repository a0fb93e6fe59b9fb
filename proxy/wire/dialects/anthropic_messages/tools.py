"""Tool definitions and `tool_choice`, in the vendor's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.chat import Chat, Losses, Tool
from proxy.core.family import Family
from proxy.wire.dialects.anthropic_messages.schema import restrict
from proxy.wire.peek import refuse

_MODES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_CARRIED: Final = ("cache_control", "eager_input_streaming", "input_examples", "defer_loading")
"""The vendor's own fields of a tool; they may stand beside its name."""

_NOTHING: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The request's `tools` and `tool_choice`; `hint` is a sentence for the system prompt."""

    tools: Sequence[dict[str, Any]] = ()
    choice: dict[str, Any] | None = None
    hint: str | None = None

    @property
    def forces(self) -> bool:
        return self.choice is not None and self.choice["type"] in ("any", "tool")


def toolbox(chat: Chat, family: Family, losses: Losses) -> Toolbox:
    """The tools that the model may call and how; raises BAD_REQUEST for tools that it cannot know."""
    if not chat.tools:
        return _remembered(chat)
    offered, choice, hint = list(enumerate(chat.tools)), _choice(chat), None
    wish = chat.tool_choice
    forces = wish is not None and wish.mode in ("required", "named")
    if forces and not family.forced_tools:
        losses.drop("tool_choice", "the model cannot be made to call a tool; it is asked to")
        choice, hint = {"type": "auto"}, "Answer with a call of one of your tools."
    if wish is not None and wish.names and (wish.mode != "named" or hint):
        offered = [(number, tool) for number, tool in offered if tool.name in wish.names]
        if not offered:
            refuse("`tool_choice` allows none of `tools`. Name tools of this request.", "tool_choice")
    if chat.parallel_tool_calls is False and (choice is None or choice["type"] != "none"):
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return Toolbox([_tool(tool, f"tools[{number}]", losses) for number, tool in offered], choice, hint)


def _remembered(chat: Chat) -> Toolbox:
    """A conversation with calls needs tools, even where none may be called any more: those that were called."""
    names = dict.fromkeys(call.name for message in chat.messages for call in message.tool_calls)
    if not names:
        return Toolbox()
    return Toolbox([{"name": name, "input_schema": dict(_NOTHING)} for name in names], {"type": "none"})


def _choice(chat: Chat) -> dict[str, Any] | None:
    wish = chat.tool_choice
    if wish is None:
        return None
    named = {"name": wish.names[0]} if wish.mode == "named" else {}
    return {"type": _MODES[wish.mode], **named}


def _tool(tool: Tool, path: str, losses: Losses) -> dict[str, Any]:
    if tool.kind != "function":
        refuse(f"`{path}` is a custom tool; this model knows functions only.", f"{path}.type")
    schema: dict[str, Any] = {"type": "object", **(tool.parameters or _NOTHING)}
    written: dict[str, Any] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if tool.strict:
        schema, told = restrict(schema)
        written["strict"] = True
        for keyword in told:
            losses.drop(f"{path}.function.parameters", f"{keyword} is told to the model, not enforced")
    for name, value in tool.extra.items():
        if name in _CARRIED:
            written[name] = value
        else:
            losses.drop(f"{path}.function.{name}", "there is no equivalent")
    return written | {"input_schema": schema}
