"""Models on local servers: one `ModelServer` for all of them, driven by what each provider's file says of its API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TypeVar

from proxy.core.decision import Timeouts, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.local import Call, Instance, LocalModel, NativeApi, Progress
from proxy.core.ports import Transport, WireRequest, WireResponse
from proxy.core.secret import Secret

T = TypeVar("T")

_LIMIT = 8 << 20
_DAY = 86_400.0
_QUICK = Timeouts(connect=1.0, tls=2.0, first_byte=5.0, idle=5.0)
_HEAD = ((b"accept", b"application/json"),)
_BODY = ((b"content-type", b"application/json"),)
_ABOUT_US = (ErrorKind.REJECTED, ErrorKind.CONTEXT)
"""What a client would be blamed for; but these requests are ours, and no client has a part in them."""


class LocalModels:
    """Asks each server in its own way; keeps nothing. `Upstream.native` must be there.

    `poll`: seconds between two questions how far a download is, where a server does not tell by itself.
    """

    def __init__(self, transport: Transport, *, poll: float = 1.0) -> None:
        self._transport = transport
        self._poll = poll

    async def models(self, upstream: Upstream, *, detail: bool = False) -> tuple[LocalModel, ...]:
        api = _api(upstream)
        try:
            answers = [await self._ask(upstream, call, _QUICK) for call in api.lists]
        except UpstreamFailure as failure:
            if failure.kind is ErrorKind.MODEL_ABSENT:  # a 404 here is the path's, for no model was named
                raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, failure.detail, status=failure.status) from failure
            raise
        models = _read(api, answers[-1], lambda _: api.models(answers))
        if not detail or api.detail is None or api.detailed is None:
            return models
        found = []
        for model in models:
            try:
                found.append(api.detailed(model, await self._ask(upstream, api.detail(model.name), _QUICK)))
            except (UpstreamFailure, ValueError):
                found.append(model)  # the list is better than nothing
        return tuple(found)

    async def load(self, upstream: Upstream, model: str, context: int | None, patience: float) -> Instance:
        api = _api(upstream)
        answer = b""
        for call in api.load(model, context if api.sizes_context else None):
            answer = await self._ask(upstream, call, _patient(upstream, patience))
        return _read(api, answer, lambda body: api.loaded(model, context, body))

    async def unload(self, upstream: Upstream, instance: str) -> None:
        await self._ask(upstream, _api(upstream).unload(instance), _patient(upstream, _QUICK.attempt))

    async def pull(self, upstream: Upstream, model: str) -> AsyncIterator[Progress]:
        api = _api(upstream)
        call: Call | None = api.pull(model)
        while call is not None:
            again = None
            async for line in self._lines(upstream, call):
                progress = _read(api, line, api.progress)
                again = progress.again
                yield progress
            call = again
            if call is not None:
                await asyncio.sleep(self._poll)

    async def _open(self, upstream: Upstream, call: Call, timeouts: Timeouts) -> WireResponse:
        """Send; the caller closes what it gets. Raises UpstreamFailure for every status beyond 2xx."""
        api = _api(upstream)
        key = upstream.keys[0] if upstream.keys else Secret("")
        head = (*_HEAD, *(_BODY if call.body else ()), *call.headers, *upstream.headers(key))
        path = api.root(upstream.base) + call.path
        response = await self._transport.send(
            WireRequest(upstream.origin, call.method, path, head, call.body, timeouts)
        )
        if 200 <= response.status < 300:
            return response
        try:
            body = await _whole(response)
        finally:
            response.close()
        raise _ours(api.failure(response.status, response.headers, body))

    async def _ask(self, upstream: Upstream, call: Call, timeouts: Timeouts) -> bytes:
        response = await self._open(upstream, call, timeouts)
        try:
            return await _whole(response)
        finally:
            response.close()

    async def _lines(self, upstream: Upstream, call: Call) -> AsyncIterator[bytes]:
        """The lines of an answer that comes over hours, without the empty ones."""
        response = await self._open(upstream, call, _patient(upstream, _DAY))
        rest = b""
        try:
            while piece := await response.read():
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > _LIMIT:
                    raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, "a line without end")
                for line in lines:
                    if line.strip():
                        yield line
            if rest.strip():
                yield rest
        finally:
            response.close()


def _api(upstream: Upstream) -> NativeApi:
    assert upstream.native is not None
    return upstream.native


def _patient(upstream: Upstream, seconds: float) -> Timeouts:
    """A load is silent until it is done."""
    return replace(upstream.timeouts, first_byte=seconds, idle=seconds, attempt=seconds)


def _read(api: NativeApi, body: bytes, reader: Callable[[bytes], T]) -> T:
    """What `reader` makes of an answer of status 200, for one of these servers says with 200 what has failed."""
    try:
        return reader(body)
    except ValueError:
        raise _ours(api.failure(200, {}, body)) from None


def _ours(failure: UpstreamFailure) -> UpstreamFailure:
    if failure.kind in _ABOUT_US:
        return UpstreamFailure(ErrorKind.FAULT, failure.detail, status=failure.status)
    return failure


async def _whole(response: WireResponse) -> bytes:
    body = bytearray()
    while piece := await response.read():
        body += piece
        if len(body) > _LIMIT:
            raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"an answer of more than {_LIMIT} bytes")
    return bytes(body)
