"""OpenAI's legacy completions: a prompt in, text out; streamed objects have the shape of whole ones."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from proxy.core.decision import Quirks
from proxy.core.errors import ProxyError
from proxy.core.request import Peek
from proxy.wire import sse
from proxy.wire.dialects import Answer, Passage
from proxy.wire.dialects.openai_chat import encode_error
from proxy.wire.peek import Head, peek_of, prepare, read_head
from proxy.wire.tap import Choice, Tap, judge

MAX_PROMPTS: Final = 10_000
_GUARDED: Final = (b'"prompt"', b'"stream"')


class _CompletionHead(Head, kw_only=True):
    prompt: str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)] | None = None


_HEAD: Final = msgspec.json.Decoder(_CompletionHead)


class OpenAICompletions:
    """See the module's docstring."""

    name: Final = "openai_completions"
    paths: Final = ("/v1/completions",)

    def peek(self, body: bytes) -> Peek:
        head = read_head(body, _HEAD)
        return peek_of(head, head.max_tokens)

    def prepare(self, body: bytes, peek: Peek, model: str, quirks: Quirks, overrides: dict[str, object]) -> bytes:
        return prepare(body, peek, model, quirks, overrides, _GUARDED)

    def tap(self, peek: Peek) -> Passage:
        return Tap(measure, wants_usage=peek.include_usage)

    def judge(self, body: bytes) -> Answer:
        return judge(body, measure, lambda choice: isinstance(choice.text, str))

    def encode_error(self, error: ProxyError) -> bytes:
        return encode_error(error)

    def encode_error_event(self, error: ProxyError) -> bytes:
        return sse.frame(encode_error(error))


def measure(choice: Choice) -> tuple[int, bool]:
    """Characters and weight of a choice; see `tap.Measure`."""
    text = choice.text
    return (len(text), True) if isinstance(text, str) and text else (0, False)


DIALECT: Final = OpenAICompletions()
