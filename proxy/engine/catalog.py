"""Which models the upstreams list, asked in the background and never on a request's time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from proxy.core.decision import Upstream
from proxy.core.errors import UpstreamFailure
from proxy.core.local import LocalModel, told_of
from proxy.core.ports import Transport
from proxy.engine.health import NO_KEY
from proxy.engine.listing import list_models
from proxy.engine.live import Live
from proxy.engine.readiness import Readiness

_WHOLE = 10.0  # seconds for one list in all; less than the age at which it is asked for again
_AGE = 15.0  # seconds a list is taken for fresh when somebody looks at it


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
        while self._running is not None or self._live.clock.monotonic() - self._asked_at >= _AGE:
            if self._running is None:
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
            await asyncio.gather(*(self._ask_in_time(upstream) for upstream in enabled))
        finally:
            self._running = None

    async def _ask_in_time(self, upstream: Upstream) -> None:
        """An upstream that drips its list is as good as silent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WHOLE):
                await self._ask(upstream)

    async def _ask(self, upstream: Upstream) -> None:
        """Where models are loaded before they are asked, all that can be loaded count as listed.

        What a list does not come with keeps what was known before.
        """
        models = await self._look(upstream)
        if models and upstream.keep is not None:
            self._live.note_listed(upstream.name, [model.name for model in models])
            return
        with contextlib.suppress(UpstreamFailure):  # what failed shows in the first real attempt
            key = upstream.keys[0] if upstream.keys else NO_KEY
            found = await list_models(self._transport, upstream, key)
            self._live.note_listed(upstream.name, found)
            if upstream.native is None:
                self._live.note_told(upstream, found)

    async def _look(self, upstream: Upstream) -> Sequence[LocalModel]:
        """What a server says of its memory; nothing if it has no API for that, or is older than it."""
        if upstream.native is None:
            return ()
        try:
            models = await self._readiness.look(upstream, detail=True)
        except UpstreamFailure:
            return ()
        sizes = upstream.native.sizes_context
        told = {model.name: told_of(model, upstream.keep, sizes_context=sizes) for model in models}
        self._live.note_told(upstream, told)
        return models
