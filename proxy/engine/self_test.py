"""Runs the offline path now and then, so that it does work on the day it is needed.

By the same attempts, dialects and rules as for a real request, streamed and not; but nobody is sent anything, and it
stands in no record and no statistics.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from proxy.config.bind import OFFLINE
from proxy.core.decision import Target
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.request import Inbound, Tenant
from proxy.engine.attempt import Attempts
from proxy.engine.captured import CapturedReply
from proxy.engine.delivery import Delivery
from proxy.engine.health import NO_KEY
from proxy.engine.heartbeat import Heartbeat
from proxy.engine.journey import Journey
from proxy.engine.live import Live
from proxy.synth.answer import LEVELS
from proxy.wire.dialects import InboundDialect

log = logging.getLogger("failsoft")

_WELL = "ok"
_SILENT = "has nothing to say"

_ID = "self-test"
_PATH = "/v1/chat/completions"
_NOBODY = Tenant("(self-test)")  # no name a file would give
_PROMPT = "Which models can you reach?"
_PATIENCE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run: a word for each level that is configured and built in."""

    at: datetime
    levels: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """No level failed, and one of them answered."""
        return _WELL in self.levels.values() and set(self.levels.values()) <= {_WELL, _SILENT}

    def describe(self) -> dict[str, Any]:
        """The form shown under `/admin/health`."""
        return {"ok": self.ok, "at": self.at.isoformat(timespec="seconds"), "levels": dict(self.levels)}


class SelfTest:
    """One per process. `last` is None before the first run, and where there is nothing to run."""

    def __init__(self, live: Live, attempts: Attempts, chat: InboundDialect) -> None:
        self._live = live
        self._attempts = attempts
        self._chat = chat
        self._changed = asyncio.Event()
        self.last: Result | None = None

    async def keep(self) -> None:
        """For ever: run, then wait for the time that is configured, or until the configuration changes."""
        while True:
            self._changed.clear()
            every = self._live.snapshot.config.offline.self_test
            if every != "never":
                await self.run()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if every == "never" else every):
                    await self._changed.wait()

    def outdate(self) -> None:
        """Other rules are in force now."""
        self._changed.set()

    async def run(self) -> None:
        """Ask every level once; a failure is an error in the log, each time."""
        levels = [level for level in self._live.snapshot.config.offline.levels if level in LEVELS]
        if not levels:
            self.last = None
            return
        was_well = self.last is None or self.last.ok
        self.last = Result(self._live.clock.wall(), {level: await self._ask(level) for level in levels})
        if not self.last.ok:
            log.error("the self-test of offline answers failed: %s", self.last.levels)
        elif not was_well:
            log.info("the self-test of offline answers is well again")

    async def _ask(self, level: str) -> str:
        try:
            async with asyncio.timeout(_PATIENCE):
                for stream in (False, True):
                    await self._deliver(level, stream=stream)
        except UpstreamFailure as failure:
            return _SILENT if failure.kind is ErrorKind.OFFLINE_UNAVAILABLE else str(failure)
        except (ProxyError, TimeoutError) as error:
            return f"failed: {error}" if str(error) else "took too long"
        return _WELL

    async def _deliver(self, level: str, *, stream: bool) -> None:
        """Raises UpstreamFailure for everything that is not a whole answer with words in it."""
        reply = CapturedReply()
        delivery = self._delivery(level, reply, stream=stream)
        try:
            broke = await self._attempts.make(delivery, _target(self._live, level), NO_KEY)
        finally:
            if delivery.heartbeat is not None:
                delivery.heartbeat.stop()
        journey = delivery.journey
        is_whole = reply.status == 200 and (not stream or reply.body.endswith(b"data: [DONE]\n\n"))
        if broke is not None or not is_whole or journey.offline != level or not journey.usage.completion:
            raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, "streamed" if stream else "whole")

    def _delivery(self, level: str, reply: CapturedReply, *, stream: bool) -> Delivery:
        clock = self._live.clock
        now = clock.monotonic()
        question = {"model": f"{OFFLINE}/{level}", "messages": [{"role": "user", "content": _PROMPT}], "stream": stream}
        body = msgspec.json.encode(question)
        journey = Journey(_ID, _ID, _PATH, now, clock.wall())
        peek = self._chat.peek(body)
        inbound = Inbound(_ID, _ID, self._chat.name, _PATH, {}, body, peek, _NOBODY, now)
        heartbeat = Heartbeat(_PATIENCE, _PATIENCE, _nothing, reply.write) if stream else None
        deadline = now + _PATIENCE
        return Delivery(journey, inbound, self._chat, reply, self._live.snapshot, heartbeat, deadline, len(body))


def _target(live: Live, level: str) -> Target:
    return Target(live.snapshot.upstreams[OFFLINE], level)


async def _nothing() -> None:
    """There is nobody who waits."""
