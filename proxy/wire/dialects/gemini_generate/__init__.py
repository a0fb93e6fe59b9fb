"""Google's Gemini by its native API: `generateContent`, and `streamGenerateContent` as server-sent events.

Facts: the google-genai SDK 3.4.0 (types, stream reader, errors), Google's API documents, and what LiteLLM 1.109.1 works
around. Spoken to upstreams only. A stream has no end mark: it ends with the connection, and is complete if every
candidate has told its finish reason.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from proxy.core.chat import Chat, Losses
from proxy.core.decision import Quirks
from proxy.core.events import Event
from proxy.core.family import Family
from proxy.wire.dialects import Decoder, UpstreamDialect
from proxy.wire.dialects.gemini_generate import answer
from proxy.wire.dialects.gemini_generate.write_request import encode_request
from proxy.wire.peek import top_level

_FOLDER: Final = "models/"


class GeminiGenerate:
    """See the module's docstring."""

    name: Final = "gemini_generate"
    paths: Final[tuple[str, ...]] = ()
    no_forms: Final[frozenset[str]] = frozenset()

    def __init__(self, *, pauses: bool = False) -> None:
        self._pauses = pauses

    def path(self, template: str, model: str, stream: bool) -> str:
        """`template` has places for `{model}` and `{method}`; without `alt=sse` a stream would be one JSON array."""
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return template.format(model=quote(model.removeprefix(_FOLDER), safe=""), method=method)

    def encode_request(self, chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
        return encode_request(chat, quirks, family, losses)

    def decoder(self) -> Decoder:
        return answer.GenerateDecoder(pauses=self._pauses)

    def pausing(self) -> UpstreamDialect:
        return GeminiGenerate(pauses=True)

    def from_checkpoint(self, body: bytes, token: str) -> bytes:
        """The vendor's SDK sends the same request again with the token at its top."""
        return msgspec.json.encode({**top_level(body), "continuationToken": token})

    def decode_body(self, body: bytes) -> list[Event]:
        return answer.decode_body(body)


DIALECT: Final = GeminiGenerate()
