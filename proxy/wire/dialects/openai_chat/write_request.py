"""The canonical form to chat completion requests; what was kept in `extra` comes back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.core.chat import (
    AudioPart,
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
)
from proxy.core.decision import Quirks
from proxy.core.family import Family
from proxy.wire.choices import narrow, refuse_custom
from proxy.wire.dialects.openai_chat.read_request import PLAIN, rest
from proxy.wire.gates import REFUSED, fitted, says_nothing
from proxy.wire.messages import tidies, tidy
from proxy.wire.peek import refuse

# What legacy completions leave in `extra`: the first two are answered by the proxy, the others cannot be.
ANSWERED_HERE: Final = frozenset({"prompt", "echo"})
ONLY_COMPLETIONS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "suffix": bool,
    "best_of": lambda value: value != 1,
    "logprobs": lambda value: value is not None,
}


def with_signature(call: dict[str, Any], signature: str | None) -> dict[str, Any]:
    """`call`, with the token put back where `signature_of` finds it."""
    if signature is not None:
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


def encode_request(chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
    """A chat completion request for an upstream; always asks for usage where it may.

    Raises ProxyError BAD_REQUEST for what a chat cannot say: prompts of tokens, and the legacy `suffix`, `best_of`
    and `logprobs` counts.
    """
    refuse_completions_only(chat)
    chat = fitted(chat, family, losses)
    fields: dict[str, Any] = {"model": chat.model, "messages": [_message(one) for one in chat.messages]}
    if chat.stream:
        fields["stream"] = True
        if quirks.asks_usage:
            fields["stream_options"] = {"include_usage": True}
    fields |= {name: value for name, _, _ in PLAIN if (value := getattr(chat, name)) is not None}
    if chat.max_tokens is not None:
        fields["max_completion_tokens"] = chat.max_tokens
    if chat.tools:
        fields["tools"] = [_tool(tool) for tool in chat.tools]
    if chat.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(chat.tool_choice, chat.tools)
    if chat.response_format is not None:
        fields["response_format"] = _response_format(chat.response_format)
    if chat.stop:
        fields["stop"] = list(chat.stop)
    if chat.n != 1:
        fields["n"] = chat.n
    fields |= rest(chat.extra, ANSWERED_HERE | ONLY_COMPLETIONS.keys())
    apply_quirks(quirks, fields, losses)
    return msgspec.json.encode(fields)


def refuse_completions_only(chat: Chat) -> None:
    """Raise BAD_REQUEST for what only legacy completions can do."""
    for name, matters in ONLY_COMPLETIONS.items():
        if name in chat.extra and matters(chat.extra[name]):
            refuse(f"`{name}` is not available: the model behind this name is a chat model. Leave it out.", name)


def apply_quirks(quirks: Quirks, fields: dict[str, Any], losses: Losses) -> None:
    """Leave out, rename and say otherwise what the upstream wants so; what is left out is a loss."""
    if quirks.unthinking and fields.get("reasoning_effort") == "none":
        del fields["reasoning_effort"]
        fields |= quirks.unthinking
    if quirks.functions_only:
        refuse_custom(fields.get("tools"))
    if quirks.choices is not None and "tool_choice" in fields:
        _apply_choice(quirks.choices, fields, losses)
    if tidies(quirks) and "messages" in fields:
        fields["messages"], lost = tidy(fields["messages"], quirks)
        for path, why in lost:
            losses.drop(path, why)
    for name in quirks.drop:
        if not says_nothing(name, fields.pop(name, None)):
            losses.drop(name, REFUSED)
    for name, known in quirks.rename.items():
        if name in fields:
            fields[known] = fields.pop(name)


def _apply_choice(known: Collection[str], fields: dict[str, Any], losses: Losses) -> None:
    told, why = narrow(fields["tool_choice"], fields.get("tools"), known)
    if why is not None:
        losses.drop("tool_choice", why)
    for name, value in told.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value


def _message(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role}
    refusals = [part.text for part in message.parts if isinstance(part, RefusalPart)]
    parts = [_part(part) for part in message.parts if not isinstance(part, RefusalPart)]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        fields["content"] = parts[0]["text"]
    elif parts or message.role != "assistant":
        fields["content"] = parts or ""
    else:
        fields["content"] = None
    if refusals:
        fields["refusal"] = "".join(refusals)
    fields |= {
        name: value
        for name, value in (
            ("name", message.name),
            ("tool_call_id", message.tool_call_id),
            ("reasoning_content", message.reasoning),
            ("thinking_blocks", list(message.thinking) or None),
        )
        if value is not None
    }
    if message.tool_calls:
        fields["tool_calls"] = [_call(call) for call in message.tool_calls]
    return fields | dict(message.extra)


def _call(call: ToolCall) -> dict[str, Any]:
    inner = {"name": call.name, "arguments" if call.kind == "function" else "input": call.arguments}
    return with_signature({"id": call.id, "type": call.kind, call.kind: inner}, call.signature)


def _part(part: Part) -> dict[str, Any]:
    write = _PARTS.get(type(part))
    if write is None:
        refuse("`prompt` holds tokens, which the model behind this name cannot read. Send text.", "prompt")
    return write(part)


def _image(part: ImagePart) -> dict[str, Any]:
    url = part.url if part.data is None else f"data:{part.media_type or 'image/png'};base64,{part.data}"
    image = {"url": url} | ({"detail": part.detail} if part.detail else {})
    return {"type": "image_url", "image_url": image, **part.extra}


def _file(part: FilePart) -> dict[str, Any]:
    if part.data is None and part.file_id is None:
        refuse("A document given by its URL cannot be sent to this model. Send its data.", "messages")
    data = f"data:{part.media_type};base64,{part.data}" if part.data and part.media_type else part.data
    named = (("file_data", data), ("file_id", part.file_id), ("filename", part.filename))
    file = {name: value for name, value in named if value is not None}
    return {"type": "file", "file": file, **part.extra}


def _audio(part: AudioPart) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}, **part.extra}


_PARTS: Final[Mapping[type, Callable[[Any], dict[str, Any]]]] = {
    TextPart: lambda part: {"type": "text", "text": part.text, **part.extra},
    ImagePart: _image,
    AudioPart: _audio,
    FilePart: _file,
}


def _tool(tool: Tool) -> dict[str, Any]:
    named = (("description", tool.description), ("parameters", tool.parameters), ("strict", tool.strict))
    inner = {"name": tool.name} | {name: value for name, value in named if value is not None} | dict(tool.extra)
    return {"type": tool.kind, tool.kind: inner}


def _tool_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:
    kinds = {tool.name: tool.kind for tool in tools}
    named = [{"type": kind, kind: {"name": name}} for name in choice.names for kind in (kinds.get(name, "function"),)]
    if choice.mode == "named":
        return named[0]
    if named:
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}
    return choice.mode


def _response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    named = (("description", wanted.description), ("schema", wanted.schema), ("strict", wanted.strict))
    inner = {"name": wanted.name or "answer"} | {name: value for name, value in named if value is not None}
    return {"type": "json_schema", "json_schema": inner}
