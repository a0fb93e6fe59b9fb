"""OpenAI's legacy completions: a prompt in, text out; streamed objects have the shape of whole ones.

Through the hub it is spoken to clients only: k prompts with n choices each become k chats, and choice i of prompt p
is choice p·n + i of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NoReturn

import msgspec

from proxy.core.chat import Chat, Losses, Message, Part, TextPart, TokensPart
from proxy.core.decision import THINKING, Quirks
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.events import (
    Checkpoint,
    Event,
    Failed,
    Finish,
    FinishReason,
    Refuse,
    Start,
    Text,
    Tokens,
    Unknown,
    fold,
)
from proxy.core.family import Family
from proxy.core.request import Peek
from proxy.core.usage import Usage, add_usage
from proxy.wire import sse
from proxy.wire.decoding import StreamDecoder
from proxy.wire.dialects import Answer, Decoder, Encoder, Passage
from proxy.wire.dialects.openai_chat import encode_error
from proxy.wire.dialects.openai_chat.read_answer import Chunks
from proxy.wire.dialects.openai_chat.read_request import MAX_CHOICES, decode_common, read_object, rest, take
from proxy.wire.peek import Head, peek_of, prepare, read_head, refuse
from proxy.wire.tap import Choice, Tap, judge
from proxy.wire.usage import write_usage

_GUARDED: Final = (b'"prompt"', b'"stream"')
_PLAIN: Final[Sequence[tuple[str, tuple[type, ...], str]]] = (
    ("temperature", (int, float), "a number"),
    ("top_p", (int, float), "a number"),
    ("frequency_penalty", (int, float), "a number"),
    ("presence_penalty", (int, float), "a number"),
    ("seed", (int,), "a whole number"),
    ("user", (str,), "a string"),
)
_KNOWN: Final = frozenset(name for name, _, _ in _PLAIN) | {
    "model", "stream", "stream_options", "max_tokens", "stop", "n",
}  # fmt: skip
_FINISH: Final[Mapping[FinishReason, str]] = {"length": "length", "content_filter": "content_filter"}
"""All other reasons are `stop`: there are no tools here."""


class _CompletionHead(Head, kw_only=True):
    prompt: str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)] | None = None


_HEAD: Final = msgspec.json.Decoder(_CompletionHead)


class OpenAICompletions:
    """See the module's docstring."""

    name: Final = "openai_completions"
    paths: Final = ("/v1/completions",)
    no_forms: Final[frozenset[str]] = frozenset()

    def peek(self, body: bytes) -> Peek:
        head = read_head(body, _HEAD)
        return peek_of(head, head.max_tokens)

    def prepare(self, body: bytes, peek: Peek, model: str, quirks: Quirks, overrides: Mapping[str, Any]) -> bytes:
        return prepare(body, peek, model, quirks, overrides, _GUARDED)

    def tap(self, peek: Peek, thinks_as: str = THINKING) -> Passage:  # noqa: ARG002 — nobody thinks here
        return Tap(measure, wants_usage=peek.include_usage)

    def judge(self, body: bytes, thinks_as: str = THINKING) -> Answer:  # noqa: ARG002
        return judge(body, measure, lambda choice: isinstance(choice.text, str))

    def decode_request(self, body: bytes) -> tuple[Chat, ...]:
        """One chat per prompt; `extra` holds `prompt` and the fields that only legacy completions have."""
        fields = read_object(body)
        common = decode_common(fields)
        prompts = _prompts(fields.get("prompt"))
        if len(prompts) * common["n"] > MAX_CHOICES:
            refuse(f"`prompt` asks for too many choices. Send at most {MAX_CHOICES} prompts times `n`.", "prompt")
        common |= {name: take(fields, name, kinds, wanted) for name, kinds, wanted in _PLAIN}
        extra = rest(fields, _KNOWN)
        return tuple(Chat(messages=(Message("user", (prompt,)),), extra=extra, **common) for prompt in prompts)

    def path(self, template: str, model: str, stream: bool) -> str:  # noqa: ARG002 — the path names no model
        return template

    def encode_request(self, chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:  # noqa: ARG002
        _refuse_upstream()

    def decoder(self) -> Decoder:
        """Of what one upstream or this proxy has sent, where somebody goes on with it; the text is the content."""
        return StreamDecoder(Chunks())

    def encoder(self, chat: Chat, created: int) -> Encoder:
        return CompletionEncoder(chat, created)

    def resumed(self, chat: Chat, created: int, start: Start) -> Encoder:
        encoder = CompletionEncoder(chat, created)
        encoder.feed(start)
        return encoder

    def decode_body(self, body: bytes) -> list[Event]:  # noqa: ARG002
        _refuse_upstream()

    def encode_body(self, events: Sequence[Event], chat: Chat, created: int) -> bytes:
        return encode_body(events, chat, created)

    def encode_error(self, error: ProxyError) -> bytes:
        return encode_error(error)

    def encode_error_event(self, error: ProxyError) -> bytes:
        return sse.frame(encode_error(error))


def _refuse_upstream() -> NoReturn:
    raise ProxyError(
        ErrorKind.BAD_REQUEST, "The model behind this name takes legacy completions only. Use /v1/completions."
    )


def measure(choice: Choice) -> tuple[int, bool]:
    """Characters and weight of a choice; see `tap.Measure`."""
    text = choice.text
    return (len(text), True) if isinstance(text, str) and text else (0, False)


def _prompts(prompt: Any) -> list[Part]:
    """The prompts of a request: text, tokens, or a list of either; null is the empty prompt."""
    if isinstance(prompt, list) and prompt and not all(map(_is_token, prompt)):
        return [_prompt(one, f"prompt[{i}]") for i, one in enumerate(prompt)]
    return [_prompt("" if prompt is None else prompt, "prompt")]


def _prompt(prompt: Any, path: str) -> Part:
    if isinstance(prompt, str):
        return TextPart(prompt)
    if not isinstance(prompt, list) or not prompt or not all(map(_is_token, prompt)):
        refuse(f"`{path}` is not valid: send a string, a list of strings, of tokens or of lists of tokens.", path)
    return TokensPart(tuple(prompt))


def _is_token(value: Any) -> bool:
    return type(value) is int and value >= 0


def _echoes(chat: Chat) -> tuple[str, ...]:
    """What precedes the choices of each prompt: its text, if the caller asked for that."""
    if not chat.extra.get("echo"):
        return ()
    return tuple(part.text if isinstance(part, TextPart) else "" for part in _prompts(chat.extra.get("prompt")))


class CompletionEncoder:
    """An `Encoder` of streamed completions; may be shared by the chats of several prompts (see `wire/bridge.py`).

    Thinking and tool calls have no place here and stay behind; a refusal is text.
    """

    __slots__ = ("_begun", "_chat", "_created", "_echoes", "_head", "_tail", "_usage")

    def __init__(self, chat: Chat, created: int) -> None:
        self._chat = chat
        self._created = created
        self._echoes = _echoes(chat)
        self._head = b""
        self._tail = b',"usage":null}\n\n' if chat.include_usage else b"}\n\n"
        self._begun: set[int] = set()
        self._usage: Usage | None = None

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Start):
            self._begin(event)
            return b""
        if isinstance(event, Tokens):
            self._usage = add_usage(self._usage, event.usage)
            return b""
        if isinstance(event, Failed | Unknown | Checkpoint):
            return b""
        out = b"" if event.choice in self._begun else self._echo(event.choice)
        if isinstance(event, Text | Refuse):
            return out + self._chunk(event.choice, event.text)
        if isinstance(event, Finish):
            return out + self._chunk(event.choice, "", _FINISH.get(event.reason, "stop"))
        return out

    def close(self) -> bytes:
        if not self._chat.include_usage:
            return sse.DONE
        self._begin(Start("", ""))
        usage = b"null" if self._usage is None else msgspec.json.encode(write_usage(self._usage))
        return self._head + b'"choices":[],"usage":' + usage + b"}\n\n" + sse.DONE

    def _begin(self, event: Start) -> None:
        if not self._head:
            top = _top(event.id, event.created, event.model, self._chat, self._created) | dict(event.extra)
            self._head = b"data: " + msgspec.json.encode(top)[:-1] + b","

    def _echo(self, choice: int) -> bytes:
        self._begin(Start("", ""))
        self._begun.add(choice)
        echo = _echo_of(self._echoes, choice, self._chat.n)
        return self._chunk(choice, echo) if echo else b""

    def _chunk(self, choice: int, text: str, finish: str | None = None) -> bytes:
        told = {"index": choice, "text": text, "logprobs": None, "finish_reason": finish}
        return self._head + b'"choices":[' + msgspec.json.encode(told) + b"]" + self._tail


def _top(identity: str, told: int, model: str, chat: Chat, created: int) -> dict[str, Any]:
    return {
        "id": identity or f"cmpl-{created}",
        "object": "text_completion",
        "created": told or created,
        "model": model or chat.model,
    }


def _echo_of(echoes: Sequence[str], choice: int, n: int) -> str:
    return echoes[choice // n] if choice // n < len(echoes) else ""


def encode_body(events: Sequence[Event], chat: Chat, created: int) -> bytes:
    """A whole text completion."""
    folded = fold(events)
    echoes = _echoes(chat)
    answer = _top(folded.id, folded.created, folded.model, chat, created) | {
        "choices": [
            {
                "index": index,
                "text": _echo_of(echoes, index, chat.n) + choice.text + choice.refusal,
                "logprobs": None,
                "finish_reason": _FINISH.get(choice.finish or "stop", "stop"),
            }
            for index, choice in sorted(folded.choices.items())
        ],
        **folded.extra,
    }
    if folded.usage is not None:
        answer["usage"] = write_usage(folded.usage)
    return msgspec.json.encode(answer)


DIALECT: Final = OpenAICompletions()
