"""Anthropic's Messages API, as it is asked of an upstream: `POST /v1/messages`, version 2023-06-01.

Facts: Anthropic's SDK 2.11 types (request, answer, stream events), and the differences between its models as LiteLLM
1.109.1 works around them; both read 2026-11-20.
"""

from __future__ import annotations

from typing import Final

from proxy.core.chat import Chat, Losses
from proxy.core.decision import Quirks
from proxy.core.events import Event
from proxy.core.family import Family
from proxy.wire.decoding import StreamDecoder
from proxy.wire.dialects import Decoder
from proxy.wire.dialects.anthropic_messages import answer
from proxy.wire.dialects.anthropic_messages.write_request import encode_request


class AnthropicMessages:
    """See the module's docstring."""

    name: Final = "anthropic_messages"
    paths: Final[tuple[str, ...]] = ()
    no_forms: Final[frozenset[str]] = frozenset({"json_object", "open_schema"})

    def path(self, template: str, model: str, stream: bool) -> str:  # noqa: ARG002 — the body names both
        return template

    def encode_request(self, chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
        return encode_request(chat, quirks, family, losses)

    def decoder(self) -> Decoder:
        return StreamDecoder(answer.Reader())

    def decode_body(self, body: bytes) -> list[Event]:
        return answer.decode_body(body)


DIALECT: Final = AnthropicMessages()
