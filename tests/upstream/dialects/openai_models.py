"""OpenAI's list of models: `GET …/models` and `GET …/models/{id}` (wire-facts 1.8)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.upstream.dialects import openai
from tests.upstream.request import Request
from tests.upstream.script import Script

MODELS = ("fake-small", "fake-large", "vendor/fake:q4")


class OpenAIModels:
    stream_type = "application/json"
    error = staticmethod(openai.error)

    def answers(self, request: Request) -> bool:
        return request.method == "GET" and "/models" in request.path

    def streams(self, request: Request) -> bool:
        return False

    def whole(self, request: Request, script: Script) -> bytes:
        wanted = request.path.partition("/models")[2].lstrip("/")
        if wanted:
            return openai.dump(_entry(wanted))
        return openai.dump({"object": "list", "data": [_entry(name) for name in MODELS]})

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        yield self.whole(request, script)


def _entry(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": openai.CREATED, "owned_by": "fake"}


DIALECT = OpenAIModels()
