"""Tool declarations and the choice among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.core.chat import Chat, Losses, Tool, ToolChoice
from proxy.core.family import Family
from proxy.wire.peek import refuse

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_MODES: Final[Mapping[str, str]] = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}


def write_tools(chat: Chat, family: Family, losses: Losses) -> dict[str, Any]:
    """`tools` and `toolConfig`, where there are any. Raises ProxyError for tools that are no functions."""
    if chat.parallel_tool_calls is False:
        losses.drop("parallel_tool_calls", "Gemini cannot be held to one call at a time")
    if not chat.tools:
        return {}
    declared = {tool.name: _declare(tool, f"tools[{place}]", losses) for place, tool in enumerate(chat.tools)}
    choice = chat.tool_choice or ToolChoice("auto")
    if any(name not in declared for name in choice.names):
        refuse("`tool_choice` names a tool that is not among `tools`.", "tool_choice")
    mode = _MODES[choice.mode]
    if mode == "ANY" and not family.forced_tools:
        losses.drop("tool_choice", "the model cannot be forced to call a tool")
        mode = "AUTO"
    if mode == "AUTO" and choice.names:  # only ANY takes names
        declared = {name: declared[name] for name in choice.names}
    if mode == "AUTO" and any(tool.strict for tool in chat.tools):
        mode = "VALIDATED"
    config: dict[str, Any] = {"mode": mode}
    if mode == "ANY" and choice.names:
        config["allowedFunctionNames"] = list(choice.names)
    fields: dict[str, Any] = {"tools": [{"functionDeclarations": list(declared.values())}]}
    if chat.tool_choice is not None or mode != "AUTO":
        fields["toolConfig"] = {"functionCallingConfig": config}
    return fields


def _declare(tool: Tool, path: str, losses: Losses) -> dict[str, Any]:
    if tool.kind != "function":
        refuse(f"`{path}.type` is not valid for this model: it takes functions only.", f"{path}.type")
    if not _NAME.fullmatch(tool.name):
        refuse(
            f"`{path}.function.name` is not valid for this model: begin with a letter or an underscore.",
            f"{path}.function.name",
        )
    for name in tool.extra:
        losses.drop(f"{path}.function.{name}", "Gemini has no place for it")
    declared: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declared["description"] = tool.description
    if tool.parameters:
        declared["parametersJsonSchema"] = tool.parameters
    return declared
