"""The whole path of a request, to be read from top to bottom: decide, walk the targets, answer, write it down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from proxy.config.compile import Snapshot
from proxy.config.sections import HeartbeatConfig
from proxy.core.clock import Clock
from proxy.core.decision import Attempt, Decision, Target
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import Ledger, Reply
from proxy.core.request import Inbound
from proxy.core.secret import Secret
from proxy.engine.admission import Admission
from proxy.engine.attempt import STREAM_HEAD, Attempts
from proxy.engine.course import course
from proxy.engine.delivery import Delivery
from proxy.engine.door import check_batch
from proxy.engine.health import NO_KEY
from proxy.engine.heartbeat import Heartbeat
from proxy.engine.hedge import Hedging
from proxy.engine.journey import Journey
from proxy.engine.live import Live
from proxy.engine.race import Attempting, Race
from proxy.engine.resume import resume
from proxy.engine.story import Overheard, Story
from proxy.engine.verdict import exhausted, rejection
from proxy.policy.breaker import PROBE_PATIENCE
from proxy.policy.first_token import patience
from proxy.policy.retry import Situation, first_byte_by, most_tries, pause
from proxy.policy.slots import BATCH
from proxy.routing.contents import read_contents
from proxy.routing.facts import AUTO, Facts
from proxy.synth.answer import LEVELS
from proxy.wire.dialects import InboundDialect, is_resumable

OPERATOR = 1_000_000
"""The priority of requests with an admin key."""
_TOO_MUCH = (ErrorKind.OVERLOAD, ErrorKind.FIRST_BYTE_TIMEOUT, ErrorKind.FIRST_TOKEN_TIMEOUT)
"""What an upstream does that has more requests than it bears."""

_MOMENT = 0.01  # seconds; who has waited longer for a model or a slot looks again whether it may go out


class Engine:
    """Serves requests; one per process."""

    def __init__(
        self,
        live: Live,
        admission: Admission,
        attempts: Attempts,
        dialects: Mapping[str, InboundDialect],
        ledgers: Sequence[Ledger],
        clock: Clock,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.live = live
        self._pause = pause
        self.admission = admission
        self._hedging = Hedging(live, admission)
        self._attempts = attempts
        self._dialects = dialects
        self._ledgers = ledgers
        self._clock = clock

    async def serve(self, journey: Journey, inbound: Inbound, reply: Reply) -> None:
        """Answer one request. Returns when the answer is out, whole or broken off; raises ProxyError otherwise."""
        journey.inbound, journey.size = inbound, len(inbound.body)
        snapshot = self.live.snapshot
        facts = Facts(inbound, read_contents, self._clock.wall, snapshot.classifier)
        journey.facts = facts
        decision = snapshot.table.decide(facts, self.live)
        journey.decision = decision
        dialect = self._dialects[inbound.dialect]
        first_byte = first_byte_by(inbound.headers)
        deadline = journey.started + (decision.deadline if inbound.peek.stream else min(decision.deadline, first_byte))
        priority = _priority(inbound, snapshot)
        if priority < 0:
            check_batch(self.live)
        delivery = Delivery(
            journey, inbound, dialect, reply, snapshot, None, deadline, len(inbound.body), priority,
            most_tries(decision.max_attempts, inbound.headers),
        )  # fmt: skip
        self.live.under_way += 1
        try:
            if inbound.peek.stream:
                delivery.heartbeat = _heartbeat(delivery, self.live.server.heartbeat, first_byte)
                if decision.continues and delivery.most_tries > 1 and is_resumable(dialect):
                    delivery.story = Story(dialect, delivery.let_go)
                    delivery.reply = Overheard(reply, delivery.story)
            await self._walk(delivery, decision)
            if delivery.story is not None and delivery.story.broken is not None:
                await self._resume(delivery, decision, delivery.story.broken)
        finally:
            self.live.under_way -= 1
            if delivery.heartbeat is not None:
                delivery.heartbeat.stop()

    async def _resume(self, delivery: Delivery, decision: Decision, failure: UpstreamFailure) -> None:
        """The stream broke after its first word: have others tell the rest, else tell the client."""
        if not await resume(delivery, decision, self.live.health, self._ask):
            await self._attempts.tell_break(delivery, failure)

    def settle(self, journey: Journey) -> None:
        """Write the one record of a request that has ended, whatever way it ended."""
        record = journey.record(self._clock.monotonic())
        for ledger in self._ledgers:
            ledger.write(record)

    async def _walk(self, delivery: Delivery, decision: Decision) -> None:
        """Ask the candidates, one after another, until one has answered."""
        journey = delivery.journey

        def skip(target: Target, failure: UpstreamFailure) -> None:
            journey.failures.append((str(target), failure))

        if decision.hedge is not None:
            self._hedging.note(decision)
        for target in course(decision.candidates, self.live.health, skip):
            if not target.upstream.offline:
                ask = self._ask if decision.hedge is None else self._ask_and_hedge
                has_answered = await ask(delivery, target)
            elif _offline_may_answer(delivery, target.model):
                has_answered = await self._try_in_turn(delivery, target, NO_KEY) is None
            else:
                continue
            if has_answered:
                return
        raise exhausted(journey.failures)

    async def _ask_and_hedge(self, delivery: Delivery, target: Target) -> bool:
        """The same, and if it is slow to begin ask a second one beside it; the first word wins."""
        if any(made.is_hedge and _is_at(made, target) for made in delivery.journey.attempts):
            return False  # it had its try
        seconds = self._hedging.patience(delivery, target)
        if seconds is None:
            return await self._ask(delivery, target)
        own = delivery.journey.tries + 1  # the target's own try counts, whether it was sent by then or not

        def beside() -> Attempting | None:
            if max(delivery.journey.tries, own) >= delivery.most_tries:
                return None
            other = self._hedging.choose(delivery, target)
            return None if other is None else self._ask_beside(delivery, other)

        delivery.race = Race()
        try:
            return await delivery.race.run(self._ask(delivery, target), seconds, beside)
        finally:
            delivery.race = None

    async def _ask_beside(self, delivery: Delivery, target: Target) -> bool:
        """Ask once, if it can be done at once; otherwise the target waits for its own turn."""
        health = self.live.health
        key = health.lend(target, (), delivery.journey.facts)
        if key is None:
            return False
        try:
            async with self.admission.slot(target.upstream, delivery.priority, self._clock.monotonic()):
                failure = await self._try(delivery, target, key)
        except UpstreamFailure:
            return False
        if failure is None:
            health.budget(target).earn()
        return failure is None

    async def _ask(self, delivery: Delivery, target: Target) -> bool:
        """Ask a model, twice at most; true if the client has its answer."""
        journey, health = delivery.journey, self.live.health
        if self._clock.monotonic() >= delivery.deadline:
            journey.failures.append((str(target), UpstreamFailure(ErrorKind.DEADLINE, sent=False)))
            return False
        if journey.tries >= delivery.most_tries:
            return False
        key = health.lend(target, (), journey.facts)
        if key is None:
            failure = health.keys_rest(target, journey.facts) or health.refusal(target)
            journey.failures.append((str(target), failure))
            return False
        outcome = await self._try_in_turn(delivery, target, key)
        if outcome is None:
            health.budget(target).earn()
            return True
        if delivery.race is not None and delivery.race.has_second:
            return False
        if delivery.story is not None and delivery.story.speaker is target:
            return False  # it has told a part: others come first, or it goes on from there
        return await self._ask_again(delivery, target, key, outcome)

    async def _ask_again(self, delivery: Delivery, target: Target, used: Secret, failure: UpstreamFailure) -> bool:
        """Repeat what has failed with the key `used`, if that is worth it."""
        decision, health = delivery.journey.decision, self.live.health
        assert decision is not None
        now = self._situation(delivery, decision, target, used, failure)
        seconds = pause(now, decision.pause, decision.longest_pause, self.live.chance())
        if seconds is None or health.breaker_is_open(target):
            return False
        budget = health.budget(target)
        cost = budget.take(now, self.live.requests_at(target.upstream.name))
        if cost is None:
            return False
        has_answered = False
        try:
            if seconds:
                await self._pause(seconds)
            facts = delivery.journey.facts
            if health.breaker_is_open(target):
                return False  # others have failed meanwhile
            key = health.lend(target, [used], facts) or health.lend(target, (), facts)
            if key is not None and delivery.journey.tries < delivery.most_tries:
                has_answered = await self._try_in_turn(delivery, target, key) is None
        finally:
            budget.give_back(cost, is_success=has_answered)
        return has_answered

    def _situation(
        self, delivery: Delivery, decision: Decision, target: Target, used: Secret, failure: UpstreamFailure
    ) -> Situation:
        journey, health = delivery.journey, self.live.health
        return Situation(
            kind=failure.kind,
            was_sent=failure.sent,
            took=_took(journey, target),
            connect_timeout=target.upstream.timeouts.connect,
            repeated=len(journey.attempts) - len({(made.upstream, made.model) for made in journey.attempts}),
            wakes=health.wakes_in(target, used),
            others=self._others(delivery, decision, target),
            left=delivery.most_tries - journey.tries,
            time=delivery.deadline - self._clock.monotonic(),
        )

    def _others(self, delivery: Delivery, decision: Decision, target: Target) -> int:
        """How many other models could be asked that were not."""
        asked = {str(target), *(name for name, _ in delivery.journey.failures)}
        waiting = (one for one in decision.candidates if not one.upstream.offline and str(one) not in asked)
        return sum(self.live.health.rest(one) is None for one in waiting)

    def _patience(self, delivery: Delivery, target: Target) -> float | None:
        """Seconds for the first token, where that is learned and there is somewhere to move on to; else None."""
        timeouts, journey = target.upstream.timeouts, delivery.journey
        if timeouts.first_token_floor is None or not delivery.inbound.peek.stream or journey.decision is None:
            return None
        now, name = self._clock.monotonic(), target.upstream.name
        usual = self.live.first_tokens.usual(name, target.model, delivery.size, now, streamed=True)
        if journey.tries + 1 >= delivery.most_tries or not self._others(delivery, journey.decision, target):
            return None
        return patience(usual, timeouts.first_token_floor, timeouts.first_token)

    async def _try_in_turn(self, delivery: Delivery, target: Target, key: Secret) -> UpstreamFailure | None:
        """Have the model in memory, then try; whoever waits for a load takes no slot from those who do not."""
        started = self._clock.monotonic()
        rested = self.live.health.breaker_is_open(target)
        failure: UpstreamFailure | None = None
        try:
            async with self._attempts.hold(delivery, target):
                failure = await self._try_in_slot(delivery, target, key, started, rested=rested)
                if failure is not None:
                    raise failure  # whoever keeps the model learns that something is wrong with it
        except UpstreamFailure as raised:
            if raised is not failure:
                self._not_ready(delivery, target, raised, self._clock.monotonic() - started)
            return raised
        return None

    def _not_ready(self, delivery: Delivery, target: Target, failure: UpstreamFailure, seconds: float) -> None:
        """A model that could not be had is an attempt that failed, though nothing was sent."""
        journey, health = delivery.journey, self.live.health
        journey.attempts.append(Attempt(target.upstream.name, target.model, None, seconds, failure.kind))
        journey.failures.append((str(target), failure))
        health.settle(target, health.enter(target), failure.kind)

    async def _try_in_slot(
        self, delivery: Delivery, target: Target, key: Secret, since: float, *, rested: bool
    ) -> UpstreamFailure | None:
        """Wait for a slot at the upstream, then try; that none came free in time is a failure like others."""
        try:
            async with self.admission.slot(target.upstream, delivery.priority, delivery.deadline):
                if self._clock.monotonic() - since > _MOMENT:
                    key = self._look_again(delivery, target, key, rested=rested)
                failure = await self._try(delivery, target, key)
        except UpstreamFailure as refused:
            delivery.journey.failures.append((str(target), refused))
            return refused
        if failure is not None and failure.kind in _TOO_MUCH:
            self.admission.overloaded(target.upstream)
        return failure

    def _look_again(self, delivery: Delivery, target: Target, key: Secret, *, rested: bool) -> Secret:
        """The key to go out with, after a wait in which others may have met with a refusal. Raises UpstreamFailure.

        Who was let in although the target `rested` still is.
        """
        health = self.live.health
        failure = health.obstacle(target)
        if failure is None and not rested and health.breaker_is_open(target):
            failure = health.refusal(target)
        if failure is not None:
            raise failure
        awake = key if health.is_awake(target, key) else health.lend(target, (), delivery.journey.facts)
        if awake is None:
            raise health.keys_rest(target, delivery.journey.facts) or health.refusal(target)
        return awake

    async def _try(self, delivery: Delivery, target: Target, key: Secret) -> UpstreamFailure | None:
        """None if the client has its answer; raises ProxyError if no other target may be tried."""
        health, upstream = self.live.health, target.upstream
        failure: UpstreamFailure | None = None
        kind: ErrorKind | None = ErrorKind.CLIENT_GONE  # unless it comes to an end of its own
        ticket = health.enter(target)
        self.live.enter(upstream.name)
        try:
            kind = await self._attempts.make(
                delivery, target, key, self._patience(delivery, target), PROBE_PATIENCE if ticket.is_probe else 1.0
            )
        except UpstreamFailure as raised:
            failure, kind = raised, raised.kind
            if not kind.facts.next_target:
                raise rejection(failure) from failure
            delivery.journey.failures.append((str(target), failure))
        finally:
            self.live.leave(upstream.name)
            health.settle(target, ticket, kind)
            health.settle_key(target, key, kind, failure.retry_after if failure else None)
        return failure


def _priority(inbound: Inbound, snapshot: Snapshot) -> int:
    """The plan's; an operator's own requests go before all others, and what can wait comes after them."""
    if inbound.is_admin:
        return OPERATOR
    plan = snapshot.plans.get(inbound.tenant.plan or "")
    if inbound.peek.is_batch or (plan is not None and plan.batch):
        return BATCH
    return plan.priority if plan is not None else 0


def _took(journey: Journey, target: Target) -> float:
    """Seconds of the last try at the target; others may have ended since."""
    return next((made.seconds for made in reversed(journey.attempts) if _is_at(made, target)), 0.0)


def _is_at(made: Attempt, target: Target) -> bool:
    return (made.upstream, made.model) == (target.upstream.name, target.model)


def _offline_may_answer(delivery: Delivery, level: str) -> bool:
    """Offline answers stand in for upstreams that could not answer, never for a request that is at fault.

    An absent model counts as the operator's trouble only if the caller left the choice to the proxy.
    """
    if level not in LEVELS:
        return False
    failures = [failure.kind for _, failure in delivery.journey.failures]
    if ErrorKind.MODEL_ABSENT in failures and delivery.inbound.peek.model == AUTO:
        return True
    return not failures or any(kind.facts.offline for kind in failures)


def _heartbeat(delivery: Delivery, config: HeartbeatConfig, patience: float) -> Heartbeat:
    """Signs of life for a stream; the first of them sends the head, as far as it is known by then.

    They are never further apart than the client's `patience`, in seconds.
    """
    reply, journey = delivery.reply, delivery.journey

    async def begin() -> None:
        if not reply.started:
            await reply.start(200, [*STREAM_HEAD, *journey.receipt()])

    return Heartbeat(min(config.first, patience), min(config.every, patience), begin, reply.write)
