"""`POST /admin/explain`: where a request would go now and why, by the very table and health that requests meet."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.config.prospect import answer
from proxy.config.question import CHAT, Question, assume
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.quantities import parse_moment
from proxy.engine.live import Live
from proxy.web.admin.asked import order_of
from proxy.web.respond import json_response
from proxy.wire.dialects import UpstreamDialect


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    """What the operator sends: a request's body, who sends it, when, and what is to be assumed otherwise."""

    request: msgspec.Raw
    plan: str | None = None
    tenant: str | None = None
    headers: dict[str, str] = {}
    at: str | None = None
    endpoint: str = CHAT
    assume: dict[str, str] = {}


class Explain:
    """Asks the current snapshot, with the live state as it is; nothing is sent anywhere."""

    def __init__(self, live: Live, dialects: Mapping[str, UpstreamDialect]) -> None:
        self._live = live
        self._dialects = dialects

    async def explain(self, request: Request) -> Response:
        snapshot = self._live.snapshot
        asked = await order_of(request, self._live.server, _Question, "This cannot be explained")
        try:
            moment = self._live.clock.wall() if asked.at is None else parse_moment(asked.at)
            view = assume(self._live, asked.assume, snapshot.upstreams)
        except ValueError as error:
            raise ProxyError(ErrorKind.BAD_REQUEST, f"This cannot be explained: {error}") from None
        headers = {name.lower(): value for name, value in asked.headers.items()}
        question = Question(bytes(asked.request), asked.endpoint, headers, asked.tenant, asked.plan)
        return json_response(answer(question, snapshot, self._dialects, view, lambda: moment).as_json())
