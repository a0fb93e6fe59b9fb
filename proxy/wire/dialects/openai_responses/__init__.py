"""OpenAI's responses endpoint, spoken to upstreams only: newer models take function tools there and nowhere else.

Facts: OpenAI's SDK 3.52 types (request, items, events). State stays with the client: `store` is false, and reasoning
items come back encrypted, travel in `thinking_blocks` and are sent again with the next turn.
"""

from __future__ import annotations

from typing import Final

from proxy.core.chat import Chat, Losses
from proxy.core.decision import Quirks
from proxy.core.events import Event
from proxy.core.family import Family
from proxy.wire.decoding import StreamDecoder
from proxy.wire.dialects import Decoder
from proxy.wire.dialects.openai_responses.answer import decode_body
from proxy.wire.dialects.openai_responses.reading import Reading
from proxy.wire.dialects.openai_responses.write_request import encode_request


class OpenAIResponses:
    """See the module's docstring."""

    name: Final = "openai_responses"
    paths: Final[tuple[str, ...]] = ()
    no_forms: Final[frozenset[str]] = frozenset()

    def path(self, template: str, model: str, stream: bool) -> str:  # noqa: ARG002 — the path names no model
        return template

    def encode_request(self, chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
        return encode_request(chat, quirks, family, losses)

    def decoder(self) -> Decoder:
        return StreamDecoder(Reading())

    def decode_body(self, body: bytes) -> list[Event]:
        return decode_body(body)


DIALECT: Final = OpenAIResponses()
