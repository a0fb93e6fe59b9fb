"""Tell thinking apart that stands between tags at the head of an answer's text: `<think>…</think>The answer`.

Rules:
    1. Only what an answer begins with is thinking; a tag further on is something that the model says.
    2. Whatever may yet become a tag is held back, nothing else.
    3. Blanks around the tags belong to neither text, but for those before the closing one.
    4. Thinking that is never closed was all there is: the answer was cut, or the model never came to it.

Chat templates that put the opening tag into the prompt leave nothing to know such thinking by; it passes as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import Final

from proxy.core.events import Event, Finish, Reason, Refuse, Text, ToolArgs, ToolOpen
from proxy.wire.decoding import Sieved
from proxy.wire.dialects import Decoder

_LONGEST_LEAD: Final = 256  # blanks before the opening tag
_ENDS: Final = (Finish, ToolOpen, ToolArgs, Refuse)
"""What comes after text: nothing of it is held back any longer."""


class _State(Enum):
    LEAD = auto()  # blanks, and what may become the opening tag
    THINKING = auto()
    ANSWER = auto()


class _Choice:
    """One choice's text in any pieces. `is_fresh`: nothing but blanks since the tag."""

    __slots__ = ("_closing", "_held", "_index", "_is_fresh", "_opening", "_state")

    def __init__(self, tag: str, index: int) -> None:
        self._opening, self._closing = f"<{tag}>", f"</{tag}>"
        self._index = index
        self._state = _State.LEAD
        self._is_fresh = False
        self._held = ""

    def feed(self, text: str) -> Iterator[Event]:
        """What is certain of the text so far."""
        text, self._held = self._held + text, ""
        if self._state is _State.LEAD:
            ink = text.lstrip()
            if len(text) - len(ink) > _LONGEST_LEAD:
                self._state = _State.ANSWER
            elif ink.startswith(self._opening):
                self._turn(_State.THINKING)
                text = ink.removeprefix(self._opening)
            elif self._opening.startswith(ink):
                self._held = text
                return
            else:
                self._state = _State.ANSWER
        if self._state is _State.THINKING:
            thought, found, rest = text.partition(self._closing)
            if not found:
                kept = _overlap(text, self._closing)
                thought, self._held = text[: len(text) - kept], text[len(text) - kept :]
            yield from self._told(Reason, thought)
            if not found:
                return
            self._turn(_State.ANSWER)
            text = rest
        yield from self._told(Text, text)

    def release(self) -> Iterator[Event]:
        """What was held back has become no tag."""
        kind = Reason if self._state is _State.THINKING else Text
        held, self._held = self._held, ""
        if self._state is _State.LEAD:
            self._state = _State.ANSWER
        yield from self._told(kind, held)

    def _turn(self, state: _State) -> None:
        self._state, self._is_fresh = state, True

    def _told(self, kind: type[Text | Reason], text: str) -> Iterator[Event]:
        if self._is_fresh:
            text = text.lstrip()
            self._is_fresh = not text
        if text:
            yield kind(text, self._index)


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` the tag may begin with."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)


class Thoughts:
    """The events of one answer, with the thinking between `<tag>` and `</tag>` told as thinking."""

    __slots__ = ("_choices", "_tag")

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._choices: dict[int, _Choice] = {}

    def events(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, but for text."""
        for event in events:
            if isinstance(event, Text):
                yield from self._choice(event.choice).feed(event.text)
                continue
            if isinstance(event, _ENDS) and event.choice in self._choices:
                yield from self._choices[event.choice].release()
            yield event

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(self._tag, index)
        return choice


class Apart(Sieved):
    """A `Decoder` whose thinking is told apart."""

    __slots__ = ()

    def __init__(self, decoder: Decoder, tag: str) -> None:
        super().__init__(decoder, Thoughts(tag).events)
