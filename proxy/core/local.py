"""Models on a server of one's own: what it holds, and how it is asked to load and unload them, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.family import Told


class NoRoom(UpstreamFailure):
    """The server has no memory left for one more model."""

    def __init__(self, detail: str = "no memory left for the model", *, status: int | None = None) -> None:
        super().__init__(ErrorKind.OVERLOAD, detail, status=status, sent=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """A model in memory.

    `id` is what the server wants to hear in order to unload it. `context` is in tokens, None where the server does
    not say. `is_busy` is true while it works, as far as the server tells.
    """

    id: str
    context: int | None = None
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that the server could answer with, in memory or not.

    `longest` is the context length (tokens) it can be loaded with at most, `size` its bytes on disk, both None if
    unknown. `capabilities` are of `tools`, `images`, `reasoning` and `embeddings`.
    """

    name: str
    instances: tuple[Instance, ...] = ()
    longest: int | None = None
    size: int | None = None
    capabilities: frozenset[str] = frozenset()


def told_of(model: LocalModel, keep: Keep | None, *, sizes_context: bool) -> Told:
    """What routing can know of a local model: the length it is, or would be, in memory with; what it can do."""
    loaded = [one.context for one in model.instances if one.context is not None]
    if keep is not None and sizes_context:
        context = keep.context or model.longest
    else:
        context = max(loaded, default=None) or model.longest
    can = model.capabilities
    return Told(context=context, images="images" in can if can else None, tools=True if "tools" in can else None)


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a server's own API; `path` stands under the API's root, a `body` is JSON."""

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is: the server's own word for it and bytes, None where it does not count.

    `again` is the call that tells more, for servers that are asked over and over instead of streaming.
    """

    status: str
    done: int | None = None
    total: int | None = None
    again: Call | None = None


def as_named(name: str) -> str:
    """Servers that know a model by one name only."""
    return name


@dataclass(frozen=True, slots=True)
class NativeApi:
    """How one kind of server is asked about its models: calls to make, and pure readers of their answers.

    Readers raise UpstreamFailure for what the server says has failed, and MsgspecError for bytes that are not such an
    answer; then, and for every status beyond 2xx, `failure` (status, headers, body) says what it was.

    `root` turns an upstream's base path into the API's root. `models` reads the answers of the calls in `lists`, in
    their order. `load` gives the calls for a model and a context length (None: the server's own choice; always None
    unless `sizes_context`), and `loaded` reads the last answer. `progress` reads one line of a pull's answer, and
    raises where it failed. `detail` and `detailed`: a call per model for what the lists leave out. `canonical` makes
    one of several names of the same model.
    """

    root: Callable[[str], str]
    lists: tuple[Call, ...]
    models: Callable[[Sequence[bytes]], tuple[LocalModel, ...]]
    load: Callable[[str, int | None], tuple[Call, ...]]
    loaded: Callable[[str, int | None, bytes], Instance]
    unload: Callable[[str], Call]
    pull: Callable[[str], Call]
    progress: Callable[[bytes], Progress]
    failure: Callable[[int, Mapping[str, str], bytes], UpstreamFailure]
    sizes_context: bool = True
    detail: Callable[[str], Call] | None = None
    detailed: Callable[[LocalModel, bytes], LocalModel] | None = None
    canonical: Callable[[str], str] = as_named


@dataclass(frozen=True, slots=True)
class Keep:
    """How an upstream's models are kept in memory.

    Seconds: `ttl` without a request until what we loaded is unloaded (None: never), `min_stay` before a model may make
    room for another, `patience` for one load. `context` in tokens, None fits it to the prompt. `most` models of ours
    at once, None as many as the server takes. `shares`: one load for all who wait. `pulls`: download absent models.
    """

    ttl: float | None = None
    context: int | None = None
    shares: bool = True
    pulls: bool = False
    min_stay: float = 60.0
    most: int | None = None
    patience: float = 300.0
