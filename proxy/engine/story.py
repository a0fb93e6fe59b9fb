"""What a client was told of an answer, and how one further request goes on with it when it breaks off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from proxy.core.chat import Chat
from proxy.core.decision import Target, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import Checkpoint
from proxy.core.ports import Reply
from proxy.core.usage import Usage
from proxy.wire.crossing import Crossing
from proxy.wire.dialects import Decoder, Resumable, UpstreamDialect, can_pause
from proxy.wire.replay import Heard, Overlapping, Resumed, Verified
from proxy.wire.sequel import Sequel, prefill_path, prefilled

Way = Literal["checkpoint", "replay", "prefill"]

_MOST_RECONNECTS = 3  # as the vendor's own SDK has it


class Story:
    """What one client was told, and the failure that broke it off, None while nothing did.

    `let_go` is called once nobody can go on with it any more, and the request need not be kept. `speaker` told it last,
    and can go on from `checkpoint` if that is set; `reconnects` counts how often it was asked to.
    """

    __slots__ = ("_let_go", "broken", "checkpoint", "dialect", "heard", "reconnects", "speaker")

    def __init__(self, dialect: Resumable, let_go: Callable[[], None]) -> None:
        self._let_go = let_go
        self.dialect = dialect
        self.heard = Heard(dialect.decoder())
        self.broken: UpstreamFailure | None = None
        self.speaker: Target | None = None
        self.checkpoint: Checkpoint | None = None
        self.reconnects = 0

    @property
    def obstacle(self) -> str | None:
        """Why nobody can go on with it."""
        return "half a character was sent" if self.heard.is_torn else self.heard.obstacle

    @property
    def may_reconnect(self) -> bool:
        return self.reconnects < _MOST_RECONNECTS

    def ask_in(self, dialect: UpstreamDialect, *, is_last: bool) -> UpstreamDialect:
        """The dialect for an attempt: if it is not the last, such that the upstream may pause in its answer."""
        return dialect.pausing() if can_pause(dialect) and self.may_reconnect and not is_last else dialect

    def note(self, speaker: Target, checkpoint: Checkpoint | None) -> None:
        """So far an upstream has come."""
        self.speaker, self.checkpoint = speaker, checkpoint

    def hear(self, data: bytes) -> None:
        """This was sent."""
        if not self.heard.feed(data):
            self._let_go()

    def break_off(self, failure: UpstreamFailure) -> bool:
        """The stream broke; true if somebody else might go on, so that the client need not be told yet.

        An answer that was told to its end, but has not the form that was asked for, leaves nothing to go on with.
        """
        if self.obstacle is not None or not failure.kind.facts.next_target or failure.kind is ErrorKind.UNFIT:
            return False
        self.broken = failure
        return True


class Overheard:
    """A `Reply` that tells a story: whatever is written to the client is heard."""

    __slots__ = ("_reply", "_story")

    def __init__(self, reply: Reply, story: Story) -> None:
        self._reply = reply
        self._story = story

    @property
    def started(self) -> bool:
        return self._reply.started

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        await self._reply.start(status, headers)

    async def write(self, data: bytes) -> None:
        self._story.hear(data)
        await self._reply.write(data)

    async def finish(self, data: bytes = b"") -> None:
        await self._reply.finish(data)


@dataclass(frozen=True, slots=True)
class Hop:
    """How one further request goes on with a story. `chat` is the client's request; `text` is what a prefill tells."""

    way: Way
    story: Story
    chat: Chat
    text: str = ""

    def check(self) -> None:
        """Raises UpstreamFailure if meanwhile nobody can go on."""
        obstacle = self.story.obstacle
        if obstacle is None and self.way == "prefill" and self.story.heard.text != self.text:
            obstacle = "the answer has been gone on with"
        if obstacle is not None:
            raise UpstreamFailure(ErrorKind.DEPARTED, obstacle, sent=False)

    def params(self, body: bytes, target: Target) -> Mapping[str, Any]:
        """What is laid over the fields of the request."""
        return prefilled(body, self.text, target) if self.way == "prefill" else {}

    def path(self, upstream: Upstream, usual: str) -> str:
        """Where it goes: `usual`, unless the vendor goes on with a beginning elsewhere."""
        return (prefill_path(upstream) if self.way == "prefill" else None) or usual

    def over(
        self, crossing: Crossing, dialect: UpstreamDialect, target: Target, spent: Usage | None, created: int
    ) -> Crossing:
        """The same crossing, for the rest of the answer."""
        story, heard = self.story, self.story.heard
        mark = {"resumed": True, "how": self.way, "upstream": target.upstream.name, "model": target.model}
        start = replace(heard.start, extra={**heard.start.extra, "x_failsoft": mark})

        token = ""
        begins = 0
        if self.way == "prefill":
            begins = len(self.text.rstrip())
        elif self.way == "checkpoint" and story.checkpoint is not None:
            token, begins = story.checkpoint.token, story.checkpoint.at

        def passage(decoder: Decoder) -> Resumed:
            rest = heard.text[begins:]  # what is told again, if anything is
            source = Overlapping(decoder, rest) if self.way == "prefill" else Verified(decoder, rest)
            return Resumed(source, story.dialect.resumed(self.chat, created, start), mark, spent, begins)

        return Sequel(crossing, dialect, passage, token)
