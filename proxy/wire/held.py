"""Hold an answer to the JSON that was asked for, while it is written: what a vendor's own structured output does.

Rules:
    1. An object's text goes on as it comes. A Markdown fence around the whole of it is left out; no other word ever
       is, before or after, for words can take back what the object says.
    2. An answer that begins with other words is held back to its end: it may be a refusal, or lead up to a tool call.
    3. Only what ends with `stop`, without a call and without a refusal, is looked at: it must parse, and satisfy the
       schema. Else the answer has `Failed`, and of what was held back nothing has been said to anybody.
    4. What ends otherwise (cut by its length, filtered, a call) is told as it came: its finish reason says enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import Any, Final, NoReturn

import msgspec

from proxy.core.errors import ErrorKind
from proxy.core.events import Event, Failed, Finish, Refuse, Text, Tokens, ToolArgs, ToolOpen
from proxy.core.usage import SpentInVain
from proxy.wire.decoding import Sieved
from proxy.wire.dialects import Decoder
from proxy.wire.structured import Form

LONGEST: Final = 8 << 20
"""Characters of an answer that is held to a form: it is kept until its end."""
_LONGEST_LEAD: Final = 256  # characters before an object begins
_FENCE: Final = "```"
_OPENING: Final = re.compile(r"\s*(?:```[A-Za-z0-9]{0,16}\s*)?(?=[{\[])")
_LEAD: Final = re.compile(r"\s*(?:`{1,2}|```[A-Za-z0-9]{0,16}\s*)?")
_FREE: Final = (ToolOpen, ToolArgs, Refuse)


class _State(Enum):
    LEAD = auto()  # nothing but blanks and what may become a fence
    OBJECT = auto()
    FENCED = auto()  # an object within a fence
    WORDS = auto()  # no object: held back


class Unfenced:
    """Text in any pieces; of an object within a Markdown fence, the object.

    JSON never ends with a backtick, so of a fenced answer the last three are its closing fence, whatever its strings
    hold; only these and the blanks after them are kept back.
    """

    __slots__ = ("_held", "_openers", "_state")

    def __init__(self, openers: str) -> None:
        self._openers = openers
        self._state = _State.LEAD
        self._held: list[str] = []

    def feed(self, text: str) -> str:
        """What is certain to be no fence."""
        if self._state is _State.OBJECT:
            return text
        if self._state is _State.WORDS or (text.isspace() and self._is_at_end):
            self._held.append(text)
            return ""
        text = "".join([*self._held, text])
        self._held = []
        return self._begin(text) if self._state is _State.LEAD else self._within(text)

    def close(self) -> str | None:
        """What is left of a good answer; None if no object ever began."""
        if self._state in (_State.LEAD, _State.WORDS):
            return None
        return "" if self._is_at_end else self.release()

    def release(self) -> str:
        """All that was kept back, as it came: it is no object."""
        text = "".join(self._held)
        self._held, self._state = [], _State.OBJECT
        return text

    @property
    def _is_at_end(self) -> bool:
        return self._state is _State.FENCED and bool(self._held) and self._held[0].startswith(_FENCE)

    def _begin(self, text: str) -> str:
        opening = _OPENING.match(text)
        if opening is not None and text[opening.end()] in self._openers:
            rest = text[opening.end() :]
            self._state = _State.FENCED if _FENCE in opening.group() else _State.OBJECT
            return self._within(rest) if self._state is _State.FENCED else rest
        is_open = opening is None and len(text) <= _LONGEST_LEAD and _LEAD.fullmatch(text)
        self._state = _State.LEAD if is_open else _State.WORDS
        self._held.append(text)
        return ""

    def _within(self, text: str) -> str:
        ink = text.rstrip()
        ticks = len(ink) - len(ink.rstrip("`"))
        if not 0 < ticks <= len(_FENCE) or (ticks < len(_FENCE) and len(ink) < len(text)):
            return text
        start = len(ink) - ticks
        self._held.append(text[start:])
        return text[:start]


class _Choice:
    """One choice: its text without the fence; `is_free` once it is more than text, so that no form binds it."""

    __slots__ = ("is_free", "size", "unfenced", "written")

    def __init__(self, openers: str) -> None:
        self.unfenced = Unfenced(openers)
        self.written: list[str] = []
        self.size = 0
        self.is_free = False

    def take(self, text: str) -> str:
        self.size += len(text)
        out = self.unfenced.feed(text)
        self.written.append(out)
        return out


class Hold:
    """The events of one answer, held to `form`."""

    __slots__ = ("_choices", "_form", "_has_failed")

    def __init__(self, form: Form) -> None:
        self._form = form
        self._choices: dict[int, _Choice] = {}
        self._has_failed = False

    def events(self, events: Iterable[Event]) -> Iterator[Event]:
        """What of them may go on; `Failed` is the last."""
        for event in events:
            for told in self._told(event):
                if self._has_failed:
                    return
                self._has_failed = isinstance(told, Failed)
                yield told

    def _told(self, event: Event) -> Iterator[Event]:
        if isinstance(event, Text):
            yield from self._text(event)
        elif isinstance(event, Finish):
            yield from self._finish(event)
        else:
            if isinstance(event, _FREE):
                yield from self._free(event.choice)
            yield event

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(self._form.openers)
        return choice

    def _text(self, event: Text) -> Iterator[Event]:
        choice = self._choice(event.choice)
        if choice.is_free:
            yield event
            return
        out = choice.take(event.text)
        if choice.size > LONGEST:
            yield Failed(ErrorKind.UNFIT, f"an answer of more than {LONGEST} characters")
        elif out:
            yield Text(out, event.choice)

    def _free(self, index: int) -> Iterator[Event]:
        choice = self._choice(index)
        if choice.is_free:
            return
        choice.is_free = True
        rest = choice.unfenced.release()
        if rest:
            yield Text(rest, index)

    def _finish(self, event: Finish) -> Iterator[Event]:
        choice = self._choice(event.choice)
        if choice.is_free or event.reason != "stop":
            yield from self._free(event.choice)
            yield event
            return
        rest = choice.unfenced.close()
        fault = self._fault("".join([*choice.written, rest])) if rest is not None else "no JSON object"
        if fault:
            yield Failed(ErrorKind.UNFIT, fault)
            return
        if rest:
            yield Text(rest, event.choice)
        yield event

    def _fault(self, text: str) -> str:
        try:
            value = read_strictly(text)
        except ValueError:
            return "not valid JSON"
        return self._form.fault_of(value)


class Held(Sieved):
    """A `Decoder` whose answer is held to a form."""

    __slots__ = ()

    def __init__(self, decoder: Decoder, form: Form) -> None:
        super().__init__(decoder, Hold(form).events)


def held_whole(events: Sequence[Event], form: Form) -> list[Event]:
    """The events of a whole answer, held to `form`.

    Raises SpentInVain for one that has not the form, if its tokens were counted; else `Failed` is the last.
    """
    told = list(Hold(form).events(events))
    counts = [event.usage for event in events if isinstance(event, Tokens)]
    if told and isinstance(told[-1], Failed) and told[-1].kind is ErrorKind.UNFIT and counts:
        raise SpentInVain(ErrorKind.UNFIT, told[-1].detail, counts[-1])
    return told


def read_strictly(text: str) -> Any:
    """The value of JSON text; raises ValueError for what is none by the standard, such as NaN and words behind it."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        pass  # half characters and huge exponents are JSON, but not to this decoder
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
