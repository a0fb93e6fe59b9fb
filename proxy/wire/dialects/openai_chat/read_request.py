"""Chat completion requests to the canonical form; every refusal names the JSON path and what to send instead.

Fields without a place in the canonical form travel in `extra`, on the request, on a message or on a part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from proxy.core.chat import (
    AudioPart,
    Chat,
    FilePart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    ResponseFormat,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from proxy.wire.lenient import write_json
from proxy.wire.peek import check_model, read_head, refuse

MAX_CHOICES: Final = 128
MAX_STOPS: Final = 16

Json = Mapping[str, Any]

_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_ROLES: Final = frozenset(get_args(Role))
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*;base64,", re.IGNORECASE)
_NUMBER: Final = (int, float)

# Top-level fields that cross as they are: name, accepted types, and the words for them.
PLAIN: Final[Sequence[tuple[str, tuple[type, ...], str]]] = (
    ("parallel_tool_calls", (bool,), "true or false"),
    ("temperature", _NUMBER, "a number"),
    ("top_p", _NUMBER, "a number"),
    ("top_k", (int,), "a whole number"),
    ("frequency_penalty", _NUMBER, "a number"),
    ("presence_penalty", _NUMBER, "a number"),
    ("seed", (int,), "a whole number"),
    ("logprobs", (bool,), "true or false"),
    ("top_logprobs", (int,), "a whole number"),
    ("reasoning_effort", (str,), "a string"),
    ("service_tier", (str,), "a string"),
    ("user", (str,), "a string"),
)
_KNOWN: Final = frozenset(name for name, _, _ in PLAIN) | {
    "model", "messages", "stream", "stream_options", "tools", "tool_choice", "response_format",
    "max_tokens", "max_completion_tokens", "stop", "n",
}  # fmt: skip
_RETIRED: Final = {"functions": "tools", "function_call": "tool_choice"}


def read_object(body: bytes) -> dict[str, Any]:
    """Decode a whole body; raises BAD_REQUEST for whatever is no sound JSON object."""
    return read_head(body, _OBJECT)


def take(holder: Json, name: str, kinds: tuple[type, ...], wanted: str, path: str = "") -> Any:
    """`holder[name]`, None if absent or null; raises BAD_REQUEST if it is of no type of `kinds`."""
    value = holder.get(name)
    if value is None:
        return None
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        where = f"{path}.{name}" if path else name
        refuse(f"`{where}` is not valid: send {wanted}.", where)
    return value


def need(holder: Json, name: str, kinds: tuple[type, ...], wanted: str, path: str = "") -> Any:
    """The same for a field that may not be absent."""
    value = take(holder, name, kinds, wanted, path)
    if value is None:
        where = f"{path}.{name}" if path else name
        refuse(f"`{where}` is missing: send {wanted}.", where)
    return value


def rest(holder: Json, known: frozenset[str] | set[str]) -> dict[str, Any]:
    """The fields of `holder` that nobody has read; nulls say nothing."""
    return {name: value for name, value in holder.items() if name not in known and value is not None}


def decode_common(body: Json) -> dict[str, Any]:
    """The arguments of `Chat` that chat and legacy completions share."""
    check_model(need(body, "model", (str,), "the name of a model"))
    options = take(body, "stream_options", (dict,), "an object") or {}
    count = take(body, "n", (int,), "a whole number")
    if count is not None and not 1 <= count <= MAX_CHOICES:
        refuse(f"`n` is not valid: send a number from 1 to {MAX_CHOICES}.", "n")
    return {
        "model": body["model"],
        "stream": bool(take(body, "stream", (bool,), "true or false")),
        "include_usage": bool(take(options, "include_usage", (bool,), "true or false", "stream_options")),
        "max_tokens": take(body, "max_tokens", (int,), "a whole number"),
        "stop": _stop(body),
        "n": count or 1,
    }


def decode_request(body: bytes) -> Chat:
    """A chat completion request in the canonical form; raises ProxyError BAD_REQUEST."""
    fields = read_object(body)
    for name, heir in _RETIRED.items():
        if fields.get(name) is not None:
            refuse(f"`{name}` is not translated for this model: send `{heir}` instead.", name)
    common = decode_common(fields)
    newest = take(fields, "max_completion_tokens", (int,), "a whole number")
    if newest is not None:
        common["max_tokens"] = newest
    messages = need(fields, "messages", (list,), "a list of messages")
    return Chat(
        **common,
        **{name: take(fields, name, kinds, wanted) for name, kinds, wanted in PLAIN},
        messages=tuple(_message(message, f"messages[{i}]") for i, message in enumerate(messages)),
        tools=_tools(fields),
        tool_choice=_tool_choice(take(fields, "tool_choice", (str, dict), "a string or an object")),
        response_format=_response_format(take(fields, "response_format", (dict,), "an object")),
        extra=rest(fields, _KNOWN),
    )


def _stop(body: Json) -> tuple[str, ...]:
    stop = take(body, "stop", (str, list), "a string or a list of strings")
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > MAX_STOPS or not all(isinstance(one, str) for one in stops):
        refuse(f"`stop` is not valid: send a string or at most {MAX_STOPS} strings.", "stop")
    return tuple(stops)


_OF_A_MESSAGE: Final = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning", "refusal",
     "thinking_blocks"}
)  # fmt: skip


def _message(message: Any, path: str) -> Message:
    if not isinstance(message, dict):
        refuse(f"`{path}` is not valid: send a message object.", path)
    role = need(message, "role", (str,), "one of developer, system, user, assistant or tool", path)
    if role not in _ROLES:
        refuse(f"`{path}.role` is not valid: send one of developer, system, user, assistant or tool.", f"{path}.role")
    if message.get("function_call") is not None:
        refuse(f"`{path}.function_call` is not translated: send `tool_calls` instead.", f"{path}.function_call")
    calls = take(message, "tool_calls", (list,), "a list of tool calls", path) or ()
    parts = _content(message, path)
    refusal = take(message, "refusal", (str,), "a string", path)
    if refusal:
        parts = (*parts, RefusalPart(refusal))
    if not parts and not calls and role != "assistant" and message.get("content") is None:
        refuse(f"`{path}.content` is missing: send a string or a list of parts.", f"{path}.content")
    thinking = take(message, "reasoning_content", (str,), "a string", path)
    return Message(
        role=role,
        parts=parts,
        name=take(message, "name", (str,), "a string", path),
        tool_calls=tuple(_tool_call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(calls)),
        tool_call_id=take(message, "tool_call_id", (str,), "the id of a tool call", path),
        reasoning=take(message, "reasoning", (str,), "a string", path) if thinking is None else thinking,
        thinking=_thinking(message, path),
        extra=rest(message, _OF_A_MESSAGE),
    )


def _thinking(message: Json, path: str) -> tuple[Json, ...]:
    """Vendors' signed blocks of an earlier answer, verbatim: they came as `thinking_blocks` and return as such."""
    blocks = take(message, "thinking_blocks", (list,), "the blocks as they came", path) or ()
    if not all(isinstance(block, dict) for block in blocks):
        refuse(f"`{path}.thinking_blocks` is not valid: send the blocks as they came.", f"{path}.thinking_blocks")
    return tuple(blocks)


def _content(message: Json, path: str) -> tuple[Part, ...]:
    content = take(message, "content", (str, list), "a string or a list of parts", path)
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    return tuple(_part(part, f"{path}.content[{i}]") for i, part in enumerate(content))


def _part(part: Any, path: str) -> Part:
    if isinstance(part, str):
        return TextPart(part)
    if not isinstance(part, dict):
        refuse(f"`{path}` is not valid: send a part object.", path)
    kind = need(part, "type", (str,), "the type of the part", path)
    read = _PARTS.get(kind)
    if read is None:
        refuse(f"`{path}.type` is not known: send one of {', '.join(_PARTS)}.", f"{path}.type")
    return read(part, path)


def _text(part: Json, path: str) -> Part:
    return TextPart(need(part, "text", (str,), "a string", path), rest(part, {"type", "text"}))


def _image(part: Json, path: str) -> Part:
    image = need(part, "image_url", (dict, str), "an object with a url", path)
    if isinstance(image, str):
        image = {"url": image}
    path += ".image_url"
    url = need(image, "url", (str,), "an http(s) or data: URL", path)
    detail = take(image, "detail", (str,), "auto, low or high", path)
    extra = rest(part, {"type", "image_url"})
    if url[:5].lower() != "data:":
        return ImagePart(url=url, detail=detail, extra=extra)
    media_type, data = _data_url(url, f"{path}.url")
    return ImagePart(data=data, media_type=media_type or "image/png", detail=detail, extra=extra)


def _audio(part: Json, path: str) -> Part:
    audio = need(part, "input_audio", (dict,), "an object with data and format", path)
    path += ".input_audio"
    data = need(audio, "data", (str,), "base64", path)
    return AudioPart(data, need(audio, "format", (str,), "wav or mp3", path), rest(part, {"type", "input_audio"}))


def _file(part: Json, path: str) -> Part:
    file = need(part, "file", (dict,), "an object with file_data or file_id", path)
    path += ".file"
    data = take(file, "file_data", (str,), "a data: URL", path)
    media_type = None
    if data is not None and data[:5].lower() == "data:":
        media_type, data = _data_url(data, f"{path}.file_data")
    file_id = take(file, "file_id", (str,), "a file's id", path)
    if data is None and file_id is None:
        refuse(f"`{path}` is not valid: send file_data or file_id.", path)
    name = take(file, "filename", (str,), "a string", path)
    return FilePart(data, media_type, file_id, None, name, rest(part, {"type", "file"}))


def _refusal(part: Json, path: str) -> Part:
    return RefusalPart(need(part, "refusal", (str,), "a string", path))


_PARTS: Final[Mapping[str, Callable[[Json, str], Part]]] = {
    "text": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "refusal": _refusal,
}


def _data_url(url: str, path: str) -> tuple[str | None, str]:
    head = _DATA_URL.match(url)
    if head is None:
        refuse(f"`{path}` is not valid: send data:<media type>;base64,<data>.", path)
    return head.group(1), url[head.end() :]


def _tool_call(call: Any, path: str) -> ToolCall:
    if not isinstance(call, dict):
        refuse(f"`{path}` is not valid: send a tool call object.", path)
    kind = _kind(take(call, "type", (str,), "function or custom", path) or "function", path)
    inner = need(call, kind, (dict,), "an object", path)
    given = take(inner, "arguments" if kind == "function" else "input", (str, dict), "a string", f"{path}.{kind}")
    return ToolCall(
        id=need(call, "id", (str,), "the id of the call", path),
        name=need(inner, "name", (str,), "the tool's name", f"{path}.{kind}"),
        arguments=given if isinstance(given, str) else write_json(given or {}),
        kind=kind,
        signature=signature_of(call),
    )


def _kind(kind: str, path: str) -> Literal["function", "custom"]:
    if kind == "function":
        return "function"
    if kind != "custom":
        refuse(f"`{path}.type` is not valid: send function or custom.", f"{path}.type")
    return "custom"


def signature_of(call: Json) -> str | None:
    """A vendor's token on a tool call, where its compatible endpoint puts it (Gemini's thought signature)."""
    inner: Any = call
    for name in ("extra_content", "google", "thought_signature"):
        inner = inner.get(name) if isinstance(inner, dict) else None
    return inner if isinstance(inner, str) else None


def _tools(fields: Json) -> tuple[Tool, ...]:
    tools = take(fields, "tools", (list,), "a list of tools") or ()
    return tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools))


def _tool(tool: Any, path: str) -> Tool:
    if not isinstance(tool, dict):
        refuse(f"`{path}` is not valid: send a tool object.", path)
    kind = _kind(need(tool, "type", (str,), "function or custom", path), path)
    inner = need(tool, kind, (dict,), "an object", path)
    path += f".{kind}"
    return Tool(
        name=need(inner, "name", (str,), "the tool's name", path),
        description=take(inner, "description", (str,), "a string", path),
        parameters=take(inner, "parameters", (dict,), "a JSON schema", path),
        strict=take(inner, "strict", (bool,), "true or false", path),
        kind=kind,
        extra=rest(inner, {"name", "description", "parameters", "strict"}),
    )


_MODES: Final[Mapping[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}


def _tool_choice(choice: Any) -> ToolChoice | None:
    path = "tool_choice"
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _MODES:
            refuse(f"`{path}` is not valid: send auto, none, required or an object.", path)
        return ToolChoice(_MODES[choice])
    kind = need(choice, "type", (str,), "function, custom or allowed_tools", path)
    if kind in ("function", "custom"):
        inner = need(choice, kind, (dict,), "an object with a name", path)
        return ToolChoice("named", (need(inner, "name", (str,), "the tool's name", f"{path}.{kind}"),))
    if kind != "allowed_tools":
        refuse(f"`{path}.type` is not valid: send function, custom or allowed_tools.", f"{path}.type")
    allowed = need(choice, kind, (dict,), "an object with mode and tools", path)
    path += f".{kind}"
    mode = need(allowed, "mode", (str,), "auto or required", path)
    if mode not in ("auto", "required"):
        refuse(f"`{path}.mode` is not valid: send auto or required.", f"{path}.mode")
    tools = need(allowed, "tools", (list,), "a list of tools", path)
    return ToolChoice(_MODES[mode], tuple(_allowed(tool, f"{path}.tools[{i}]") for i, tool in enumerate(tools)))


def _allowed(tool: Any, path: str) -> str:
    if not isinstance(tool, dict):
        refuse(f"`{path}` is not valid: send a tool object.", path)
    kind = need(tool, "type", (str,), "function or custom", path)
    name: str = need(need(tool, kind, (dict,), "an object", path), "name", (str,), "the tool's name", f"{path}.{kind}")
    return name


def _response_format(wanted: Json | None) -> ResponseFormat | None:
    path = "response_format"
    if wanted is None:
        return None
    kind = need(wanted, "type", (str,), "text, json_object or json_schema", path)
    if kind in ("text", "json_object"):
        return ResponseFormat(kind)
    if kind != "json_schema":
        refuse(f"`{path}.type` is not valid: send text, json_object or json_schema.", f"{path}.type")
    inner = need(wanted, kind, (dict,), "an object with name and schema", path)
    path += f".{kind}"
    return ResponseFormat(
        "json_schema",
        name=need(inner, "name", (str,), "a name", path),
        description=take(inner, "description", (str,), "a string", path),
        schema=take(inner, "schema", (dict,), "a JSON schema", path),
        strict=take(inner, "strict", (bool,), "true or false", path),
    )
