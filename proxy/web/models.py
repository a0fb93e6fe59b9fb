"""`GET /v1/models`: the names a caller may ask for."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy.core.errors import ErrorKind, ProxyError
from proxy.engine.catalog import Catalog
from proxy.engine.live import Live
from proxy.web.identity import Identities
from proxy.web.respond import json_response


class Models:
    """The two endpoints; what an upstream lists shows as `upstream/model`."""

    def __init__(self, live: Live, catalog: Catalog, identities: Identities) -> None:
        self._live = live
        self._identities = identities
        self._catalog = catalog
        self._created = int(live.clock.wall().timestamp())

    async def list(self, request: Request) -> Response:
        names = await self._names(request)
        return json_response({"object": "list", "data": [self._describe(name) for name in names]})

    async def retrieve(self, request: Request) -> Response:
        wanted = request.path_params["id"]
        if wanted in await self._names(request):
            return json_response(self._describe(wanted))
        raise ProxyError(ErrorKind.MODEL_NOT_FOUND, f"The model {wanted[:256]!r} does not exist.", param="model")

    async def _names(self, request: Request) -> tuple[str, ...]:
        """What this caller's plan lets it see."""
        snapshot = self._live.snapshot
        tenant, _ = self._identities.identify(request.headers, snapshot)
        await self._catalog.refresh()
        return snapshot.table.names.visible(tenant.plan, self._live)

    def _describe(self, name: str) -> dict[str, Any]:
        upstream, is_target, _ = name.partition("/")
        owner = upstream if is_target else "failsoft"
        return {"id": name, "object": "model", "created": self._created, "owned_by": owner}
