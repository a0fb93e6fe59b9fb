"""OpenAI chat completions: the dialect most clients and most servers speak.

Facts: OpenAI's SDK 3.52 types (request, answer, chunk), and what compatible servers are seen to do differently.
The other files hold the way through the hub; identity needs only what is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from proxy.core.chat import Chat, Losses
from proxy.core.decision import THINKING, Quirks
from proxy.core.errors import ProxyError
from proxy.core.events import Event, Start
from proxy.core.family import Family
from proxy.core.request import Peek
from proxy.wire import sse
from proxy.wire.decoding import StreamDecoder
from proxy.wire.dialects import Answer, Decoder, Encoder, Passage
from proxy.wire.dialects.openai_chat import read_answer, write_answer
from proxy.wire.dialects.openai_chat.read_request import decode_request
from proxy.wire.dialects.openai_chat.write_request import encode_request
from proxy.wire.peek import Head, Length, peek_of, prepare, read_head
from proxy.wire.tap import Choice, RenamingTap, Tap, judge, with_thinking

MAX_MESSAGES: Final = 10_000
_GUARDED: Final = (b'"messages"', b'"stream"')


class _Turn(msgspec.Struct):
    role: str


class _ChatHead(Head, kw_only=True):
    messages: Annotated[list[_Turn], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Length | None = None


_HEAD: Final = msgspec.json.Decoder(_ChatHead)


class OpenAIChat:
    """See the module's docstring."""

    name: Final = "openai_chat"
    paths: Final = ("/v1/chat/completions",)
    no_forms: Final[frozenset[str]] = frozenset()

    def peek(self, body: bytes) -> Peek:
        head = read_head(body, _HEAD)
        return peek_of(head, head.max_tokens if head.max_completion_tokens is None else head.max_completion_tokens)

    def prepare(self, body: bytes, peek: Peek, model: str, quirks: Quirks, overrides: Mapping[str, Any]) -> bytes:
        return prepare(body, peek, model, quirks, overrides, _GUARDED)

    def tap(self, peek: Peek, thinks_as: str = THINKING) -> Passage:
        if thinks_as != THINKING:
            return RenamingTap(measure, wants_usage=peek.include_usage, thinks_as=thinks_as)
        return Tap(measure, wants_usage=peek.include_usage)

    def judge(self, body: bytes, thinks_as: str = THINKING) -> Answer:
        told = body if thinks_as == THINKING else with_thinking(body, thinks_as)
        return judge(told, measure, lambda choice: isinstance(choice.message, dict))

    def decode_request(self, body: bytes) -> tuple[Chat, ...]:
        return (decode_request(body),)

    def path(self, template: str, model: str, stream: bool) -> str:  # noqa: ARG002 — the path names no model
        return template

    def encode_request(self, chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
        return encode_request(chat, quirks, family, losses)

    def decoder(self) -> Decoder:
        return StreamDecoder(read_answer.Chunks())

    def encoder(self, chat: Chat, created: int) -> Encoder:
        return write_answer.ChatEncoder(chat, created)

    def resumed(self, chat: Chat, created: int, start: Start) -> Encoder:
        encoder = write_answer.ChatEncoder(chat, created)
        encoder.feed(start)  # the role, which the client has
        return encoder

    def decode_body(self, body: bytes) -> list[Event]:
        return read_answer.decode_body(self.judge(body).body)

    def encode_body(self, events: Sequence[Event], chat: Chat, created: int) -> bytes:
        return write_answer.encode_body(events, chat, created)

    def encode_error(self, error: ProxyError) -> bytes:
        return encode_error(error)

    def encode_error_event(self, error: ProxyError) -> bytes:
        return sse.frame(encode_error(error))


def encode_error(error: ProxyError) -> bytes:
    """`{"error": {"message", "type", "param", "code"}}`, as all of OpenAI's endpoints answer."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.kind.facts.type,
                "param": error.param,
                "code": error.code,
            }
        }
    )


def measure(choice: Choice) -> tuple[int, bool]:
    """Characters and weight of a delta or a message; see `tap.Measure`."""
    delta = choice.delta if isinstance(choice.delta, dict) else choice.message
    if not isinstance(delta, dict):
        return 0, False
    written = 0
    speaks = False
    for name, value in delta.items():
        if not value or name == "role":
            continue
        if name in _TEXTS:
            speaks = True
            # Servers that know both names for thinking send the same text twice.
            if name != "reasoning" or "reasoning_content" not in delta:
                written += len(value) if isinstance(value, str) else len(text_of(value))
        elif name in _CALLS:
            length = _measure_calls(value)
            written += length
            speaks = speaks or length > 0 or _has_id(value)
        elif name == "audio":
            speaks = True
    return written, speaks


_TEXTS: Final = frozenset({"content", "reasoning_content", "reasoning", "refusal"})
_CALLS: Final = frozenset({"tool_calls", "function_call"})


def text_of(content: Any) -> str:
    """The text in content that is a list of parts, as some servers send it even in deltas."""
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _measure_calls(value: Any) -> int:
    """Characters in names and arguments of tool calls, wherever a server puts them."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_measure_calls(part) for name, part in value.items() if name not in ("type", "id"))
    if isinstance(value, list):
        return sum(map(_measure_calls, value))
    return 0


def _has_id(calls: Any) -> bool:
    return isinstance(calls, list) and any(isinstance(call, dict) and call.get("id") for call in calls)


DIALECT: Final = OpenAIChat()
