"""`POST /admin/provider`: take an upstream out of service for a while, and back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.config.problems import suggest
from proxy.core.decision import Upstream
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.quantities import parse_duration
from proxy.engine.live import Live
from proxy.engine.service import describe_pause
from proxy.web.admin.asked import order_of
from proxy.web.admin.audit import Book, operator
from proxy.web.respond import json_response

_LONGEST = 366 * 86400.0  # seconds


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    """What the operator sends; `until` is a duration such as `30m`."""

    upstream: str
    state: Literal["maintenance", "active"]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    until: str | None = None


class Provider:
    """Acts on this process; requests under way end as they began."""

    def __init__(self, live: Live, book: Book) -> None:
        self._live = live
        self._book = book

    async def act(self, request: Request) -> Response:
        told = "Send {upstream, state: maintenance or active, reason, until?}"
        order = await order_of(request, self._live.server, _Order, told)
        with self._book.deed(request, order.state) as deed:
            deed.subject, deed.reason = order.upstream, order.reason
            upstream = self._upstream(order.upstream)
            if order.state == "active":
                return json_response(self._resume(upstream, order))
            return json_response(self._pause(upstream, order, operator(request)))

    def _pause(self, upstream: Upstream, order: _Order, by: str) -> dict[str, Any]:
        seconds = None if order.until is None else _duration(order.until)
        pause = self._live.service.pause(upstream.name, order.reason, by, seconds)
        in_flight = self._live.requests_at(upstream.name)
        return {"upstream": upstream.name, "state": order.state, "in_flight": in_flight, **describe_pause(pause)}

    def _resume(self, upstream: Upstream, order: _Order) -> dict[str, Any]:
        if order.until is not None:
            raise ProxyError(ErrorKind.BAD_REQUEST, "`until` goes with maintenance only.", param="until")
        was_paused = self._live.service.resume(upstream.name)
        return {"upstream": upstream.name, "state": order.state, "was_in_maintenance": was_paused}

    def _upstream(self, name: str) -> Upstream:
        upstreams = {u.name: u for u in self._live.snapshot.upstreams.values() if not u.offline}
        if name not in upstreams:
            told = f"There is no upstream `{name[:64]}`{suggest(name, upstreams)}."
            raise ProxyError(ErrorKind.MODEL_NOT_FOUND, told, param="upstream", code="upstream_not_found")
        return upstreams[name]


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ProxyError(ErrorKind.BAD_REQUEST, f"`until`: {error}", param="until") from None
    if not 0 < seconds <= _LONGEST:
        raise ProxyError(ErrorKind.BAD_REQUEST, "`until` is more than nothing and at most 366d.", param="until")
    return seconds
