"""Which models the upstreams list, asked in the background and never on a request's time."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from proxy.core.decision import Timeouts, Upstream
from proxy.core.errors import UpstreamFailure
from proxy.core.ports import Transport, WireRequest
from proxy.engine.attempt import NO_KEY
from proxy.engine.live import Live
from proxy.engine.readiness import Readiness

_PATIENCE = Timeouts(connect=1.0, tls=2.0, first_byte=5.0, idle=5.0)
_LIST_LIMIT = 8 << 20
_AGE = 15.0  # seconds a list is taken for fresh when somebody looks at it


class _Model(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Model]


class Catalog:
    """Keeps `Live` informed; `refresh` is cheap to call and runs once at a time."""

    def __init__(self, live: Live, transport: Transport, readiness: Readiness) -> None:
        self._live = live
        self._transport = transport
        self._readiness = readiness
        self._asked_at = float("-inf")
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Ask all enabled upstreams, unless that was done a moment ago; an upstream that fails keeps its last list."""
        if self._running is None:
            if self._live.clock.monotonic() - self._asked_at < _AGE:
                return
            self._running = asyncio.create_task(self._ask_all())
        await asyncio.shield(self._running)

    def outdate(self) -> None:
        """There may be other upstreams now: what was asked before, or is being asked, does not count."""
        self._asked_at = float("-inf")
        self._changed.set()

    async def keep_fresh(self, every: float) -> None:
        """For ever: refresh, then wait `every` seconds or until the upstreams change."""
        while True:
            self._changed.clear()
            await self.refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await self._changed.wait()

    async def _ask_all(self) -> None:
        try:
            self._asked_at = self._live.clock.monotonic()
            enabled = [u for u in self._live.snapshot.upstreams.values() if u.disabled is None and u.models_path]
            await asyncio.gather(*(self._ask(upstream) for upstream in enabled))
        finally:
            self._running = None

    async def _ask(self, upstream: Upstream) -> None:
        """Where models are loaded before they are asked, all that can be loaded count as listed."""
        if upstream.native is not None:
            try:
                models = await self._readiness.look(upstream)
            except UpstreamFailure:
                models = ()  # the server may be older than that API
            if models and upstream.keep is not None:
                self._live.note_listed(upstream.name, [model.name for model in models])
                return
        await self._ask_list(upstream)

    async def _ask_list(self, upstream: Upstream) -> None:
        key = upstream.keys[0] if upstream.keys else NO_KEY
        head = ((b"accept", b"application/json"), *upstream.headers(key))
        path = f"{upstream.base}{upstream.models_path}"
        try:
            response = await self._transport.send(WireRequest(upstream.origin, "GET", path, head, b"", _PATIENCE))
        except UpstreamFailure:
            return
        try:
            body = bytearray()
            while piece := await response.read():
                body += piece
                if len(body) > _LIST_LIMIT:
                    return
            models = msgspec.json.decode(bytes(body), type=_List).data
        except (UpstreamFailure, msgspec.MsgspecError):
            return  # the list is a convenience: what failed shows in the first real attempt
        finally:
            response.close()
        if response.status == 200:
            self._live.note_listed(upstream.name, [model.id for model in models])
