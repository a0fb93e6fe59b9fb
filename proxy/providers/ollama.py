"""Ollama: OpenAI's protocol from a local server that ignores what it does not know; models by its own API.

A context length given at load would be lost with the next prompt in OpenAI's protocol, which loads the model anew with
its own; so the length is left to the model.
"""

from collections.abc import Mapping, Sequence

import msgspec

from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.local import Call, Instance, LocalModel, NativeApi, NoRoom, Progress
from proxy.providers import LOCAL, Provider, bearer
from proxy.wire.openai_errors import classify as classify_openai


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """404 means that the model was never pulled, whatever the text says."""
    if status == 404:
        return UpstreamFailure(ErrorKind.MODEL_ABSENT, "the model is not pulled", status=status)
    return classify_openai(status, headers, body)


class _Stored(msgspec.Struct):
    name: str
    size: int | None = None


class _Tags(msgspec.Struct):
    models: list[_Stored]


class _Running(msgspec.Struct):
    name: str
    context_length: int | None = None


class _Ps(msgspec.Struct):
    models: list[_Running]


class _Show(msgspec.Struct):
    capabilities: list[str] = []
    model_info: dict[str, object] = {}


class _Line(msgspec.Struct):
    status: str = ""
    error: str | None = None
    total: int | None = None
    completed: int | None = None


_CAPABILITIES = {"vision": "images", "tools": "tools", "thinking": "reasoning", "embedding": "embeddings"}
_NO_ROOM = (b"requires more system memory", b"out of memory")


def _canonical(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _models(answers: Sequence[bytes]) -> tuple[LocalModel, ...]:
    running = {
        model.name: Instance(model.name, model.context_length)
        for model in msgspec.json.decode(answers[1], type=_Ps).models
    }
    return tuple(
        LocalModel(model.name, (running[model.name],) if model.name in running else (), size=model.size)
        for model in msgspec.json.decode(answers[0], type=_Tags).models
    )


def _show(model: str) -> Call:
    return Call("POST", "/api/show", msgspec.json.encode({"model": model}))


def _detailed(model: LocalModel, body: bytes) -> LocalModel:
    """The context length is named after the architecture: `llama.context_length`."""
    shown = msgspec.json.decode(body, type=_Show)
    architecture = shown.model_info.get("general.architecture")
    longest = shown.model_info.get(f"{architecture}.context_length")
    capabilities = frozenset(_CAPABILITIES[name] for name in shown.capabilities if name in _CAPABILITIES)
    return LocalModel(
        model.name, model.instances, longest if isinstance(longest, int) else None, model.size, capabilities
    )


def _load(model: str, _context: int | None) -> tuple[Call, ...]:
    """A prompt without words loads the model and says nothing."""
    return (Call("POST", "/api/generate", msgspec.json.encode({"model": model, "stream": False})),)


def _loaded(model: str, _context: int | None, body: bytes) -> Instance:
    msgspec.json.decode(body, type=dict[str, object])
    return Instance(_canonical(model))


def _unload(instance: str) -> Call:
    body = {"model": instance, "keep_alive": 0, "stream": False}
    return Call("POST", "/api/generate", msgspec.json.encode(body))


def _pull(model: str) -> Call:
    return Call("POST", "/api/pull", msgspec.json.encode({"model": model}))


def _progress(line: bytes) -> Progress:
    """Failures come as a line of a stream that began with status 200."""
    said = msgspec.json.decode(line, type=_Line)
    if said.error is not None:
        is_unknown = "does not exist" in said.error or "not found" in said.error
        kind = ErrorKind.MODEL_ABSENT if is_unknown else ErrorKind.FAULT
        raise UpstreamFailure(kind, "the download failed")
    return Progress(said.status, said.completed, said.total)


def _failure(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    if any(text in body for text in _NO_ROOM):
        return NoRoom(status=status)
    return classify(status, headers, body)


_NATIVE = NativeApi(
    root=lambda base: base.removesuffix("/v1"),
    lists=(Call("GET", "/api/tags"), Call("GET", "/api/ps")),
    models=_models,
    load=_load,
    loaded=_loaded,
    unload=_unload,
    pull=_pull,
    progress=_progress,
    failure=_failure,
    sizes_context=False,
    detail=_show,
    detailed=_detailed,
    canonical=_canonical,
)

PROVIDER = Provider(
    name="ollama",
    base_url="http://localhost:11434/v1",
    speaks={
        "openai_chat": "/chat/completions",
        "openai_completions": "/completions",
        "openai_embeddings": "/embeddings",
    },
    auth=bearer,
    classify=classify,
    # It takes max_tokens only and silently ignores the newer name, so an answer would have no limit. The fields that it
    # ignores are left out, so that the caller is told (its source, 2026-08): of the choices among tools all but `auto`.
    quirks=Quirks(
        rename={"max_completion_tokens": "max_tokens"},
        drop=("parallel_tool_calls", "n", "logit_bias", "user"),
        choices=frozenset({"auto"}),
        functions_only=True,
        lone_prompts=True,
        thinks_as="reasoning",
        inline_images=True,
    ),
    timeouts=LOCAL,
    local=True,
    needs_key=False,
    native=_NATIVE,
)
