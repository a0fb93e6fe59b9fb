"""Go on with an answer that broke: what the client has of it, and what another model's answer adds to that.

    Heard     reads along what is sent to the client, in the client's own dialect
    Echo      text that is to repeat a known beginning, character for character; what comes after it is new
    Verified  a decoder that gives out nothing before the answer has repeated the beginning, and fails where it departs
    Resumed   the passage of such an answer: the rest of the stream that the client has begun to read

A client never gets the beginning of one answer and the end of another, but where the target was given the beginning to
go on with; and the rest is marked in either case: by a comment, and by `x_failsoft` in each of its chunks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from proxy.core.errors import ErrorKind
from proxy.core.events import (
    Checkpoint,
    Event,
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
)
from proxy.core.usage import Usage, add_usage
from proxy.wire.bridge import Translation
from proxy.wire.dialects import Decoder, Encoder

LIMIT: Final = 1 << 20  # bytes of an answer's text that are remembered

_ASIDE: Final = (Tokens, Unknown, Checkpoint)
_NOT_TEXT: Final[Mapping[type, str]] = {
    Reason: "the model's reasoning has begun",
    Refuse: "a refusal has begun",
    ToolOpen: "a tool call has begun",
    ToolArgs: "a tool call has begun",
    Finish: "the answer is finished",
    Failed: "the stream was not what it should be",
}
# A frame that ends a string with the first half of a surrogate pair: the client waits for the other half.
_HALF: Final = re.compile(rb'\\u[dD][89abAB][0-9a-fA-F]{2}"')


class Heard:
    """What a client has been told so far; fed with the very bytes that are sent to it.

    `obstacle` says why nobody can go on from there, None while somebody might: there is more than one choice's text, or
    more of it than is remembered.
    """

    __slots__ = ("_decoder", "_last", "_text", "obstacle", "start")

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._text = bytearray()  # a list of pieces would take ten times as much
        self._last = b""
        self.start = Start("", "")
        self.obstacle: str | None = None

    @property
    def text(self) -> str:
        return self._text.decode()

    @property
    def is_torn(self) -> bool:
        """True if the last character that was sent is half of one."""
        return _HALF.search(self._last) is not None

    def feed(self, data: bytes) -> bool:
        """Whole frames go to the client; false when this has put an obstacle in the way."""
        if self.obstacle is not None or not data:
            return True
        for event in self._decoder.feed(data):
            self.obstacle = self.obstacle or self._hear(event)
        self._last = data
        if self.obstacle is not None:
            self._text, self._last = bytearray(), b""
        return self.obstacle is None

    def _hear(self, event: Event) -> str | None:
        """Take note of `event`; why it is an obstacle, if it is one."""
        if isinstance(event, Start):
            self.start = event
        elif isinstance(event, Text):
            self._text += event.text.encode()
            if event.choice:
                return "there is a second choice"
            return f"more than {LIMIT} bytes of text were sent" if len(self._text) > LIMIT else None
        elif not isinstance(event, _ASIDE):
            return _NOT_TEXT.get(type(event), "there is more than text")
        return None


class Echo:
    """Compares text that comes in pieces with what it is to begin with.

    `has_departed` once a character was another one; from then on nothing is new.
    """

    __slots__ = ("_at", "_expected", "has_departed")

    def __init__(self, expected: str) -> None:
        self._expected = expected
        self._at = 0
        self.has_departed = False

    @property
    def has_caught_up(self) -> bool:
        return self._at == len(self._expected) and not self.has_departed

    @property
    def repeated(self) -> int:
        """How many characters were the same."""
        return self._at

    def feed(self, text: str) -> str:
        """What of `text` comes after the beginning."""
        if self.has_departed:
            return ""
        known = self._expected[self._at : self._at + len(text)]
        if text.startswith(known):
            self._at += len(known)
            return text[len(known) :]
        self.has_departed = True
        return ""


class Verified:
    """A `Decoder` of an answer that is to begin with a text: gives out what comes after it.

    Until then, whatever is not that text is a departure: other characters, another choice, reasoning, a tool call, an
    end. `begun` once the answer has said anything at all; `held` counts the characters that were not given out.
    """

    __slots__ = ("_decoder", "_echo", "_is_over", "begun", "ended")

    def __init__(self, decoder: Decoder, expected: str) -> None:
        self._decoder = decoder
        self._echo = Echo(expected)
        self._is_over = False
        self.begun = False
        self.ended = False

    @property
    def held(self) -> int:
        return self._echo.repeated

    def feed(self, data: bytes) -> list[Event]:
        events = list(self._checked(self._decoder.feed(data)))
        self.ended = self._decoder.ended
        return events

    def close(self) -> list[Event]:
        events = list(self._checked(self._decoder.close()))
        if not self._is_over:
            events.append(Failed(ErrorKind.BROKEN_STREAM, "the answer to go on with ended before it was finished"))
        return events

    def _checked(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if self._is_over and not isinstance(event, _ASIDE):
                continue
            self.begun = self.begun or is_semantic(event)
            told = self._check(event)
            if told is not None:
                self._is_over = self._is_over or isinstance(told, Finish | Failed)
                yield told

    def _check(self, event: Event) -> Event | None:
        if isinstance(event, Checkpoint):
            return replace(event, at=event.at + self.held)
        if isinstance(event, Start | Tokens | Failed | Unknown):
            return event
        if event.choice:
            return Failed(ErrorKind.DEPARTED, "a second choice began")
        if self._echo.has_caught_up:
            return event
        if not isinstance(event, Text):
            return Failed(ErrorKind.DEPARTED, f"something else than text after {self.held} characters")
        rest = self._echo.feed(event.text)
        if self._echo.has_departed:
            return Failed(ErrorKind.DEPARTED, f"other words after {self.held} characters")
        return replace(event, text=rest) if rest else None


class Overlapping:
    """A `Decoder` of an answer that goes on from a text whose last blanks the model was not told.

    It may begin with those blanks, which the client has, or without them.
    """

    __slots__ = ("_blanks", "_decoder", "begun", "ended", "held")

    def __init__(self, decoder: Decoder, blanks: str) -> None:
        self._decoder = decoder
        self._blanks = blanks
        self.begun = False
        self.ended = False
        self.held = 0

    def feed(self, data: bytes) -> list[Event]:
        events = list(self._cut(self._decoder.feed(data)))
        self.ended = self._decoder.ended
        return events

    def close(self) -> list[Event]:
        return list(self._cut(self._decoder.close()))

    def _cut(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            self.begun = self.begun or is_semantic(event)
            if isinstance(event, Text) and self._blanks:
                event = self._without_blanks(event)
            if not (isinstance(event, Text) and not event.text):
                yield event

    def _without_blanks(self, event: Text) -> Text:
        same = 0
        for mine, known in zip(event.text, self._blanks, strict=False):
            if mine != known:
                break
            same += 1
        self.held += same
        self._blanks = self._blanks[same:] if same == len(event.text) else ""
        return replace(event, text=event.text[same:])


class _Marked:
    """An `Encoder` for the rest of a stream: a comment goes before it, and what was used before is counted in."""

    __slots__ = ("_comment", "_encoder", "_spent")

    def __init__(self, encoder: Encoder, comment: bytes, spent: Usage | None) -> None:
        self._encoder = encoder
        self._comment = comment
        self._spent = spent

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Tokens):
            event = Tokens(add_usage(self._spent, event.usage) or event.usage)
        return self._marked(self._encoder.feed(event))

    def close(self) -> bytes:
        return self._marked(self._encoder.close())

    def _marked(self, out: bytes) -> bytes:
        if out and self._comment:
            out, self._comment = self._comment + out, b""
        return out


class Resumed(Translation):
    """A `Passage` for the answer of whoever goes on; `begun` as soon as it says anything, heard by the client or not.

    `encoder` is in the middle of the client's stream. `mark` is what `x_failsoft` says of the rest. `spent` is the
    usage so far, which the client's is to include. What it reads `begins` after so many characters of the whole.
    """

    __slots__ = ("_begins", "_source")

    def __init__(
        self,
        decoder: Verified | Overlapping,
        encoder: Encoder,
        mark: Mapping[str, Any],
        spent: Usage | None,
        begins: int = 0,
    ) -> None:
        comment = b": x-failsoft-resumed: " + msgspec.json.encode(mark) + b"\n\n"
        super().__init__(decoder, _Marked(encoder, comment, spent))
        self._source = decoder
        self._begins = begins

    @property
    def begun(self) -> bool:
        return self._source.begun

    @property
    def written(self) -> int:
        return super().written + self._source.held

    @property
    def checkpoint(self) -> Checkpoint | None:
        told = super().checkpoint
        return None if told is None else replace(told, at=told.at + self._begins)
