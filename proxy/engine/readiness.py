"""Has local models in memory before requests go out to them, and unloads what it loaded when it is idle.

What to do is `policy/residence.py`; here it is done, one change per server at a time, each load once for all who wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from proxy.core.decision import Upstream
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.local import Instance, Keep, LocalModel, NativeApi, NoRoom, Progress
from proxy.core.ports import ModelServer, Turn
from proxy.engine.live import Live
from proxy.policy.residence import TRUST, Absent, Ask, Full, Load, Ready, Residence, Step, Unload, Wait

log = logging.getLogger("failsoft")

_AT_ONCE: AbstractAsyncContextManager[None] = nullcontext()


def _alone(_url: str) -> AbstractAsyncContextManager[None]:
    return _AT_ONCE


_KEPT = (ErrorKind.MODEL_ABSENT, ErrorKind.AUTH, ErrorKind.CONNECT, ErrorKind.TLS, ErrorKind.OVERLOAD)
"""Kinds that keep their name when a load fails; everything else is the server's fault."""
_SHORTEST_PAUSE = 0.05  # seconds between two looks at what is idle


@dataclass(frozen=True, slots=True)
class Wish:
    """A model for a prompt of about `prompt` tokens, with `answer` tokens to follow if the caller said so."""

    model: str
    prompt: int = 0
    answer: int | None = None


class Readying(Protocol):
    """What an attempt asks before it sends."""

    def hold(self, upstream: Upstream, wish: Callable[[], Wish], left: float) -> AbstractAsyncContextManager[None]:
        """Entered when the model is ready, within `left` seconds; the model stays until it is left.

        A server that does not know its own kind's API is left to itself.
        Raises UpstreamFailure: MODEL_ABSENT, OVERLOAD (no room), DEADLINE, FAULT and what a connection may come to.
        """
        ...

    def check(self, upstream: Upstream, asked: str, told: str) -> None:
        """Raises UpstreamFailure if the server `told` that another of its models answers than the one it was asked for.

        MODEL_ABSENT where that is the server's affair; FAULT where we had loaded the model, for then it can be again.
        """
        ...


@dataclass(slots=True)
class _Flight:
    """One way to a ready model; who is the last to leave cancels it."""

    task: asyncio.Task[None]
    waiting: int = 0


@dataclass(eq=False, slots=True)
class _Server:
    """One upstream's memory. `turn`: who holds it may change what is loaded. `is_loading`: that takes its time now."""

    url: str
    residence: Residence
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    flights: dict[object, _Flight] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    is_loading: bool = False

    def wake(self) -> None:
        """Something changed that somebody may wait for."""
        self.changed.set()
        self.changed = asyncio.Event()


class Readiness:
    """One per process; keyed by the upstreams' names, so that it outlives snapshots.

    `turn` keeps processes from loading the same model at the same time; without one this process is alone.
    """

    def __init__(self, live: Live, models: ModelServer, turn: Turn = _alone) -> None:
        self._live = live
        self._turn = turn
        self._models = models
        self._servers: dict[str, _Server] = {}
        self._news = asyncio.Event()

    def hold(self, upstream: Upstream, wish: Callable[[], Wish], left: float) -> AbstractAsyncContextManager[None]:
        """See `Readying`; nothing to wait for where `ensure_loaded` is not written."""
        if upstream.keep is None or upstream.native is None:
            return _AT_ONCE
        return self._held(upstream, upstream.native, upstream.keep, wish(), left)

    def check(self, upstream: Upstream, asked: str, told: str) -> None:
        """See `Readying`; names that the server has never listed say nothing."""
        server = self._servers.get(upstream.name)
        if server is None or told == asked or not server.residence.is_another(asked, told):
            return
        kind = ErrorKind.MODEL_ABSENT if upstream.keep is None else ErrorKind.FAULT
        raise UpstreamFailure(kind, f"another model answered: {told}")

    async def load(self, upstream: Upstream, model: str) -> None:
        """Load because the operator says so; it is ours from then on."""
        assert upstream.native is not None
        keep = upstream.keep or Keep()
        async with self._held(upstream, upstream.native, keep, Wish(model), keep.patience):
            pass

    async def unload(self, upstream: Upstream, model: str) -> int:
        """Unload all instances of a model, whoever loaded them; how many there were.

        Raises ProxyError (409) while one of our requests uses it.
        """
        assert upstream.native is not None
        server = self._server(upstream, upstream.native)
        async with server.turn:
            await self._ask(upstream, server)
            if server.residence.is_busy(model):
                raise ProxyError(ErrorKind.BAD_REQUEST, "The model is in use.", param="model", status=409)
            found = server.residence.find(model)
            for instance in found:
                await self._unload(upstream, server, instance)
        return len(found)

    async def look(self, upstream: Upstream, *, detail: bool = False) -> tuple[LocalModel, ...]:
        """What the server has. While a load is under way only told, not remembered: it may be over by then."""
        assert upstream.native is not None
        server = self._server(upstream, upstream.native)
        if server.turn.locked():
            return await self._models.models(upstream, detail=detail)
        async with server.turn:
            return await self._ask(upstream, server, detail=detail)

    async def pull(self, upstream: Upstream, model: str) -> AsyncIterator[Progress]:
        """Have the server download a model."""
        assert upstream.native is not None
        log.info("%s pulls %s", upstream.name, model)
        async for progress in self._models.pull(upstream, model):
            yield progress
        self._server(upstream, upstream.native).residence.doubt()

    def owned(self, upstream: str) -> frozenset[str]:
        """The models there that we loaded."""
        server = self._servers.get(upstream)
        return server.residence.owned if server else frozenset()

    async def keep(self) -> None:
        """For ever: unload what has been idle for its time to live."""
        while True:
            news = self._news
            pause = await self.sweep()
            try:
                async with asyncio.timeout(pause):
                    await news.wait()
            except TimeoutError:
                continue

    async def sweep(self) -> float | None:
        """Unload what is due now; returns the seconds until the next look, None if there is nothing to look for."""
        pauses = []
        for upstream in self._live.snapshot.upstreams.values():
            server = self._servers.get(upstream.name)
            if server is None or upstream.keep is None or upstream.keep.ttl is None or upstream.disabled is not None:
                continue
            await self._unload_idle(upstream, server, upstream.keep)
            due = server.residence.next_due(upstream.keep)
            if due is not None:
                pauses.append(due - self._live.clock.monotonic())
            elif server.residence.has_claims:
                pauses.append(upstream.keep.ttl)
        return max(_SHORTEST_PAUSE, min(pauses)) if pauses else None

    @asynccontextmanager
    async def _held(
        self, upstream: Upstream, api: NativeApi, keep: Keep, wish: Wish, left: float
    ) -> AsyncIterator[None]:
        server = self._server(upstream, api)
        residence = server.residence
        residence.join(wish.model, wish.prompt, wish.answer)
        is_ready = False
        try:
            async with asyncio.timeout(left):
                while not self._is_ready(server, wish.model, keep):
                    await self._fly(upstream, server, keep, wish.model)
            is_ready = True
        except TimeoutError:
            raise UpstreamFailure(ErrorKind.DEADLINE, "while a model was being loaded", sent=False) from None
        except UpstreamFailure as failure:
            if failure.kind is not ErrorKind.NOT_AN_ANSWER:
                raise
            is_ready = True  # an older server without that API may load by itself
            log.warning("%s cannot be asked for its models: %s", upstream.name, failure)
        finally:
            if not is_ready:
                residence.quit(wish.model)
        residence.enter(wish.model)
        try:
            yield
        except UpstreamFailure:
            residence.doubt()
            raise
        finally:
            residence.leave(wish.model, self._live.clock.monotonic())
            server.wake()
            self._tell()

    def _is_ready(self, server: _Server, model: str, keep: Keep) -> bool:
        now, residence = self._live.clock.monotonic(), server.residence
        if isinstance(residence.step(model, keep, now, since=now), Ready):
            return True
        return server.is_loading and residence.is_at_hand(model, keep)

    async def _fly(self, upstream: Upstream, server: _Server, keep: Keep, model: str) -> None:
        """Join the flight to a model, or start it."""
        key: object = model if keep.shares else object()
        flight = server.flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(self._bring(upstream, server, keep, model)))
            flight.task.add_done_callback(_retrieve)
            server.flights[key] = flight
        flight.waiting += 1
        try:
            await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()
            if server.flights.get(key) is flight and (flight.task.done() or not flight.waiting):
                del server.flights[key]

    async def _bring(self, upstream: Upstream, server: _Server, keep: Keep, model: str) -> None:
        """Step by step until the model is ready; while it waits, others may change what is loaded."""
        residence = server.residence
        since = self._live.clock.monotonic()
        refused: frozenset[str] | None = None  # what was in memory when the server had no room
        try:
            async with asyncio.timeout(keep.patience) as timer:
                while True:
                    changed = server.changed
                    async with server.turn:
                        now = self._live.clock.monotonic()
                        step = residence.step(model, keep, now, since=since, crowded=refused == residence.instances)
                        if isinstance(step, Ready):
                            return
                        if isinstance(step, Load):
                            if not await self._load_once(upstream, server, keep, model, step.context):
                                refused = residence.instances
                        else:
                            await self._take(step, upstream, server, keep)
                    if isinstance(step, Wait):
                        await self._pause(changed, step.until)
                    elif isinstance(step, Absent):
                        timer.reschedule(None)  # a download takes as long as it takes
                        async for _ in self.pull(upstream, model):
                            pass
                        timer.reschedule(asyncio.get_running_loop().time() + keep.patience)
        except TimeoutError:
            raise UpstreamFailure(ErrorKind.FAULT, f"not loaded within {keep.patience:g} s", sent=False) from None

    async def _take(self, step: Step, upstream: Upstream, server: _Server, keep: Keep) -> None:
        """What is neither a load nor a wait."""
        match step:
            case Ask():
                await self._ask(upstream, server)
            case Unload():
                await self._unload(upstream, server, step.instance)
            case Absent() if not keep.pulls:
                raise UpstreamFailure(ErrorKind.MODEL_ABSENT, "the server does not have the model", sent=False)
            case Full():
                raise NoRoom("no memory left, and nothing that the proxy loaded could make room")

    async def _load_once(
        self, upstream: Upstream, server: _Server, keep: Keep, model: str, context: int | None
    ) -> bool:
        """Load, unless another process has done that while it was not our turn; false if the server has no room."""
        server.is_loading = True
        try:
            async with self._turn(upstream.url):
                await self._ask(upstream, server)
                if server.residence.find(model):
                    return True
                return await self._load(upstream, server, keep, model, context)
        finally:
            server.is_loading = False

    async def _load(self, upstream: Upstream, server: _Server, keep: Keep, model: str, context: int | None) -> bool:
        """Load; false if the server has no room."""
        residence, clock = server.residence, self._live.clock
        started = clock.monotonic()
        # If nobody waits to the end, whether the server goes on is its own affair; the claim says whose it would be.
        residence.claim(model, started + 2 * keep.patience)
        try:
            loaded = await self._models.load(upstream, model, context, keep.patience)
        except NoRoom:
            residence.disclaim(model)
            return False
        except UpstreamFailure as failure:
            residence.disclaim(model)
            if failure.kind in _KEPT:
                raise
            raise UpstreamFailure(ErrorKind.FAULT, f"the model was not loaded: {failure}", sent=False) from failure
        residence.settle(model, loaded, clock.monotonic())
        log.info("%s loaded %s in %.1f s (context %s)", upstream.name, model, clock.monotonic() - started, context)
        self._changed(upstream, server)
        return True

    async def _unload(self, upstream: Upstream, server: _Server, instance: Instance) -> None:
        try:
            await self._models.unload(upstream, instance.id)
        except UpstreamFailure as failure:
            server.residence.doubt()
            if failure.kind is not ErrorKind.MODEL_ABSENT:
                raise
        server.residence.gone(instance.id)
        log.info("%s unloaded %s", upstream.name, instance.id)
        self._changed(upstream, server)

    async def _unload_idle(self, upstream: Upstream, server: _Server, keep: Keep) -> None:
        """Unload what is due, after a look whether it is still there and idle."""
        residence, clock = server.residence, self._live.clock
        async with server.turn:
            if not residence.due(keep, clock.monotonic()) and not residence.has_claims:
                return
            try:
                await self._ask(upstream, server)
                for due in residence.due(keep, clock.monotonic()):
                    await self._unload(upstream, server, due.instance)
            except UpstreamFailure as failure:
                log.warning("%s: nothing was unloaded: %s", upstream.name, failure)
                for due in residence.due(keep, clock.monotonic()):
                    residence.put_off(due.instance.id, clock.monotonic())

    async def _ask(self, upstream: Upstream, server: _Server, *, detail: bool = False) -> tuple[LocalModel, ...]:
        models = await self._models.models(upstream, detail=detail)
        server.residence.observe(models, self._live.clock.monotonic())
        self._changed(upstream, server)
        return models

    async def _pause(self, changed: asyncio.Event, until: float | None) -> None:
        """Until something changes on the server or `until`; not for long, for others may change it too."""
        seconds = TRUST if until is None else min(TRUST, until - self._live.clock.monotonic())
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

    def _server(self, upstream: Upstream, api: NativeApi) -> _Server:
        """What is known by the upstream's name, as long as the name stands for the same place."""
        server = self._servers.get(upstream.name)
        if server is None or server.url != upstream.url:
            residence = Residence(api.canonical, sizes_context=api.sizes_context)
            server = self._servers[upstream.name] = _Server(upstream.url, residence)
        return server

    def _changed(self, upstream: Upstream, server: _Server) -> None:
        self._live.note_loaded(upstream.name, server.residence.loaded)
        server.wake()
        self._tell()

    def _tell(self) -> None:
        """The watch over idle models has reason to look again."""
        self._news.set()
        self._news = asyncio.Event()


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at the outcome, which nobody may have waited for."""
    if not task.cancelled():
        task.exception()
