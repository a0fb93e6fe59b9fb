"""LM Studio's own API, `/api/v1/models…` (wire-facts 2.1), over a simulated memory; JIT loading is off by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.upstream.local import LocalServer, Model, NoMemory, reply
from tests.upstream.request import Request
from tests.upstream.script import Gate, Script

_NO_MODEL = "No models loaded. Please load a model in the developer page or use the 'lms load' command."
_GUARD = "Model loading was stopped due to insufficient system resources."


def _error(kind: str, message: str, status: int) -> Script:
    return reply({"error": {"type": kind, "message": message}}, status)


@dataclass
class LMStudio(LocalServer):
    """`jobs`: downloads under way, with the number of questions until each is done; all begin behind `pulling`.

    A `careless` one lets whatever is in memory answer to a model that is not.
    """

    careless: bool = False
    pulling: Gate | None = None
    jobs: dict[str, tuple[str, int]] = field(default_factory=dict)

    async def answer(self, request: Request) -> Script | None:
        path, body = request.path, request.json
        if path.endswith("/v1/models") and "/api/" not in path:
            return reply({"object": "list", "data": [{"id": name, "object": "model"} for name in self._listed()]})
        if path.endswith("/completions"):
            return self._prompt(str(body.get("model")))
        if not path.startswith("/api/v1/"):
            return None
        match request.method, path.removeprefix("/api/v1/models").split("/")[1:]:
            case "GET", []:
                return reply({"models": [self._describe(model) for model in self.models.values()]})
            case "POST", ["load"]:
                return await self._load(body)
            case "POST", ["unload"]:
                instance = str(body["instance_id"])
                if self.unload(instance):
                    return reply({"instance_id": instance})
                return _error("model_not_found", f"no instance {instance}", 404)
            case "POST", ["download"]:
                return await self._download(str(body["model"]))
            case "GET", ["download", "status", job]:
                return self._progress(job)
        # Whatever it does not know it answers with 200.
        return reply({"error": f"Unexpected endpoint or method. ({request.method} {path})"})

    def _listed(self) -> list[str]:
        return list(self.models) if self.jit else list(dict.fromkeys(one.model.name for one in self.loaded.values()))

    def _prompt(self, model: str) -> Script | None:
        if any(model in (instance, loaded.model.name) for instance, loaded in self.loaded.items()):
            return None
        if self.careless and self.loaded:
            return Script(model=next(iter(self.loaded)))
        error = {"message": _NO_MODEL, "type": "invalid_request_error", "param": "model", "code": None}
        return reply({"error": error}, 404)

    async def _load(self, body: dict[str, Any]) -> Script:
        name, context = str(body["model"]), body.get("context_length")
        if name not in self.models:
            return _error("model_not_found", f"Model {name} not found", 404)
        if self.broken is not None:
            self.loads.append((name, context))
            return _error("internal_error", self.broken, 500)
        try:
            instance = await self.load(name, context)
        except NoMemory:
            return _error("internal_error", _GUARD, 500)
        answer: dict[str, Any] = {
            "type": "llm", "instance_id": instance, "load_time_seconds": 1.5, "status": "loaded",
        }  # fmt: skip
        if body.get("echo_load_config"):
            answer["load_config"] = self._config(instance)
        return reply(answer)

    def _config(self, instance: str) -> dict[str, Any]:
        context = self.loaded[instance].context
        return {"context_length": context, "eval_batch_size": 512, "parallel": 4, "flash_attention": True}

    def _describe(self, model: Model) -> dict[str, Any]:
        instances = [id_ for id_, loaded in self.loaded.items() if loaded.model == model]
        return {
            "type": model.kind, "publisher": "vendor", "key": model.name, "display_name": model.name.title(),
            "architecture": "llama", "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
            "size_bytes": model.size * 10**9, "params_string": "7B", "format": "gguf", "variants": [],
            "loaded_instances": [{"id": id_, "config": self._config(id_)} for id_ in instances],
            "max_context_length": model.longest,
            "capabilities": {"vision": False, "trained_for_tool_use": True},
        }  # fmt: skip

    async def _download(self, name: str) -> Script:
        self.pulls.append(name)
        if self.pulling is not None:
            await self.pulling.passage()
        if name in self.models:
            return reply({"status": "already_downloaded"})
        if name.startswith("absent"):
            return _error("model_not_found", "no such model in the catalog", 404)
        self.jobs["job-1"] = (name, 1)
        return reply({"job_id": "job-1", "status": "downloading", "total_size_bytes": 1000})

    def _progress(self, job: str) -> Script:
        if job not in self.jobs:
            return _error("job_not_found", "no such job", 404)
        name, left = self.jobs[job]
        if left == 0:
            self.models[name] = Model(name)
        self.jobs[job] = (name, left - 1)
        status = "downloading" if left > 0 else "completed"
        done = 500 if left > 0 else 1000
        return reply({"job_id": job, "status": status, "downloaded_bytes": done, "total_size_bytes": 1000})
