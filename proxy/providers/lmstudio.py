"""LM Studio: OpenAI's protocol from a local server that reports some failures with status 200; models by its own API.

The native API (`/api/v1`, since 0.4.0) as its documentation describes it; that models loaded over it have no time to
live, and that loading a model twice gives two copies, are why the proxy keeps account.
"""

from collections.abc import Mapping, Sequence

import msgspec

from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.local import Call, Instance, LocalModel, NativeApi, NoRoom, Progress
from proxy.providers import LOCAL, Provider, bearer
from proxy.wire.openai_errors import classify as classify_openai

_SIGNS = (
    (b"No models loaded", ErrorKind.MODEL_ABSENT, "no model is loaded"),
    (b"Model is unloaded", ErrorKind.FAULT, "the model was unloaded during the request"),
    (b"The model has crashed", ErrorKind.FAULT, "the model crashed"),
    # What it says with status 200 at every path it does not know, above all when the URL lacks /v1.
    (b"Unexpected endpoint or method", ErrorKind.NOT_AN_ANSWER, "unknown path; does the url end in /v1?"),
)


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """Its own texts first: they come with 200, 400 and 404 alike."""
    for text, kind, detail in _SIGNS:
        if text in body:
            return UpstreamFailure(kind, detail, status=status)
    return classify_openai(status, headers, body)


class _Config(msgspec.Struct):
    context_length: int | None = None


class _Instance(msgspec.Struct):
    id: str
    config: _Config = msgspec.field(default_factory=_Config)


class _Model(msgspec.Struct):
    key: str
    type: str = "llm"
    size_bytes: int | None = None
    max_context_length: int | None = None
    loaded_instances: list[_Instance] = []
    capabilities: dict[str, object] | None = None


class _Models(msgspec.Struct):
    models: list[_Model]


class _Loaded(msgspec.Struct):
    instance_id: str
    load_config: _Config | None = None


class _Download(msgspec.Struct):
    status: str
    job_id: str | None = None
    total_size_bytes: int | None = None
    downloaded_bytes: int | None = None


_CAPABILITIES = {"vision": "images", "trained_for_tool_use": "tools", "reasoning": "reasoning"}
# Its guard against loading more than fits speaks of system resources; the engines below it of memory.
_NO_ROOM = (b"insufficient system resources", b"out of memory", b"not enough memory", b"failed to allocate")


def _models(answers: Sequence[bytes]) -> tuple[LocalModel, ...]:
    return tuple(
        LocalModel(
            model.key,
            tuple(Instance(one.id, one.config.context_length) for one in model.loaded_instances),
            model.max_context_length,
            model.size_bytes,
            _capabilities(model),
        )
        for model in msgspec.json.decode(answers[0], type=_Models).models
    )


def _capabilities(model: _Model) -> frozenset[str]:
    found = {ours for theirs, ours in _CAPABILITIES.items() if (model.capabilities or {}).get(theirs)}
    return frozenset(found | {"embeddings"} if model.type == "embedding" else found)


def _load(model: str, context: int | None) -> tuple[Call, ...]:
    length = {} if context is None else {"context_length": context}
    wanted = {"model": model, "echo_load_config": True, **length}
    return (Call("POST", "/api/v1/models/load", msgspec.json.encode(wanted)),)


def _loaded(_model: str, context: int | None, body: bytes) -> Instance:
    answer = msgspec.json.decode(body, type=_Loaded)
    told = answer.load_config.context_length if answer.load_config else None
    return Instance(answer.instance_id, told or context)


def _unload(instance: str) -> Call:
    return Call("POST", "/api/v1/models/unload", msgspec.json.encode({"instance_id": instance}))


def _pull(model: str) -> Call:
    return Call("POST", "/api/v1/models/download", msgspec.json.encode({"model": model}))


def _progress(line: bytes) -> Progress:
    """A job that is not over is asked for again: there is no stream."""
    job = msgspec.json.decode(line, type=_Download)
    if job.status == "failed":
        raise UpstreamFailure(ErrorKind.FAULT, "the download failed")
    is_over = job.status in ("completed", "already_downloaded") or job.job_id is None
    again = None if is_over else Call("GET", f"/api/v1/models/download/status/{job.job_id}")
    return Progress(job.status, job.downloaded_bytes, job.total_size_bytes, again)


def _failure(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    lowered = body.lower()
    if any(text in lowered for text in _NO_ROOM):
        return NoRoom(status=status)
    if b"model_not_found" in body:
        return UpstreamFailure(ErrorKind.MODEL_ABSENT, "the server does not have the model", status=status)
    return classify(status, headers, body)


_NATIVE = NativeApi(
    root=lambda base: base.removesuffix("/v1"),
    lists=(Call("GET", "/api/v1/models"),),
    models=_models,
    load=_load,
    loaded=_loaded,
    unload=_unload,
    pull=_pull,
    progress=_progress,
    failure=_failure,
)

PROVIDER = Provider(
    name="lmstudio",
    base_url="http://localhost:1234/v1",
    speaks={
        "openai_chat": "/chat/completions",
        "openai_completions": "/completions",
        "openai_responses": "/responses",
        "openai_embeddings": "/embeddings",
        "anthropic_messages": "/messages",
    },
    auth=bearer,
    classify=classify,
    # It gives one answer, whatever `n` says (its documents, 2026-04). An object as `tool_choice` is refused (its bug
    # tracker, 670); pictures are taken as data only (not checked); some models think in `reasoning`, others under the
    # usual name.
    quirks=Quirks(
        rename={"max_completion_tokens": "max_tokens"},
        drop=("n",),
        choices=frozenset({"auto", "none", "required"}),
        no_forms=frozenset({"json_object"}),  # 189 in its bug tracker
        thinks_as="reasoning",
        inline_images=True,
    ),
    timeouts=LOCAL,
    local=True,
    needs_key=False,
    native=_NATIVE,
)
