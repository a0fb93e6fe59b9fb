"""Docker Model Runner's own API, `/models` and `/engines` (wire-facts 2.2, and its source of July 2026)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.upstream.local import LocalServer, Model, NoMemory, reply
from tests.upstream.request import Request
from tests.upstream.script import Script


def _plain(status: int, text: str) -> Script:
    """Go's http.Error: a sentence and a line end."""
    return Script(status=status, content_type="text/plain; charset=utf-8", body=text.encode() + b"\n")


def _tagged(name: str) -> str:
    """The store's name of a model: organisation and tag have defaults."""
    named = name.removeprefix("docker.io/")
    named = named if "/" in named else f"ai/{named}"
    return named if ":" in named.rpartition("/")[2] else f"{named}:latest"


@dataclass
class DockerModels(LocalServer):
    """It loads at the first prompt; `contexts` holds what `_configure` has set for the next runner."""

    contexts: dict[str, int] = field(default_factory=dict)

    async def answer(self, request: Request) -> Script | None:
        body = request.json
        match request.method, request.path.partition("/exp/vDD4.40")[2] or request.path:
            case "GET", "/engines/v1/models":
                return reply({"object": "list", "data": [self._describe(model) for model in self.models.values()]})
            case "GET", "/engines/ps":
                return reply([self._runner(instance) for instance in self.loaded])
            case "POST", "/engines/_configure":
                self.contexts[_tagged(body["model"])] = body["context-size"]
                return Script(status=202, body=b"")
            case "POST", "/engines/unload":
                gone = [self.unload(_tagged(name)) for name in body["models"]]
                return reply({"unloaded_runners": sum(gone)})
            case "POST", "/models/create":
                return self._create(str(body["from"]), accepts=request.header("accept") or "")
            case "POST", path if path.endswith("/completions"):
                return await self._prompt(request)
            case "GET", path if path.endswith("/models"):
                return reply({"object": "list", "data": [self._describe(model) for model in self.models.values()]})
        return _plain(404, "not found")

    async def _prompt(self, request: Request) -> Script | None:
        name = _tagged(str(request.json.get("model")))
        if name not in self.models:
            return _plain(404, "model not found")
        if self.broken is not None:
            return _plain(500, f"unable to load runner: {self.broken}")
        if name not in self.loaded:
            try:
                await self.load(name, self.contexts.get(name))
            except NoMemory:
                return _plain(500, "unable to load runner: insufficient memory for the model")
        return Script(body=b"") if request.header("x-preload-only") == "true" else None

    def _describe(self, model: Model) -> dict[str, Any]:
        facts = {"context_window": model.longest, "architecture": "llama", "parameters": "7 B", "size": "4 GB"}
        return {"id": model.name, "object": "model", "created": 1_760_000_000, "owned_by": "docker", "dmr": facts}

    def _runner(self, instance: str) -> dict[str, Any]:
        return {
            "backend_name": "llama.cpp", "model_name": instance, "mode": "completion",
            "last_used": "2026-11-20T00:00:00Z", "in_use": self.is_answering(instance),
        }  # fmt: skip

    def _create(self, name: str, accepts: str) -> Script:
        """Progress line by line: JSON for those who accept nothing else."""
        self.pulls.append(name)
        failed = name.startswith("absent")
        if not failed:
            self.models[_tagged(name)] = Model(_tagged(name))
        if accepts != "application/json":
            return _plain(200, "Downloaded: 1 kB\nModel pulled successfully")
        lines = [
            {
                "type": "progress",
                "message": "Downloaded: 500 B",
                "total": 1000,
                "pulled": 500,
                "layer": {"id": "sha256:0"},
            },
            {"type": "error", "message": "no such model"}
            if failed
            else {"type": "success", "message": "Model pulled successfully", "total": 1000, "pulled": 1000},
        ]
        return Script(chunks=tuple(json.dumps(line).encode() + b"\n" for line in lines))
