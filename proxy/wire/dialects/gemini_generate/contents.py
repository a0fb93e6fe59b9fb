"""A conversation as Gemini's `contents`: turns of user and model in alternation, system messages apart.

Results of tools are parts of a user's turn, named after the function and not after the call; they stand in the order
of the calls, for the models before generation 3 know no ids. A thought signature returns on exactly one part.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from proxy.core.chat import Chat, Losses, Message, Part, RefusalPart, TextPart, ToolCall
from proxy.core.family import Family
from proxy.wire.dialects.gemini_generate.parts import Json, write_part
from proxy.wire.peek import refuse

UNSIGNED: Final = base64.b64encode(b"skip_thought_signature_validator").decode()
"""Google's documented stand-in for a signature that was lost; the answer is worse for it."""

T = TypeVar("T")

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_BLANK: Final[Json] = {"text": " "}


class _Turn:
    """One turn in the making; `results` are function responses with the number of their calls."""

    __slots__ = ("parts", "results", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.parts: list[Json] = []
        self.results: list[tuple[int, Json]] = []

    def whole(self) -> dict[str, Any]:
        results = [part for _, part in sorted(self.results, key=lambda result: result[0])]
        return {"role": self.role, "parts": [*results, *self.parts]}


class _Conversation:
    """Turns the messages into turns, one by one."""

    def __init__(self, chat: Chat, family: Family, losses: Losses) -> None:
        self._family = family
        self._losses = losses
        self._turns: list[_Turn] = []
        self._calls: dict[str, tuple[int, str]] = {}
        self._returned: set[str] = set()
        asked = [place for place, message in enumerate(chat.messages) if message.role == "user"]
        self._current = asked[-1] if asked else -1
        """Signatures are checked from the last thing on that the user said."""

    def system(self, message: Message, place: int) -> str:
        """The text of a system message; the model reads all of them first."""
        path = f"messages[{place}]"
        if any(not isinstance(part, TextPart) for part in message.parts):
            refuse(f"`{path}.content` is not valid for this model: system messages hold text only.", f"{path}.content")
        if self._turns:
            self._losses.drop(path, "a system message amid the conversation is moved to its beginning")
        self._note_unsaid(message, path)
        return message.text

    def user(self, message: Message, place: int) -> None:
        self._note_unsaid(message, f"messages[{place}]")
        self._add("user", self._parts(message.parts, place))

    def assistant(self, message: Message, place: int) -> None:
        path = f"messages[{place}]"
        self._note_unsaid(message, path)
        if message.reasoning or message.thinking:
            self._losses.drop(f"{path}.reasoning_content", "thoughts do not return, only their signatures do")
        said = tuple(TextPart(part.text) if isinstance(part, RefusalPart) else part for part in message.parts)
        parts = self._parts(said, place)
        signature = _signature_of(message.extra)
        texts = [part for part in parts if "text" in part]
        if texts:
            self._sign(texts[-1], signature)
        if "audio" in message.extra and not parts and not message.tool_calls:
            refuse(f"`{path}.audio` is not known to this model. Send what was said as text.", f"{path}.audio")
        calls = [self._call(call) for call in message.tool_calls]
        is_checked = self._family.signatures and place > self._current
        if calls and is_checked and "thoughtSignature" not in calls[0]:
            calls[0]["thoughtSignature"] = UNSIGNED
            self._losses.drop(f"{path}.tool_calls[0].extra_content", "the thought signature is missing; stand-in sent")
        self._add("model", [*parts, *calls])

    def tool(self, message: Message, place: int) -> None:
        path = f"messages[{place}]"
        identity = message.tool_call_id or ""
        number, name = self._calls.get(identity, (len(self._calls), message.name or ""))
        if not name:
            refuse(
                f"`{path}.tool_call_id` names no tool call of an earlier message. Send the call too.",
                f"{path}.tool_call_id",
            )
        response: dict[str, Any] = {"name": name, "response": _response(message.text)}
        if self._family.tool_ids and identity:
            response["id"] = identity
        # A picture that a tool made follows the results: older models take none within them.
        others = self._parts(tuple(part for part in message.parts if not isinstance(part, TextPart)), place)
        self._turn("user").results.append((number, {"functionResponse": response}))
        self._add("user", others)

    def contents(self) -> list[dict[str, Any]]:
        """The turns; the user begins, and there is at least one."""
        turns = [turn.whole() for turn in self._turns]
        first = [] if turns and turns[0]["role"] == "user" else [{"role": "user", "parts": [_BLANK]}]
        return [*first, *turns]

    def _turn(self, role: str) -> _Turn:
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_Turn(role))
        return self._turns[-1]

    def _add(self, role: str, parts: list[dict[str, Any]]) -> None:
        """An empty message is none: every turn has a part that says something."""
        if parts:
            self._turn(role).parts += parts

    def _parts(self, parts: tuple[Part, ...], place: int) -> list[dict[str, Any]]:
        return [
            write_part(part, f"messages[{place}].content[{number}]", self._losses)
            for number, part in enumerate(parts)
            if not (isinstance(part, TextPart) and not part.text)
        ]

    def _call(self, call: ToolCall) -> dict[str, Any]:
        self._calls[call.id] = (len(self._calls), call.name)
        function: dict[str, Any] = {"name": call.name, "args": _arguments(call)}
        if self._family.tool_ids:
            function["id"] = call.id
        part: dict[str, Any] = {"functionCall": function}
        self._sign(part, call.signature)
        return part

    def _sign(self, part: dict[str, Any], signature: str | None) -> None:
        if signature and signature not in self._returned:
            self._returned.add(signature)
            part["thoughtSignature"] = signature

    def _note_unsaid(self, message: Message, path: str) -> None:
        if message.name and message.role != "tool":
            self._losses.drop(f"{path}.name", "Gemini knows no names of speakers")
        for name in message.extra:
            if name != "extra_content":
                self._losses.drop(f"{path}.{name}", "Gemini has no place for it", content=name == "audio")


def write_contents(chat: Chat, family: Family, losses: Losses) -> dict[str, Any]:
    """`contents`, and `systemInstruction` if there is one. Raises ProxyError for what cannot be represented."""
    conversation = _Conversation(chat, family, losses)
    told: list[str] = []
    for place, message in enumerate(chat.messages):
        match message.role:
            case "system" | "developer":
                told.append(conversation.system(message, place))
            case "user":
                conversation.user(message, place)
            case "assistant":
                conversation.assistant(message, place)
            case "tool":
                conversation.tool(message, place)
    fields: dict[str, Any] = {"contents": conversation.contents()}
    system = "\n\n".join(filter(None, told))
    if system:
        fields["systemInstruction"] = {"parts": [{"text": system}]}
    return fields


def _signature_of(extra: Mapping[str, Any]) -> str | None:
    inner: Any = extra
    for name in ("extra_content", "google", "thought_signature"):
        inner = inner.get(name) if isinstance(inner, Mapping) else None
    return inner if isinstance(inner, str) else None


def _arguments(call: ToolCall) -> dict[str, Any]:
    """The arguments as the object that Gemini wants; what is none, as a model once wrote it, is wrapped."""
    if call.kind == "custom":
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    told = _read(call.arguments, _OBJECT)
    return {"arguments": call.arguments} if told is None else told


def _response(text: str) -> dict[str, Any]:
    """A tool's result as an object: as it is, or under `output`."""
    told = _read(text, _OBJECT)
    if told is not None:
        return told
    several = _read(text, _LIST)
    return {"output": text if several is None else several}


def _read(text: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The value, None if it is no JSON or of another kind; what is inside keeps its bytes."""
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError):
        return None
