"""Finish a stream that broke after its first word, on routes that say `midstream: continue`.

The order: the upstream itself goes on, from a checkpoint that it gave; the whole answer again from another target, as
long as it repeats what the client has (the same model elsewhere first); then one more model that is known to go on with
a begun answer. Each is an attempt like others.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from proxy.core.chat import Chat
from proxy.core.decision import Decision, Quirks, Target
from proxy.core.errors import ErrorKind, ProxyError
from proxy.engine.course import course
from proxy.engine.delivery import Delivery, params_of
from proxy.engine.health import Health
from proxy.engine.story import Hop, Story
from proxy.wire.sequel import prevents_prefill, prevents_replay

log = logging.getLogger("failsoft")

Ask = Callable[[Delivery, Target], Awaitable[bool]]
"""Asks a target as any other; true if the client has its answer then."""


async def resume(delivery: Delivery, decision: Decision, health: Health, ask: Ask) -> bool:
    """Have the rest of a broken story told; false if nobody could."""
    assert delivery.story is not None
    return await _Resumption(delivery, decision, delivery.story, health, ask).run()


def _asked(delivery: Delivery, target: Target) -> Chat | None:
    """The request as the target is asked it; None if that is of no use any more, or if the hub cannot read what has
    passed untouched so far."""
    if delivery.story is None or delivery.story.obstacle is not None:
        return None
    inbound, params = delivery.inbound, params_of(delivery, target)
    body = delivery.dialect.prepare(inbound.body, inbound.peek, target.model, Quirks(asks_usage=False), params)
    try:
        chats = delivery.dialect.decode_request(body)
    except ProxyError:
        return None
    # Several prompts are several choices: it is all the same here.
    return chats[0] if len(chats) == 1 else replace(chats[0], n=len(chats))


@dataclass(frozen=True, slots=True)
class _Resumption:
    """One broken answer and those who may go on with it."""

    delivery: Delivery
    decision: Decision
    story: Story
    health: Health
    ask: Ask

    async def run(self) -> bool:
        return await self._reconnect() or await self._replay() or await self._prefill()

    async def _reconnect(self) -> bool:
        """Have the upstream that told the story last go on with it, as long as it comes further or only fails."""
        story = self.story
        while story.speaker is not None and story.checkpoint is not None and story.may_reconnect:
            chat = _asked(self.delivery, story.speaker)
            if chat is None or self.health.breaker_is_open(story.speaker):
                return False
            story.reconnects += 1
            known = story.checkpoint
            if await self._hop(Hop("checkpoint", story, chat), story.speaker):
                return True
            ended = self.delivery.journey.attempts[-1].kind
            if story.checkpoint == known and not (ended is not None and ended.facts.same_key):
                return False
        return False

    async def _replay(self) -> bool:
        """Ask for the whole answer, until somebody has told it; whoever tells another one is the last."""
        for target in self._others():
            chat = _asked(self.delivery, target)
            if chat is None or prevents_replay(chat) is not None:
                continue
            if await self._hop(Hop("replay", self.story, chat), target) or await self._reconnect():
                return True
            if self.delivery.journey.attempts[-1].kind is ErrorKind.DEPARTED:
                break
        return False

    async def _prefill(self) -> bool:
        """Ask one model, once, to go on with the beginning that another has made."""
        text = self.story.heard.text
        for target in self._others():
            chat = _asked(self.delivery, target)
            if chat is not None and prevents_prefill(chat, text, target) is None:
                return await self._hop(Hop("prefill", self.story, chat, text), target)
        return False

    async def _hop(self, hop: Hop, target: Target) -> bool:
        log.info("going on: %s by %s", hop.way, target, extra={"request_id": self.delivery.journey.id})
        try:
            return await self.ask(replace(self.delivery, hop=hop), target)
        except ProxyError:  # the target finds fault with the request; the client has read half of an answer to it
            return False

    def _others(self) -> Iterator[Target]:
        """Who has not failed at this request: the same model elsewhere, then the rest, in the decision's order."""
        broken = self.delivery.journey.target
        assert broken is not None
        failed = {name for name, failure in self.delivery.journey.failures if failure.kind is not ErrorKind.DEPARTED}
        others = [
            target
            for target in self.decision.candidates
            if not target.upstream.offline and target != broken and str(target) not in failed
        ]
        others.sort(key=lambda target: _name(target) != _name(broken))
        return course(others, self.health, lambda *_: None)


def _name(target: Target) -> str:
    """The model's name, which many upstreams put behind its maker's."""
    return target.model.rpartition("/")[2].lower()
