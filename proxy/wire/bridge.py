"""Translate an answer between two dialects: the upstream's decoder, events, the client's encoder.

A `Translation` is a `Passage` like a tap: the relay sees no difference. Several prompts that were sent as several
requests (legacy completions to a chat-only upstream) are answered one after another by several translations that
share ONE encoder: `offset` moves the choices of each, and only the `last` one closes the encoder, which writes the end
mark. Each translation feeds the encoder at most one `Start` and one `Tokens`; an encoder that may be shared keeps to
the first `Start` and adds the `Tokens` up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from proxy.core.chat import Chat
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import (
    Checkpoint,
    Event,
    Extra,
    Failed,
    Finish,
    Reason,
    Refuse,
    Start,
    Text,
    Tokens,
    ToolArgs,
    ToolOpen,
    Unknown,
    is_semantic,
    tally,
)
from proxy.core.usage import Usage, add_usage
from proxy.wire.dialects import Answer, Decoder, Encoder, InboundDialect, UpstreamDialect
from proxy.wire.tap import WholeAnswer

LONGEST_ANSWER: Final = 64 << 20
"""Bytes of an answer that comes whole."""

_LENGTHS: Final[Mapping[type, Any]] = {
    Text: lambda event: len(event.text),
    Reason: lambda event: len(event.text),
    Refuse: lambda event: len(event.text),
    ToolOpen: lambda event: len(event.name),
    ToolArgs: lambda event: len(event.text),
}
_KEPT_BACK: Final = (Tokens, Unknown, Checkpoint)
_OF_A_CHOICE: Final = (Text, Reason, Refuse, ToolOpen, ToolArgs, Extra, Finish)


class _Watch:
    """What a passage reports of the events that went by; the rules of completeness are those of the tap."""

    __slots__ = (
        "_done", "_open", "begun", "cause", "checkpoint", "detail", "failure", "finish", "model", "unknown", "usage",
        "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._done: set[int] = set()
        self.begun = False
        self.failure: ErrorKind | None = None
        self.cause: UpstreamFailure | None = None
        self.unknown: dict[str, int] = {}
        self.detail = ""
        self.usage: Usage | None = None
        self.model = ""
        self.finish: str | None = None
        self.written = 0
        self.checkpoint: Checkpoint | None = None

    @property
    def is_finished(self) -> bool:
        return bool(self._done) and not self._open

    def see(self, event: Event) -> None:
        """Take note of `event`."""
        self.begun = self.begun or is_semantic(event)
        if isinstance(event, Start):
            self.model = event.model or self.model
        elif isinstance(event, Finish):
            self._done.add(event.choice)
            self._open.discard(event.choice)
            if event.choice == 0 or self.finish is None:
                self.finish = event.reason
        elif isinstance(event, Tokens):
            self.usage = event.usage
        elif isinstance(event, Failed):
            self.failure, self.detail, self.cause = event.kind, event.detail, event.cause
        elif isinstance(event, Unknown):
            tally(self.unknown, event.what)
        elif isinstance(event, Checkpoint):
            self.checkpoint = replace(event, at=event.at + self.written)
        else:
            if event.choice not in self._done:
                self._open.add(event.choice)
            measure = _LENGTHS.get(type(event))
            self.written += measure(event) if measure else 0

    def fail_unless_complete(self) -> None:
        """The events are over: set `failure` if they are no answer, or half of one."""
        if self.failure is not None or self.is_finished:
            return
        if self.begun:
            self.failure = ErrorKind.BROKEN_STREAM
            self.detail = "the stream ended before the answer was finished"
        else:
            self.failure, self.detail = ErrorKind.NOT_AN_ANSWER, "empty stream"


class Translation:
    """A `Passage` made of the upstream's decoder and the client's encoder.

    `offset` is added to every choice's index. Unless it is `last`, no end mark is written. Usage goes to the encoder
    when the upstream has ended, never before: a decoder may report it several times, and the last one holds.
    """

    __slots__ = ("_decoder", "_encoder", "_last", "_offset", "_watch", "ended")

    def __init__(self, decoder: Decoder, encoder: Encoder, offset: int = 0, *, last: bool = True) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._offset = offset
        self._last = last
        self._watch = _Watch()
        self.ended = False

    @property
    def begun(self) -> bool:
        return self._watch.begun

    @property
    def finished(self) -> bool:
        return self._watch.is_finished

    @property
    def failure(self) -> ErrorKind | None:
        return self._watch.failure

    @property
    def detail(self) -> str:
        return self._watch.detail

    @property
    def cause(self) -> UpstreamFailure | None:
        return self._watch.cause

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._watch.unknown

    @property
    def usage(self) -> Usage | None:
        return self._watch.usage

    @property
    def model(self) -> str:
        return self._watch.model

    @property
    def finish(self) -> str | None:
        return self._watch.finish

    @property
    def written(self) -> int:
        return self._watch.written

    @property
    def checkpoint(self) -> Checkpoint | None:
        return self._watch.checkpoint

    def feed(self, data: bytes) -> bytes:
        if self.ended or self.failure is not None:
            return b""
        out = self._encode(self._decoder.feed(data))
        return out + self._end() if self._decoder.ended and self.failure is None else out

    def close(self) -> bytes:
        if self.ended or self.failure is not None:
            return b""
        out = self._encode(self._decoder.close())
        return out if self.failure is not None else out + self._end()

    def _encode(self, events: Iterable[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            self._watch.see(event)
            if isinstance(event, Failed):
                break
            if not isinstance(event, _KEPT_BACK):
                out.append(self._encoder.feed(_moved(event, self._offset)))
        return b"".join(out)

    def _end(self) -> bytes:
        """The upstream has said all: either the answer is complete, or this is a failure."""
        self._watch.fail_unless_complete()
        if self.failure is not None:
            return b""
        self.ended = True
        usage = self._encoder.feed(Tokens(self.usage)) if self.usage is not None else b""
        return usage + self._encoder.close() if self._last else usage


class Gathered:
    """A `Decoder` of a whole answer where a stream is wanted: all its events come when the body has ended."""

    __slots__ = ("_pieces", "_size", "_upstream", "ended")

    def __init__(self, upstream: UpstreamDialect) -> None:
        self._upstream = upstream
        self._pieces: list[bytes] = []
        self._size = 0
        self.ended = False

    def feed(self, data: bytes) -> list[Event]:
        self._pieces.append(data)
        self._size += len(data)
        if self._size <= LONGEST_ANSWER:
            return []
        self.ended = True
        return [Failed(ErrorKind.FAULT, f"an answer of more than {LONGEST_ANSWER} bytes")]

    def close(self) -> list[Event]:
        try:
            return self._upstream.decode_body(b"".join(self._pieces))
        except UpstreamFailure as failure:
            return [Failed(failure.kind, failure.detail, failure)]


def _moved(event: Event, offset: int) -> Event:
    if offset and isinstance(event, _OF_A_CHOICE):
        return replace(event, choice=event.choice + offset)
    return event


def translate_answers(
    inbound: InboundDialect, chats: Sequence[Chat], answers_told: Sequence[Sequence[Event]], created: int
) -> Answer:
    """One whole answer in the inbound dialect, made of the events of the answers to each of `chats`, in order.

    Raises UpstreamFailure if one of them is not complete.
    """
    answers = [_judged(events) for events in answers_told]
    events: list[Event] = []
    usage: Usage | None = None
    for number, ((told, watch), chat) in enumerate(zip(answers, chats, strict=True)):
        kept = (
            event for event in told if not isinstance(event, _KEPT_BACK) and not (number and isinstance(event, Start))
        )
        events += [_moved(event, number * chat.n) for event in kept]
        usage = add_usage(usage, watch.usage)
    if usage is not None:
        events.append(Tokens(usage))
    first = answers[0][1]
    return WholeAnswer(
        body=inbound.encode_body(events, chats[0], created),
        usage=usage,
        model=first.model,
        finish=first.finish,
        written=sum(watch.written for _, watch in answers),
        unknown=sum((Counter(watch.unknown) for _, watch in answers), Counter()),
    )


def _judged(events: Sequence[Event]) -> tuple[Sequence[Event], _Watch]:
    watch = _Watch()
    for event in events:
        watch.see(event)
    watch.fail_unless_complete()
    if watch.failure is not None:
        raise watch.cause or UpstreamFailure(watch.failure, watch.detail)
    return events, watch
