"""Ollama's own API, `/api/…` (wire-facts 2.3)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.upstream.local import LocalServer, Model, NoMemory, reply
from tests.upstream.request import Request
from tests.upstream.script import Script


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


@dataclass
class Ollama(LocalServer):
    """It loads at the first prompt, with the model's own context."""

    async def answer(self, request: Request) -> Script | None:
        body = request.json
        name = _tagged(str(body.get("model")))
        match request.method, request.path:
            case "GET", "/api/tags":
                return reply({"models": [self._describe(model) for model in self.models.values()]})
            case "GET", "/api/ps":
                return reply({"models": [self._running(instance) for instance in self.loaded]})
            case "GET", "/v1/models":
                return reply({"object": "list", "data": [{"id": one, "object": "model"} for one in self.models]})
            case "POST", "/api/show":
                return self._show(name)
            case "POST", "/api/pull":
                return self._pull(name)
            case "POST", "/api/generate":
                return await self._generate(name, body)
            case "POST", path if path.endswith("/completions"):
                return None if name in self.models else self._absent(name)
        return Script(status=404, body=b"404 page not found", content_type="text/plain")

    def _absent(self, name: str) -> Script:
        return reply({"error": f"model '{name}' not found"}, 404)

    async def _generate(self, name: str, body: dict[str, Any]) -> Script:
        if name not in self.models:
            return self._absent(name)
        unloads = body.get("keep_alive") == 0
        if self.broken is not None:
            return reply({"error": self.broken}, 500)
        if unloads:
            self.unload(name)
        elif name not in self.loaded:
            try:
                await self.load(name)
            except NoMemory:
                return reply({"error": "model requires more system memory (6.0 GiB) than is available (1.0 GiB)"}, 500)
        reason = "unload" if unloads else "load"
        return reply(
            {"model": name, "created_at": "2026-11-20T00:00:00Z", "response": "", "done": True, "done_reason": reason}
        )

    def _describe(self, model: Model) -> dict[str, Any]:
        details = {"format": "gguf", "family": "llama", "parameter_size": "7B", "quantization_level": "Q4_K_M"}
        return {"name": model.name, "model": model.name, "size": model.size * 10**9, "details": details}

    def _running(self, instance: str) -> dict[str, Any]:
        loaded = self.loaded[instance]
        size = loaded.model.size * 10**9
        return {"name": instance, "model": instance, "size": size, "size_vram": size, "context_length": loaded.context}

    def _show(self, name: str) -> Script:
        if name not in self.models:
            return self._absent(name)
        info = {"general.architecture": "llama", "llama.context_length": self.models[name].longest}
        return reply({"capabilities": ["completion", "tools", "thinking"], "model_info": info})

    def _pull(self, name: str) -> Script:
        """NDJSON; a failure is the last line of an answer of status 200."""
        self.pulls.append(name)
        lines: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        if name.startswith("absent"):
            lines.append({"error": "pull model manifest: file does not exist"})
        else:
            self.models[name] = Model(name)
            lines.append({"status": "pulling 0123", "digest": "sha256:0", "total": 1000, "completed": 500})
            lines.append({"status": "success"})
        return Script(chunks=tuple(json.dumps(line).encode() + b"\n" for line in lines))
