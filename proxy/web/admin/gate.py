"""Lets operators in, and nobody else."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.core.digest import digest
from proxy.core.errors import ErrorKind, ProxyError
from proxy.web.identity import Identities, presented_key
from proxy.web.respond import error_response


class AdminGate:
    """Wraps the whole namespace, so that a new path is closed until somebody has a key for it."""

    def __init__(self, app: ASGIApp, identities: Identities) -> None:
        self._app = app
        self._identities = identities

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if self._identities.is_admin(digest(presented_key(request.headers))):
            await self._app(scope, receive, send)
        else:
            error = ProxyError(ErrorKind.UNKNOWN_KEY, "This path needs an admin key.")
            await error_response(error)(scope, receive, send)
