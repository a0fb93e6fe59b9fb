"""The canonical form to a responses request: messages, calls and results become items of one flat list.

Of tools the `strict` is always sent: it defaults to true here and to false in chat completions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.core.chat import (
    Chat,
    FilePart,
    ImagePart,
    Losses,
    Message,
    Part,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolKind,
)
from proxy.core.decision import Quirks
from proxy.core.family import Family
from proxy.wire.dialects.openai_chat.read_request import rest
from proxy.wire.dialects.openai_chat.write_request import (
    ANSWERED_HERE,
    ONLY_COMPLETIONS,
    apply_quirks,
    refuse_completions_only,
)
from proxy.wire.gates import fitted
from proxy.wire.peek import refuse

LEAST_OUTPUT: Final = 16
"""`max_output_tokens` below this is refused."""

CALLS_BEFORE: Final = "calls_before"
"""Of a carried reasoning item: how many calls of its turn came before it. Ours, never sent."""

_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
_PLAIN: Final = ("parallel_tool_calls", "temperature", "top_p", "service_tier", "user")
_AS_THEY_ARE: Final = frozenset(
    {"metadata", "moderation", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
     "safety_identifier", "store"}
)  # fmt: skip
"""Fields without a place in the canonical form that both endpoints know by the same name."""
_NOT_HERE: Final = ("top_k", "frequency_penalty", "presence_penalty", "seed")


def encode_request(chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
    """A responses request. Raises ProxyError BAD_REQUEST for sound, and for what only legacy completions can do."""
    refuse_completions_only(chat)
    _refuse_sound(chat)
    chat = fitted(chat, family, losses)
    fields: dict[str, Any] = {"model": chat.model, "input": _items(chat.messages, losses), "store": False}
    if chat.stream:
        fields["stream"] = True
    fields |= {name: value for name in _PLAIN if (value := getattr(chat, name)) is not None}
    if chat.max_tokens is not None:
        fields["max_output_tokens"] = _length(chat.max_tokens, losses)
    if chat.tools:
        fields["tools"] = [_tool(tool, f"tools[{i}]", losses) for i, tool in enumerate(chat.tools)]
    if chat.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(chat.tool_choice, chat.tools)
    text = _text_options(chat)
    if text:
        fields["text"] = text
    reasoning = _reasoning(chat)
    if reasoning:
        fields["reasoning"] = reasoning
    include = _include(chat, family)
    if include:
        fields["include"] = include
    if chat.logprobs and chat.top_logprobs is not None:
        fields["top_logprobs"] = chat.top_logprobs
    fields |= {name: value for name, value in chat.extra.items() if name in _AS_THEY_ARE}
    _lose(chat, losses)
    apply_quirks(quirks, fields, losses)
    return msgspec.json.encode(fields)


def _refuse_sound(chat: Chat) -> None:
    wanted = chat.extra.get("modalities")
    if "audio" in chat.extra or (isinstance(wanted, list) and "audio" in wanted):
        refuse("This model answers with text only. Leave `audio` out.", "modalities")


def _lose(chat: Chat, losses: Losses) -> None:
    """Record what the endpoint has no field for."""
    why = "the responses endpoint has no such field"
    for name in _NOT_HERE:
        if getattr(chat, name) is not None:
            losses.drop(name, why)
    if chat.stop:
        losses.drop("stop", why)
    if chat.n != 1:
        losses.drop("n", f"{chat.n} answers were asked for, the responses endpoint gives one")
    known = _AS_THEY_ARE | ANSWERED_HERE | ONLY_COMPLETIONS.keys() | {"verbosity", "reasoning", "modalities"}
    for name in rest(chat.extra, known):
        losses.drop(name, why, content=name == "web_search_options")


def _length(asked: int, losses: Losses) -> int:
    if asked < LEAST_OUTPUT:
        losses.drop("max_tokens", f"{asked} is less than the endpoint takes, {LEAST_OUTPUT} is sent")
    return max(asked, LEAST_OUTPUT)


def _text_options(chat: Chat) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if chat.response_format is not None:
        options["format"] = _response_format(chat.response_format)
    if "verbosity" in chat.extra:
        options["verbosity"] = chat.extra["verbosity"]
    return options


def _response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    named = {"name": wanted.name or "answer", "schema": wanted.schema or {}, "strict": bool(wanted.strict)}
    described = {} if wanted.description is None else {"description": wanted.description}
    return {"type": "json_schema"} | named | described


def _reasoning(chat: Chat) -> dict[str, Any]:
    """The effort, and what the caller wrote under `reasoning` (`{"summary": "auto"}` asks for thinking text)."""
    given = chat.extra.get("reasoning")
    effort = {} if chat.reasoning_effort is None else {"effort": chat.reasoning_effort}
    return effort | (dict(given) if isinstance(given, dict) else {})


def _include(chat: Chat, family: Family) -> list[str]:
    """Reasoning items must come back readable for the next turn; models that never reason refuse to be asked."""
    include = []
    if family.efforts and not chat.extra.get("store"):
        include.append("reasoning.encrypted_content")
    if chat.logprobs:
        include.append("message.output_text.logprobs")
    return include


def _items(messages: Sequence[Message], losses: Losses) -> list[dict[str, Any]]:
    kinds = {call.id: call.kind for message in messages for call in message.tool_calls}
    items: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        _lose_of_message(message, path, losses)
        if message.role == "tool":
            items.append(_result(message, kinds, path))
        elif message.role == "assistant":
            items += _turn(message, path)
        else:
            items.append({"type": "message", "role": message.role, "content": _content(message, path)})
    return items


def _lose_of_message(message: Message, path: str, losses: Losses) -> None:
    if "audio" in message.extra:
        refuse(f"`{path}.audio` is not available: this model reads text. Send the transcript.", f"{path}.audio")
    why = "the responses endpoint has no such field"
    if message.name is not None:
        losses.drop(f"{path}.name", why)
    if message.reasoning and not message.thinking:
        losses.drop(f"{path}.reasoning_content", "the endpoint takes reasoning only as it gave it, in thinking_blocks")
    for name, value in message.extra.items():
        if value:
            losses.drop(f"{path}.{name}", why)
    if any(block.get("type") != "reasoning" for block in message.thinking):
        losses.drop(f"{path}.thinking_blocks", "only the vendor that signed a block can read it")


def _turn(message: Message, path: str) -> Iterator[dict[str, Any]]:
    """An assistant's turn: what it said, its calls, and each reasoning item before the call it led to."""
    blocks = [dict(block) for block in message.thinking if block.get("type") == "reasoning"]
    places = [block.pop(CALLS_BEFORE, 0) for block in blocks]
    yield from (block for block, place in zip(blocks, places, strict=True) if place == 0)
    refusals = [part for part in message.parts if not isinstance(part, TextPart)]
    if refusals:
        # Only an item as the endpoint itself gives it can hold a refusal, and such an item has an id.
        content = [_part(part, f"{path}.content[{i}]", "output_text") for i, part in enumerate(message.parts)]
        yield {"type": "message", "id": "msg_0", "role": "assistant", "status": "completed", "content": content}
    elif message.text:
        yield {"type": "message", "role": "assistant", "content": message.text}
    for number, call in enumerate(message.tool_calls):
        yield from (block for block, place in zip(blocks, places, strict=True) if number and place == number)
        yield _call(call)


def _call(call: ToolCall) -> dict[str, Any]:
    if call.kind == "custom":
        return {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.arguments}
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _result(message: Message, kinds: Mapping[str, ToolKind], path: str) -> dict[str, Any]:
    if message.tool_call_id is None:
        refuse(f"`{path}.tool_call_id` is missing: send the id of the call that this answers.", f"{path}.tool_call_id")
    kind = "custom_tool_call_output" if kinds.get(message.tool_call_id) == "custom" else "function_call_output"
    return {"type": kind, "call_id": message.tool_call_id, "output": _content(message, path)}


def _content(message: Message, path: str) -> Any:
    """A string where it is one plain text, else a list of parts."""
    parts = message.parts
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart) and not parts[0].extra:
        return parts[0].text
    return [_part(part, f"{path}.content[{i}]", "input_text") for i, part in enumerate(parts)]


def _part(part: Part, path: str, text: str) -> dict[str, Any]:
    """One part; `text` is what a text is called where it stands."""
    if isinstance(part, TextPart) and text == "output_text":
        return {"type": text, "text": part.text, "annotations": []}
    if isinstance(part, TextPart):
        return {"type": text, "text": part.text, **part.extra}
    write = _PARTS.get(type(part))
    if write is None:
        refuse(f"`{path}` cannot be put to this model: it takes text, images and files. Leave it out.", path)
    return write(part)


def _image(part: ImagePart) -> dict[str, Any]:
    url = part.url or f"data:{part.media_type};base64,{part.data}"
    return {"type": "input_image", "image_url": url, "detail": part.detail or "auto", **part.extra}


def _file(part: FilePart) -> dict[str, Any]:
    data = part.data if part.media_type is None else f"data:{part.media_type};base64,{part.data}"
    named = {"file_data": data, "file_id": part.file_id, "file_url": part.url, "filename": part.filename}
    return {"type": "input_file", **{name: value for name, value in named.items() if value is not None}, **part.extra}


_PARTS: Final[Mapping[type, Callable[[Any], dict[str, Any]]]] = {
    ImagePart: _image,
    FilePart: _file,
    RefusalPart: lambda part: {"type": "refusal", "refusal": part.text},
}


def _tool(tool: Tool, path: str, losses: Losses) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": tool.kind, "name": tool.name}
    if tool.description is not None:
        fields["description"] = tool.description
    if tool.kind == "function":
        fields |= {"parameters": tool.parameters or _NO_PARAMETERS, "strict": bool(tool.strict)}
    for name, value in tool.extra.items():
        if name == "format" and tool.kind == "custom":
            fields["format"] = _format(value)
        else:
            losses.drop(f"{path}.{tool.kind}.{name}", "the responses endpoint has no such field")
    return fields


def _format(told: Any) -> Any:
    """Chat nests a grammar's definition under `grammar`; here it is flat."""
    grammar = told.get("grammar") if isinstance(told, dict) else None
    return {"type": "grammar", **grammar} if isinstance(grammar, dict) else told


def _tool_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:
    kinds = {tool.name: tool.kind for tool in tools}
    named = [{"type": kinds.get(name, "function"), "name": name} for name in choice.names]
    if choice.mode == "named":
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named} if named else choice.mode
