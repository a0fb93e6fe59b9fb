"""Anthropic's list of models: `GET …/models` with the vendor's version header (wire-facts 3.1)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.upstream.dialects import openai
from tests.upstream.dialects.anthropic_messages import DIALECT as MESSAGES
from tests.upstream.dialects.openai_models import MODELS
from tests.upstream.request import Request
from tests.upstream.script import Script


class AnthropicModels:
    stream_type = "application/json"
    error = staticmethod(MESSAGES.error)

    def answers(self, request: Request) -> bool:
        return request.method == "GET" and "/models" in request.path and request.header("anthropic-version") is not None

    def streams(self, request: Request) -> bool:
        return False

    def whole(self, request: Request, script: Script) -> bytes:
        entries = [_entry(name) for name in MODELS]
        ends = {"first_id": MODELS[0], "last_id": MODELS[-1], "has_more": False}
        return openai.dump({"data": entries} | ends)

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        yield self.whole(request, script)


def _entry(name: str) -> dict[str, object]:
    told = {"type": "model", "id": name, "display_name": name, "created_at": "2026-10-09T00:00:00Z"}
    return told | {"lifecycle": "active", "max_input_tokens": 1_000_000, "max_tokens": 128_000}


DIALECT = AnthropicModels()
