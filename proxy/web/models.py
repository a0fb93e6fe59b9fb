"""`GET /v1/models`: the names a caller may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy.core.errors import ErrorKind, ProxyError
from proxy.engine.catalog import Catalog
from proxy.engine.live import Live
from proxy.web.identity import identify
from proxy.web.respond import json_response


class Models:
    """The two endpoints; what an upstream lists shows as `upstream/model`."""

    def __init__(self, live: Live, catalog: Catalog) -> None:
        self._live = live
        self._catalog = catalog
        self._created = int(live.clock.wall().timestamp())

    async def list(self, request: Request) -> Response:
        identify(request.headers, self._live.snapshot)
        await self._catalog.refresh()
        return json_response({"object": "list", "data": [self._describe(*entry) for entry in self._entries()]})

    async def retrieve(self, request: Request) -> Response:
        identify(request.headers, self._live.snapshot)
        await self._catalog.refresh()
        wanted = request.path_params["id"]
        for name, owner in self._entries():
            if name == wanted:
                return json_response(self._describe(name, owner))
        raise ProxyError(ErrorKind.MODEL_NOT_FOUND, f"The model {wanted[:256]!r} does not exist.", param="model")

    def _entries(self) -> Iterator[tuple[str, str]]:
        snapshot = self._live.snapshot
        yield from ((name, "failsoft") for name in snapshot.models)
        for upstream in snapshot.upstreams.values():
            if upstream.disabled is None:
                listed = self._live.listed(upstream.name) or ()
                yield from ((f"{upstream.name}/{model}", upstream.name) for model in sorted(listed))

    def _describe(self, name: str, owner: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": owner}
