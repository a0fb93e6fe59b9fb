"""Gemini's list of models: `GET …/models` with the vendor's key header (wire-facts 4.1)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.upstream.dialects import openai
from tests.upstream.dialects.gemini_generate import DIALECT as GENERATE
from tests.upstream.dialects.openai_models import MODELS
from tests.upstream.request import Request
from tests.upstream.script import Script


class GeminiModels:
    stream_type = "application/json"
    error = staticmethod(GENERATE.error)

    def answers(self, request: Request) -> bool:
        return (
            request.method == "GET"
            and request.path.endswith("/models")
            and request.header("x-goog-api-key") is not None
        )

    def streams(self, request: Request) -> bool:
        return False

    def whole(self, request: Request, script: Script) -> bytes:
        return openai.dump({"models": [_entry(name) for name in MODELS]})

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        yield self.whole(request, script)


def _entry(name: str) -> dict[str, object]:
    limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
    return {"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"]} | limits


DIALECT = GeminiModels()
