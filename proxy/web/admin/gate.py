"""Lets operators in, and nobody else."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.secret import Secret
from proxy.web.identity import digest, presented_key
from proxy.web.respond import error_response


class AdminGate:
    """Wraps the whole namespace, so that a new path is closed until somebody has a key for it."""

    def __init__(self, app: ASGIApp, admin_keys: Sequence[Secret]) -> None:
        self._app = app
        self._digests = [digest(key.reveal()) for key in admin_keys]

    def admits(self, key: str) -> bool:
        """Compares with every key, in a time that depends on none of them."""
        shown = digest(key)
        return sum(hmac.compare_digest(shown, known) for known in self._digests) > 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if self.admits(presented_key(request.headers)):
            await self._app(scope, receive, send)
        else:
            error = ProxyError(ErrorKind.UNKNOWN_KEY, "This path needs an admin key.")
            await error_response(error)(scope, receive, send)
