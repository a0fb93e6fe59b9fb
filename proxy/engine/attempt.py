"""One try at one target with one key: build the request, send it, judge the answer, deliver it.

This module is the attempt border: whatever goes wrong inside an attempt comes out as `UpstreamFailure`, unless the
answer had begun, for then the client was told inside its stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from proxy.accounting.estimate import counted
from proxy.core.clock import Clock
from proxy.core.decision import Attempt, Target, Timeouts, Upstream
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.ports import CompileSchema, Transport, WireRequest, WireResponse
from proxy.core.request import Inbound
from proxy.core.secret import Secret
from proxy.core.usage import SpentInVain, tokens_of
from proxy.engine.delivery import Delivery, head_of, params_of, wish_of
from proxy.engine.journey import Journey
from proxy.engine.pictures import Pictures
from proxy.engine.readiness import Readying
from proxy.engine.relay import hold_until_begun, relay
from proxy.engine.vigil import Vigil
from proxy.engine.whole import read_in_time
from proxy.synth.rules import OfflineConfig
from proxy.wire.bridge import LONGEST_ANSWER
from proxy.wire.crossing import Crossing, cross, insist, spoken_at
from proxy.wire.dialects import Answer, Passage, UpstreamDialect

log = logging.getLogger("failsoft")

STREAM_HEAD = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"))

_ERROR_LIMIT = 64 << 10
_TIMERS = (ErrorKind.FIRST_BYTE_TIMEOUT, ErrorKind.FIRST_TOKEN_TIMEOUT, ErrorKind.IDLE_TIMEOUT)
_TIMER_MARGIN = 0.01  # seconds; timers may be early by a little
_LINGER = 5.0  # seconds an upstream may go on after its end mark before its connection is closed


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told of answers, where somebody learns from them.

    `heard`: the headers of an answer that an upstream gave to a key. `began`: the first word of a stream is here, so
    many tokens of prompt and seconds after it was asked for.
    """

    heard: Callable[[Target, Secret, Mapping[str, str]], None]
    began: Callable[[Upstream, int, float], None]


class Attempts:
    """Makes attempts; holds nothing but what all of them share."""

    def __init__(
        self,
        transport: Transport,
        offline: Callable[[OfflineConfig], Transport],
        dialects: Mapping[str, UpstreamDialect],
        ready: Readying,
        clock: Clock,
        compile_schema: CompileSchema,
        ears: Ears,
        pictures: Pictures | None = None,
    ) -> None:
        self._pictures = pictures
        self._ears = ears
        self._transport = transport
        self._offline = offline
        self._dialects = dialects
        self._ready = ready
        self._clock = clock
        self._compile_schema = compile_schema
        self._lingering: set[asyncio.Task[None]] = set()

    async def make(
        self, delivery: Delivery, target: Target, key: Secret, first_token: float | None = None, share: float = 1.0
    ) -> ErrorKind | None:
        """Returns when the client has its answer (None), or when that broke off (why): the client was told so, unless
        others may go on with the story.

        The upstream gets at most `first_token` seconds to begin a stream, where that is less than usual, and only this
        `share` of the usual time for its first byte and token. Raises UpstreamFailure while another target may still
        answer.
        """
        journey, started = delivery.journey, self._clock.monotonic()
        outcome: UpstreamFailure | None = None
        try:
            await self._exchange(delivery, target, key, first_token, share)
        except UpstreamFailure as failure:
            if isinstance(failure, SpentInVain):
                journey.spend(failure.usage)
            outcome = self._blamed(delivery, failure)
            if journey.target is not target or delivery.hop is not None:
                raise outcome from failure.__cause__
            await self._break_off(delivery, outcome)
        except Exception as error:
            log.exception("attempt failed", extra={"request_id": journey.id})
            outcome = UpstreamFailure(ErrorKind.FAULT, type(error).__name__)
            if journey.target is not target or delivery.hop is not None:
                raise outcome from error
            await self._break_off(delivery, outcome)
        except asyncio.CancelledError:
            is_lost = delivery.race is not None and delivery.race.is_lost
            outcome = UpstreamFailure(ErrorKind.HEDGED if is_lost else ErrorKind.CLIENT_GONE)
            raise
        finally:
            journey.attempts.append(self._attempt(delivery, target, key, started, outcome))
        return outcome.kind if outcome else None

    def _attempt(
        self, delivery: Delivery, target: Target, key: Secret, started: float, outcome: UpstreamFailure | None
    ) -> Attempt:
        """What the record says of a try that began at `started` and has just ended."""
        journey, race = delivery.journey, delivery.race
        first = journey.first_token if journey.target is target and delivery.hop is None else None
        return Attempt(
            target.upstream.name,
            target.model,
            key.fingerprint if key else None,
            self._clock.monotonic() - started,
            outcome.kind if outcome else None,
            (outcome.status or 0) if outcome else 200,
            None if first is None else first - (started - journey.started),
            outcome is not None and not target.upstream.offline and _may_be_billed(outcome),
            race is not None and race.is_second,
            tokens_of(delivery.size) if outcome is not None and outcome.kind is ErrorKind.HEDGED else 0,
        )

    def _blamed(self, delivery: Delivery, failure: UpstreamFailure) -> UpstreamFailure:
        """The same, or the deadline if it was that which ran out: then the upstream did not get its usual time."""
        if failure.kind not in _TIMERS or self._clock.monotonic() < delivery.deadline - _TIMER_MARGIN:
            return failure
        return UpstreamFailure(ErrorKind.DEADLINE, failure.detail, sent=failure.sent)

    def hold(self, delivery: Delivery, target: Target) -> AbstractAsyncContextManager[None]:
        """Entered when the target's model is in memory, where that is the proxy's duty; see `Readying.hold`."""
        left = delivery.deadline - self._clock.monotonic()
        return self._ready.hold(target.upstream, lambda: wish_of(delivery, target), left)

    async def _exchange(
        self, delivery: Delivery, target: Target, key: Secret, first_token: float | None, share: float
    ) -> None:
        inbound, upstream, hop = delivery.inbound, target.upstream, delivery.hop
        params = params_of(delivery, target)
        if hop is not None:
            hop.check()
        spoken = self._dialects[spoken_at(target, inbound.dialect, inbound.body, params)]
        if delivery.story is not None:
            spoken = delivery.story.ask_in(spoken, is_last=delivery.journey.tries + 1 >= delivery.most_tries)
        fetcher = self._pictures if upstream.fetches_images else None
        asked = inbound if fetcher is None else await self._brought(delivery, fetcher)
        crossing = self._cross(delivery, asked, target, spoken, params)
        del asked  # an answer may take long, and pictures be large
        head = head_of(delivery, upstream, key)
        path = upstream.base + spoken.path(upstream.paths[spoken.name], target.model, inbound.peek.stream)
        if hop is not None:
            path = hop.path(upstream, path)
        timeouts = self._timeouts(delivery, upstream, first_token, share)
        if crossing.is_gathered:
            timeouts = replace(timeouts, first_byte=timeouts.attempt, first_token=timeouts.attempt)

        def request(number: int) -> WireRequest:
            return WireRequest(upstream.origin, "POST", path, head, crossing.take(number), timeouts)

        delivery.journey.tries += not upstream.offline
        deliver = self._streamed if inbound.peek.stream else self._whole
        await deliver(delivery, target, key, crossing, request)

    async def _brought(self, delivery: Delivery, pictures: Pictures) -> Inbound:
        """The request with its pictures in it. Raises UpstreamFailure UNTRANSLATABLE."""
        try:
            inbound, delivery.pictures = await pictures.brought(delivery.inbound, delivery.pictures or {})
        except ProxyError as error:
            raise _untranslatable(error) from error
        return inbound

    def _cross(
        self, delivery: Delivery, asked: Inbound, target: Target, spoken: UpstreamDialect, params: Mapping[str, Any]
    ) -> Crossing:
        """What was `asked`, as the target gets it. Raises UpstreamFailure UNTRANSLATABLE."""
        journey, hop = delivery.journey, delivery.hop
        created = int(journey.at.timestamp())
        if hop is not None:
            params = {**params, **hop.params(asked.body, target)}
        try:
            crossing = cross(delivery.dialect, spoken, asked, target, params, created, self._compile_schema)
            if journey.decision is not None and journey.decision.strict_translation:
                insist(crossing)
        except ProxyError as error:
            raise _untranslatable(error) from error
        return crossing if hop is None else hop.over(crossing, spoken, target, journey.spent, created)

    def _timeouts(self, delivery: Delivery, upstream: Upstream, first_token: float | None, share: float) -> Timeouts:
        """The upstream's own, shortened to what is left of the request and, for a stream, to `first_token`."""
        timeouts = upstream.timeouts if delivery.inbound.peek.stream else upstream.whole_timeouts
        if share < 1:
            first_byte = share * timeouts.first_byte
            timeouts = replace(timeouts, first_byte=first_byte, first_token=share * timeouts.first_token)
        if first_token is not None and delivery.inbound.peek.stream:
            first_byte = min(timeouts.first_byte, first_token)
            timeouts = replace(timeouts, first_token=min(timeouts.first_token, first_token), first_byte=first_byte)
        left = delivery.deadline - self._clock.monotonic()
        if left >= timeouts.attempt or upstream.offline:
            return timeouts
        if left <= 0:
            raise UpstreamFailure(ErrorKind.DEADLINE, sent=False)
        return replace(timeouts, attempt=left, first_byte=min(timeouts.first_byte, left))

    async def _open(
        self, delivery: Delivery, target: Target, key: Secret, request: WireRequest
    ) -> tuple[WireResponse, Timeouts]:
        """Send, and judge the status; the caller closes what it gets. The request is let go once it is answered."""
        upstream = target.upstream
        transport = self._offline(delivery.snapshot.offline) if upstream.offline else self._transport
        ends = asyncio.get_running_loop().time() + request.timeouts.attempt
        response = await transport.send(request)
        if upstream.meters:
            self._ears.heard(target, key, response.headers)
        if 200 <= response.status < 300:
            return response, request.timeouts
        try:
            body = await read_in_time(response, ends, _ERROR_LIMIT, cut=True)
        finally:
            response.close()
        raise upstream.classify(response.status, response.headers, body)

    async def _whole(
        self, delivery: Delivery, target: Target, key: Secret, crossing: Crossing, request: Callable[[int], WireRequest]
    ) -> None:
        bodies = []
        asked = asyncio.get_running_loop().time()
        for number in range(crossing.count):
            response, timeouts = await self._open(delivery, target, key, request(number))
            try:
                bodies.append(await read_in_time(response, asked + timeouts.attempt, LONGEST_ANSWER))
            finally:
                response.close()
        answer = crossing.answer(bodies)
        self._ready.check(target.upstream, target.model, answer.model)
        journey = self._commit(delivery, target, crossing)
        self._account(delivery, target, answer)
        journey.status = 200
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
        await delivery.reply.start(200, head + journey.receipt())
        await delivery.reply.finish(answer.body)

    async def _streamed(
        self, delivery: Delivery, target: Target, key: Secret, crossing: Crossing, request: Callable[[int], WireRequest]
    ) -> None:
        assert delivery.heartbeat is not None
        reply = delivery.reply
        for number in range(crossing.count):
            passage = crossing.passage(number)
            asked = asyncio.get_running_loop().time()
            response, timeouts = await self._open(delivery, target, key, request(number))
            vigil = Vigil(response, passage, timeouts, asked)
            try:
                held = await hold_until_begun(response, passage)
                vigil.begun()
                self._ready.check(target.upstream, target.model, passage.model)
                if target.upstream.slots.bounds is not None:
                    seconds = asyncio.get_running_loop().time() - asked
                    self._ears.began(target.upstream, tokens_of(delivery.size), seconds)
                if number == 0 and delivery.hop is None:
                    await self._begin(delivery, target, crossing)
                if held:
                    delivery.heartbeat.heard()
                    await reply.write(held)
                await relay(response, passage, reply, delivery.heartbeat, vigil.finished)
                if number == crossing.count - 1:
                    delivery.heartbeat.stop()
                    await reply.finish()
            finally:
                vigil.stop()
                self._part(response, passage)
                if passage.begun:
                    self._account(delivery, target, passage)
                    if delivery.story is not None:
                        delivery.story.note(target, passage.checkpoint)

    async def _begin(self, delivery: Delivery, target: Target, crossing: Crossing) -> None:
        """The commit: from here on this target answers, or the client is told that it broke off."""
        journey = self._commit(delivery, target, crossing)
        journey.status = 200
        journey.first_token = self._clock.monotonic() - journey.started
        if delivery.reply.started:  # a heartbeat was sent: the head is gone, so the receipt goes as comments
            lines = [b": %s: %s\n" % field for field in journey.receipt()]
            await delivery.reply.write(b"".join(lines) + b"\n")
        else:
            await delivery.reply.start(200, [*STREAM_HEAD, *journey.receipt()])

    def _commit(self, delivery: Delivery, target: Target, crossing: Crossing) -> Journey:
        journey = delivery.journey
        if delivery.race is not None:
            journey.hedge = delivery.race.commit()
        journey.target, journey.mode, journey.losses = target, crossing.mode, tuple(crossing.losses)
        journey.offline = target.model if target.upstream.offline else None
        if delivery.story is None:
            delivery.let_go()
        return journey

    def _account(self, delivery: Delivery, target: Target, told: Answer | Passage) -> None:
        """Take over what the answer says of itself; of several answers, to several prompts or to one that was gone on
        with, the usages add up.

        What no model said, and what a stream told of itself before it broke, is counted by us.
        """
        journey = delivery.journey
        if journey.target is not target and delivery.hop is None:
            return
        ours = counted(delivery.size, told.written)
        usage = told.usage or ours
        if told.finish is None or journey.offline is not None:
            usage = replace(usage, completion=max(usage.completion, ours.completion), source="counted")
        journey.spend(usage)
        if delivery.hop is None:
            journey.reported_model = told.model
        journey.ended = told.finish or "stop"
        if told.unknown:
            journey.unknown = {**journey.unknown, **told.unknown}

    def _part(self, response: WireResponse, passage: Passage) -> None:
        """Let go of an upstream; one that has said all but not ended yet gets a moment, on nobody's time."""
        if response.is_complete or not passage.ended:
            response.close()
        else:
            task = asyncio.create_task(self._linger(response))
            self._lingering.add(task)
            task.add_done_callback(self._lingering.discard)

    async def _linger(self, response: WireResponse) -> None:
        """Read what follows the end mark, so that the connection can be used again; not for long."""
        expiry = asyncio.get_running_loop().call_later(_LINGER, response.expire, ErrorKind.IDLE_TIMEOUT)
        try:
            while await response.read():
                pass
        except UpstreamFailure:
            return
        finally:
            expiry.cancel()
            response.close()

    async def _break_off(self, delivery: Delivery, failure: UpstreamFailure) -> None:
        """The answer had begun: tell the client, unless others may go on with it."""
        if delivery.story is None or not delivery.story.break_off(failure):
            await self.tell_break(delivery, failure)

    async def tell_break(self, delivery: Delivery, failure: UpstreamFailure) -> None:
        """The answer had begun: say so with one error event, and neither an end mark nor a finish reason."""
        kind = ErrorKind.UNFIT if failure.kind is ErrorKind.UNFIT else ErrorKind.BROKEN_STREAM
        delivery.journey.end(kind, 200)
        event = delivery.dialect.encode_error_event(ProxyError(kind))
        log.warning("stream broke: %s", failure, extra={"request_id": delivery.journey.id})
        await delivery.reply.finish(event)


def _untranslatable(error: ProxyError) -> UpstreamFailure:
    """The target cannot be asked; if nobody can, the client is told why."""
    return UpstreamFailure(
        ErrorKind.UNTRANSLATABLE, sent=False, client_message=error.message, param=error.param, code=error.code
    )


def _may_be_billed(outcome: UpstreamFailure) -> bool:
    """The upstream was at work, and did not say what that costs: neither by refusing nor by a pause in its answer."""
    has_told = outcome.status or outcome.kind is ErrorKind.PAUSED or isinstance(outcome, SpentInVain)
    return outcome.sent and not has_told
