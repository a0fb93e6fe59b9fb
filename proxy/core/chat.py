"""The canonical request: built only when the client's dialect and the target's differ.

What a dialect cannot express in these types stays in `extra`, keyed by the inbound field's name, and is given back
where the target has the same family of dialects. What cannot cross at all is a `Loss`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]
ToolKind = Literal["function", "custom"]


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image: either `url` (http or https) or `data` (base64) with its `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AudioPart:
    """Sound in base64; `format` is `wav` or `mp3`."""

    data: str
    format: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilePart:
    """A document: `data` (base64) with `media_type`, or a vendor's `file_id`, or a `url`."""

    data: str | None = None
    media_type: str | None = None
    file_id: str | None = None
    url: str | None = None
    filename: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusalPart:
    text: str


@dataclass(frozen=True, slots=True)
class TokensPart:
    """A prompt given as vocabulary indices; nobody but the model that owns the vocabulary can read it."""

    tokens: tuple[int, ...]


Part = TextPart | ImagePart | AudioPart | FilePart | RefusalPart | TokensPart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model made. `arguments` is JSON text and may be invalid, as the model wrote it.

    `kind` is `function` or `custom` (then `arguments` is free text). `signature` is a vendor's opaque token that must
    return with the call.
    """

    id: str
    name: str
    arguments: str
    kind: ToolKind = "function"
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `reasoning` is the model's thinking text; `thinking` holds a vendor's signed blocks, verbatim."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None
    thinking: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the model may call; `parameters` is JSON Schema. `kind` custom has a `format` in `extra` instead."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    kind: ToolKind = "function"
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`mode` auto, none, required or named (then `names` has the one); `names` with auto or required = allowed only."""

    mode: Literal["auto", "none", "required", "named"]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """`kind` text, json_object or json_schema (then `name`, `schema` and `strict`)."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """A whole request. None means that the caller was silent; `extra` holds fields without a place here."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    user: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loss:
    """Something of the request that does not reach the target; `content` if it is more than a tuning knob."""

    path: str
    why: str
    content: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass(slots=True)
class Losses:
    """Collects what one translation drops, in the order in which it was found."""

    found: list[Loss] = field(default_factory=list)

    def drop(self, path: str, why: str, *, content: bool = False) -> None:
        """Record that the field at `path` does not cross, and why."""
        self.found.append(Loss(path, why, content))
