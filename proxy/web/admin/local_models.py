"""`/admin/models`: the models of local servers, and loading, unloading and pulling them by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from proxy.config.problems import suggest
from proxy.core.decision import Upstream
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.local import LocalModel, Progress
from proxy.engine.live import Live
from proxy.engine.readiness import Readiness
from proxy.web.admin.asked import order_of
from proxy.web.admin.audit import DONE, INTERRUPTED, Book, Entry
from proxy.web.admin.model_facts import rows
from proxy.web.respond import json_response


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    """What the operator sends."""

    action: Literal["load", "unload", "pull"]
    upstream: str
    model: str


class LocalModelsAdmin:
    """The same single flights and accounts as for requests; upstreams without such an API are left out."""

    def __init__(self, live: Live, readiness: Readiness, book: Book) -> None:
        self._live = live
        self._readiness = readiness
        self._book = book
        self._actions: Mapping[str, Callable[[Upstream, str, Entry], Awaitable[Response]]] = {
            "load": self._load,
            "unload": self._unload,
            "pull": self._pull,
        }

    async def list(self, _request: Request) -> Response:
        """All models; of servers that could not be asked, why."""
        upstreams = [u for u in self._live.snapshot.upstreams.values() if u.native is not None and u.disabled is None]
        answers = await asyncio.gather(
            *(self._readiness.look(upstream, detail=True) for upstream in upstreams), return_exceptions=True
        )
        models: list[dict[str, Any]] = []
        failed: dict[str, str] = {}
        for upstream, answer in zip(upstreams, answers, strict=True):
            if isinstance(answer, UpstreamFailure):
                failed[upstream.name] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                owned = self._readiness.owned(upstream.name)
                models += [_describe(upstream, model, is_ours=model.name in owned) for model in answer]
        return json_response({"models": models, "failed": failed, "facts": list(rows(self._live))})

    async def act(self, request: Request) -> Response:
        order = await order_of(request, self._live.server, _Order, "Send {action, upstream, model}")
        with self._book.deed(request, order.action) as entry:
            entry.subject = f"{order.upstream}/{order.model}"
            try:
                return await self._actions[order.action](self._upstream(order.upstream), order.model, entry)
            except UpstreamFailure as failure:
                raise ProxyError(failure.kind, _told(failure)) from failure

    async def _load(self, upstream: Upstream, model: str, _entry: Entry) -> Response:
        started = self._live.clock.monotonic()
        await self._readiness.load(upstream, model)
        return json_response({"ready": True, "seconds": round(self._live.clock.monotonic() - started, 3)})

    async def _unload(self, upstream: Upstream, model: str, _entry: Entry) -> Response:
        count = await self._readiness.unload(upstream, model)
        if not count:
            raise ProxyError(ErrorKind.MODEL_NOT_FOUND, "The model is not in memory.", param="model")
        return json_response({"unloaded": count})

    async def _pull(self, upstream: Upstream, model: str, entry: Entry) -> Response:
        """One line of JSON for each sign of progress; what fails at once has a status of its own."""
        progress = self._readiness.pull(upstream, model)
        first = await anext(progress, None)
        entry.tell("begun")
        return StreamingResponse(_lines(first, progress, entry), media_type="application/x-ndjson")

    def _upstream(self, name: str) -> Upstream:
        every = self._live.snapshot.upstreams.values()
        able = {one.name: one for one in every if one.native is not None and one.disabled is None}
        if name not in able:
            told = f"`{name[:64]}` is no upstream that loads models{suggest(name, able)}"
            raise ProxyError(ErrorKind.BAD_REQUEST, told, param="upstream")
        return able[name]


async def _lines(first: Progress | None, rest: AsyncIterator[Progress], entry: Entry) -> AsyncIterator[bytes]:
    result = INTERRUPTED
    try:
        if first is not None:
            yield _line(first)
            async for progress in rest:
                yield _line(progress)
        result = DONE
    except UpstreamFailure as failure:
        result = failure.kind.label
        yield msgspec.json.encode({"error": _told(failure)}) + b"\n"
    finally:
        entry.tell(result)


def _line(progress: Progress) -> bytes:
    told = {"status": progress.status, "done_bytes": progress.done, "total_bytes": progress.total}
    return msgspec.json.encode(told) + b"\n"


def _told(failure: UpstreamFailure) -> str:
    """Operators may know the details."""
    return f"{failure.kind.facts.message} ({failure.detail})" if failure.detail else failure.kind.facts.message


def _describe(upstream: Upstream, model: LocalModel, *, is_ours: bool) -> dict[str, Any]:
    return {
        "upstream": upstream.name,
        "model": model.name,
        "loaded": bool(model.instances),
        "ours": is_ours,
        "instances": [{"id": one.id, "context": one.context, "busy": one.is_busy} for one in model.instances],
        "longest_context": model.longest,
        "size_bytes": model.size,
        "capabilities": sorted(model.capabilities),
    }
