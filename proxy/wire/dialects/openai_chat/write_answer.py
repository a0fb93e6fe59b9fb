"""Events to chat completion answers, in chunks or whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.core.chat import Chat
from proxy.core.events import (
    Checkpoint,
    Event,
    Extra,
    Failed,
    Finish,
    FoldedChoice,
    Reason,
    Refuse,
    Start,
    Text,
    Tokens,
    ToolArgs,
    ToolOpen,
    Unknown,
    fold,
)
from proxy.core.usage import Usage
from proxy.wire import sse
from proxy.wire.dialects.openai_chat.write_request import with_signature
from proxy.wire.usage import write_usage


class ChatEncoder:
    """An `Encoder` of streamed chat completions: one id, model and time on all chunks, the role first."""

    __slots__ = ("_chat", "_created", "_custom", "_head", "_roles", "_tail", "_usage")

    def __init__(self, chat: Chat, created: int) -> None:
        self._chat = chat
        self._created = created
        self._head = b""
        self._tail = b',"usage":null}\n\n' if chat.include_usage else b"}\n\n"
        self._roles: set[int] = set()
        self._custom: set[tuple[int, int]] = set()
        self._usage: Usage | None = None

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Start):
            return self._start(event)
        if isinstance(event, Tokens):
            self._usage = event.usage
            return b""
        if isinstance(event, Failed | Unknown | Checkpoint):
            return b""
        out = b"" if event.choice in self._roles else self._role(event.choice)
        if isinstance(event, Finish):
            return out + self._chunk(event.choice, {}, event.reason, event.logprobs)
        if isinstance(event, ToolOpen) and event.kind == "custom":
            self._custom.add((event.choice, event.index))
        if isinstance(event, ToolArgs) and (event.choice, event.index) in self._custom:
            piece = {"index": event.index, "custom": {"input": event.text}}
            return out + self._chunk(event.choice, {"tool_calls": [piece]})
        return out + self._chunk(event.choice, _DELTAS[type(event)](event))

    def close(self) -> bytes:
        if not self._chat.include_usage:
            return sse.DONE
        self._begin()
        usage = b"null" if self._usage is None else msgspec.json.encode(write_usage(self._usage))
        return self._head + b'"choices":[],"usage":' + usage + b"}\n\n" + sse.DONE

    def _start(self, event: Start) -> bytes:
        if self._head:
            return b""
        top = {
            "id": event.id or f"chatcmpl-{self._created}",
            "object": "chat.completion.chunk",
            "created": event.created or self._created,
            "model": event.model or self._chat.model,
            **event.extra,
        }
        self._head = b"data: " + msgspec.json.encode(top)[:-1] + b","
        return self._role(0)

    def _begin(self) -> None:
        """Begin without a `Start`, which an upstream that says only one thing may never give."""
        if not self._head:
            self._start(Start("", ""))

    def _role(self, choice: int) -> bytes:
        self._begin()
        self._roles.add(choice)
        return self._chunk(choice, {"role": "assistant", "content": ""})

    def _chunk(self, choice: int, delta: Mapping[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
        told = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._head + b'"choices":[' + msgspec.json.encode(told) + b"]" + self._tail


def _open(event: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": event.index} | _call(event, "")]}


def _call(tool: Any, arguments: str) -> dict[str, Any]:
    """A tool call, of a `ToolOpen` or a `FoldedTool`."""
    inner = {"name": tool.name, "arguments" if tool.kind == "function" else "input": arguments}
    return with_signature({"id": tool.id, "type": tool.kind, tool.kind: inner}, tool.signature)


_DELTAS: Final[Mapping[type, Callable[[Any], dict[str, Any]]]] = {
    Text: lambda event: {"content": event.text},
    Reason: lambda event: {"reasoning_content": event.text},
    Refuse: lambda event: {"refusal": event.text},
    ToolOpen: _open,
    ToolArgs: lambda event: {"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]},
    Extra: lambda event: {event.name: event.value},
}


def encode_body(events: Sequence[Event], chat: Chat, created: int) -> bytes:
    """A whole chat completion."""
    folded = fold(events)
    answer: dict[str, Any] = {
        "id": folded.id or f"chatcmpl-{created}",
        "object": "chat.completion",
        "created": folded.created or created,
        "model": folded.model or chat.model,
        "choices": [
            {
                "index": index,
                "message": _message(choice),
                "logprobs": choice.logprobs,
                "finish_reason": choice.finish or "stop",
            }
            for index, choice in sorted(folded.choices.items())
        ],
        **folded.extra,
    }
    if folded.usage is not None:
        answer["usage"] = write_usage(folded.usage)
    return msgspec.json.encode(answer)


def _message(choice: FoldedChoice) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text if choice.text or not (choice.tools or choice.refusal) else None,
        "refusal": choice.refusal or None,
    }
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tools:
        message["tool_calls"] = [_call(tool, tool.arguments) for _, tool in sorted(choice.tools.items())]
    return message | choice.extra
