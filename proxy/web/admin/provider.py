"""`POST /admin/provider`: take an upstream out of service for a while, and back."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.config.problems import suggest
from proxy.core.decision import Upstream
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.ports import Pause, PauseStore
from proxy.core.quantities import parse_duration
from proxy.engine.live import Live
from proxy.engine.service import describe_pause
from proxy.web.admin.asked import order_of
from proxy.web.admin.audit import Book, operator
from proxy.web.respond import json_response

log = logging.getLogger("failsoft")

_LONGEST = 366 * 86400.0  # seconds


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    """What the operator sends; `until` is a duration such as `30m`."""

    upstream: str
    state: Literal["maintenance", "active"]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    until: str | None = None


class Provider:
    """Requests under way end as they began. Other workers follow by the store."""

    def __init__(self, live: Live, store: PauseStore, book: Book) -> None:
        self._live = live
        self._store = store
        self._book = book

    async def act(self, request: Request) -> Response:
        usage = "Send {upstream, state: maintenance or active, reason, until?}"
        order = await order_of(request, self._live.server, _Order, usage)
        with self._book.deed(request, order.state) as deed:
            deed.subject, deed.reason = order.upstream, order.reason
            if not order.reason.isprintable():
                raise ProxyError(ErrorKind.BAD_REQUEST, "`reason` is one line of text.", param="reason")
            upstream = self._upstream(order.upstream)
            pause = self._pause(order, operator(request))
            before = self._live.service.pause_of(upstream.name)
            unsaved = await self._keep(upstream, pause)
            self._live.service.set_pause(upstream.name, pause)
        told: dict[str, Any] = {"upstream": upstream.name, "state": order.state, "not_saved_because": unsaved}
        if pause is None:
            return json_response({**told, "was_in_maintenance": before is not None})
        return json_response({**told, "in_flight": self._live.requests_at(upstream.name), **describe_pause(pause)})

    def _pause(self, order: _Order, by: str) -> Pause | None:
        if order.state == "active":
            if order.until is not None:
                raise ProxyError(ErrorKind.BAD_REQUEST, "`until` goes with maintenance only.", param="until")
            return None
        now = self._live.clock.wall()
        until = None if order.until is None else now + timedelta(seconds=_duration(order.until))
        return Pause(order.reason, by, now, until)

    async def _keep(self, upstream: Upstream, pause: Pause | None) -> str | None:
        """For the other workers and the next start; if that cannot be, why. The order holds here nevertheless."""
        try:
            await asyncio.to_thread(self._store.put, upstream.name, pause)
        except OSError as error:
            log.error("the order to %s is kept in this process only: %s", upstream.name, error.strerror)
            return str(error.strerror)
        return None

    def _upstream(self, name: str) -> Upstream:
        upstreams = {u.name: u for u in self._live.snapshot.upstreams.values() if not u.offline}
        if name not in upstreams:
            told = f"There is no upstream `{name[:64]}`{suggest(name, upstreams)}"
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
