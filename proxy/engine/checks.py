"""Active checks of one's own servers: each is asked for its list of models now and then, beside all requests.

What follows from the answers is `policy/checkup.py`. Vendors are judged by the requests alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from proxy.core.decision import Checking, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import Transport
from proxy.engine.health import keys_of
from proxy.engine.listing import list_models
from proxy.engine.live import Live
from proxy.policy.checkup import Finding

log = logging.getLogger("failsoft")

_FINDINGS: Mapping[ErrorKind, Finding] = {
    # It answers. Whether it has such a list at all shows only where there was one before.
    ErrorKind.REJECTED: Finding.ABSENT,
    ErrorKind.MODEL_ABSENT: Finding.ABSENT,
    ErrorKind.NOT_AN_ANSWER: Finding.ABSENT,
    # It answers, and the keys are the key pool's affair.
    ErrorKind.AUTH: Finding.NOTHING,
    ErrorKind.FORBIDDEN: Finding.NOTHING,
    ErrorKind.MONEY: Finding.NOTHING,
    ErrorKind.THROTTLE: Finding.NOTHING,
}
"""What a failure says of the server; all others are bad."""

_TOO_BUSY = (ErrorKind.FIRST_BYTE_TIMEOUT, ErrorKind.IDLE_TIMEOUT, ErrorKind.OVERLOAD)
"""Kinds that say nothing while the server works on a request of ours: many can do one thing at a time only."""


_WORDS = 200  # characters of a failure that are kept


class Checks:
    """Looks after all upstreams that have a `checking`, each at its own pace."""

    def __init__(self, live: Live, transport: Transport) -> None:
        self._live = live
        self._transport = transport
        self._changed = asyncio.Event()

    async def keep(self) -> None:
        """For ever: check whoever is to be checked."""
        while True:
            self._changed.clear()
            async with asyncio.TaskGroup() as group:
                watches = [group.create_task(self._watch(*checked)) for checked in self._checked()]
                await self._changed.wait()
                for watch in watches:
                    watch.cancel()

    def outdate(self) -> None:
        """There may be other upstreams now."""
        self._live.service.adopt(self._live.snapshot.upstreams)
        self._changed.set()

    async def check(self, upstream: Upstream, limits: Checking) -> None:
        """Ask once, and draw the conclusions."""
        finding, why = await self._look(upstream, limits.timeout)
        if not self._live.service.note(upstream, finding, why, limits):
            return
        if self._live.is_down(upstream.name):
            log.warning("%s is down: %s", upstream.name, self._live.why_down(upstream.name))
        else:
            log.info("%s is up again", upstream.name)
            self._live.health.hurry(upstream.name)

    def _checked(self) -> list[tuple[Upstream, Checking]]:
        upstreams = self._live.snapshot.upstreams.values()
        return [(u, u.checking) for u in upstreams if u.checking is not None and u.disabled is None]

    async def _watch(self, upstream: Upstream, limits: Checking) -> None:
        """For ever; after a reload the first check comes when it would have come without."""
        while True:
            due = self._live.service.checkup(upstream).due
            await asyncio.sleep(due - self._live.clock.monotonic())
            await self.check(upstream, limits)

    async def _look(self, upstream: Upstream, seconds: float) -> tuple[Finding, str]:
        try:
            async with asyncio.timeout(seconds):
                await list_models(self._transport, upstream, keys_of(upstream)[0])
        except TimeoutError:
            is_busy = self._live.requests_at(upstream.name) > 0
            return Finding.NOTHING if is_busy else Finding.BAD, f"no list of models within {seconds:g} s"
        except UpstreamFailure as failure:
            is_busy = failure.kind in _TOO_BUSY and self._live.requests_at(upstream.name) > 0
            return Finding.NOTHING if is_busy else _FINDINGS.get(failure.kind, Finding.BAD), _words(failure)
        return Finding.GOOD, ""


def _words(failure: UpstreamFailure) -> str:
    """For people and their terminals: the server's own words may be among them."""
    return "".join(letter if letter.isprintable() else " " for letter in str(failure)[:_WORDS])
