"""Docker Model Runner: OpenAI's protocol under /engines/v1, errors as plain text; models by its own API beside it.

The native API as its source has it (July 2026). There is no call that loads a model into memory (`/models/load` fills
its store from an archive), but an empty prompt with `x-preload-only` does just that.
"""

from collections.abc import Mapping, Sequence

import msgspec

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.local import Call, Instance, LocalModel, NativeApi, NoRoom, Progress
from proxy.providers import LOCAL, Provider, bearer
from proxy.wire.openai_errors import classify as classify_openai

_KINDS = {
    404: (ErrorKind.MODEL_ABSENT, "the model or its backend is missing"),
    412: (ErrorKind.MODEL_ABSENT, "the model's backend is not installed"),
    500: (ErrorKind.FAULT, "the model could not be loaded"),
    503: (ErrorKind.OVERLOAD, "the runner is not ready"),
}


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """By status: the bodies are sentences for people."""
    if status in _KINDS:
        kind, detail = _KINDS[status]
        return UpstreamFailure(kind, detail, status=status)
    return classify_openai(status, headers, body)


class _Facts(msgspec.Struct):
    context_window: int | None = None


class _Model(msgspec.Struct):
    id: str
    dmr: _Facts = msgspec.field(default_factory=_Facts)


class _Models(msgspec.Struct):
    data: list[_Model]


class _Runner(msgspec.Struct):
    model_name: str
    in_use: bool = False
    loading: bool = False


class _Line(msgspec.Struct):
    type: str
    message: str = ""
    total: int | None = None
    pulled: int | None = None


_NO_ROOM = (b"out of memory", b"insufficient memory", b"not enough memory", b"too big")


def _canonical(name: str) -> str:
    """`smollm2` is `docker.io/ai/smollm2:latest`: registry, organisation and tag have defaults."""
    short = name.removeprefix("index.").removeprefix("docker.io/")
    named = short if "/" in short else f"ai/{short}"
    return named if ":" in named.rpartition("/")[2] else f"{named}:latest"


def _models(answers: Sequence[bytes]) -> tuple[LocalModel, ...]:
    """The store's list and the runners'; a runner that is being started has nothing in memory yet."""
    stored = msgspec.json.decode(answers[0], type=_Models).data
    running: dict[str, list[Instance]] = {}
    for runner in msgspec.json.decode(answers[1], type=list[_Runner] | None) or ():
        if not runner.loading:
            instance = Instance(runner.model_name, is_busy=runner.in_use)
            running.setdefault(_canonical(runner.model_name), []).append(instance)
    return tuple(
        LocalModel(model.id, tuple(running.get(_canonical(model.id), ())), model.dmr.context_window) for model in stored
    )


def _load(model: str, context: int | None) -> tuple[Call, ...]:
    """The context length is a setting of the model's next runner; the preload then waits until that runs."""
    wanted = msgspec.json.encode({"model": model, "messages": []})
    preload = Call("POST", "/engines/v1/chat/completions", wanted, ((b"x-preload-only", b"true"),))
    if context is None:
        return (preload,)
    settings = msgspec.json.encode({"model": model, "context-size": context})
    return (Call("POST", "/engines/_configure", settings), preload)


def _loaded(model: str, context: int | None, _body: bytes) -> Instance:
    return Instance(model, context)


def _unload(instance: str) -> Call:
    return Call("POST", "/engines/unload", msgspec.json.encode({"models": [instance]}))


def _pull(model: str) -> Call:
    return Call("POST", "/models/create", msgspec.json.encode({"from": model}))


def _progress(line: bytes) -> Progress:
    said = msgspec.json.decode(line, type=_Line)
    if said.type == "error":
        raise UpstreamFailure(ErrorKind.FAULT, "the download failed")
    return Progress(said.type, said.pulled, said.total)


def _failure(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    lowered = body.lower()
    if any(text in lowered for text in _NO_ROOM):
        return NoRoom(status=status)
    return classify(status, headers, body)


_NATIVE = NativeApi(
    root=lambda base: base.partition("/engines")[0],
    lists=(Call("GET", "/engines/v1/models"), Call("GET", "/engines/ps")),
    models=_models,
    load=_load,
    loaded=_loaded,
    unload=_unload,
    pull=_pull,
    progress=_progress,
    failure=_failure,
    canonical=_canonical,
)

PROVIDER = Provider(
    name="docker_model_runner",
    base_url="http://localhost:12434/engines/v1",
    speaks={
        "openai_chat": "/chat/completions",
        "openai_completions": "/completions",
        "openai_responses": "/responses",
        "openai_embeddings": "/embeddings",
        "anthropic_messages": "/messages",
    },
    auth=bearer,
    classify=classify,
    timeouts=LOCAL,
    local=True,
    needs_key=False,
    native=_NATIVE,
)
