"""Chat completion answers to events; chunks and whole answers go through the same machine.

What compatible servers do differently, and what becomes of it here: tool calls without index (numbered by id, then by
order) or with one index for all (a new id with a name is a new call), names cut in pieces (held until the arguments
begin), arguments as an object (written as text), finish reasons that are absent or odd (see `_FINISH`), thinking under
two names (taken once), text as a list of parts, errors as strings, characters cut between two chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_args

import msgspec

from proxy.core.chat import ToolKind
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import (
    Event,
    Extra,
    Failed,
    Finish,
    FinishReason,
    Reason,
    Refuse,
    Start,
    Text,
    Tokens,
    ToolArgs,
    ToolOpen,
    Unknown,
)
from proxy.wire.dialects.openai_chat.read_request import signature_of
from proxy.wire.lenient import Mender, mend, read_json, write_json
from proxy.wire.openai_errors import classify_inband
from proxy.wire.tap import FAULTY_FINISH
from proxy.wire.usage import read_aside, read_usage

_REASONS: Final = frozenset(get_args(FinishReason))
_FINISH: Final[Mapping[str, FinishReason]] = {
    "max_tokens": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",
    "safety": "content_filter",
}
"""Finish reasons outside the protocol; all others mean stop."""

_MOST_CHOICES: Final = 1024
_EVERYWHERE: Final = ("system_fingerprint", "service_tier")
_CARRIED: Final = ("audio", "annotations", "thinking_blocks")


class _Call:
    """A tool call in the making; `opened` once its `ToolOpen` is out."""

    __slots__ = ("id", "index", "kind", "mender", "name", "opened", "signature")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.signature: str | None = None
        self.kind: ToolKind = "function"
        self.opened = False
        self.mender = Mender()


class _Choice:
    """What is known of one choice while its deltas come in."""

    __slots__ = ("_by_key", "_calls", "_menders", "finished", "index", "logprobs")

    def __init__(self, index: int) -> None:
        self.index = index
        self.finished = False
        self.logprobs: dict[str, list[Any]] = {}
        self._calls: list[_Call] = []
        self._by_key: dict[Any, _Call] = {}
        self._menders: dict[type, Mender] = {}

    def delta(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        """The events of one delta, or of a whole message."""
        thinking = delta.get("reasoning_content")
        yield from self._text(Reason, delta.get("reasoning") if thinking is None else thinking)
        yield from self._text(Text, delta.get("content"))
        yield from self._text(Refuse, delta.get("refusal"))
        for name in _CARRIED:
            if delta.get(name):
                yield Extra(name, _sound(delta[name]), self.index)
        calls = delta.get("tool_calls")
        for order, call in enumerate(calls if isinstance(calls, list) else [calls]):
            if isinstance(call, dict):
                yield from self._tool(call, order)
        if isinstance(delta.get("function_call"), dict):
            yield from self._tool({"index": 0, "function": delta["function_call"]}, 0)

    def finish(self, reason: str) -> Iterator[Event]:
        """What was held back, and the `Finish`."""
        self.finished = True
        for call in self._calls:
            yield from self._open(call)
            rest = call.mender.close()
            if rest:
                yield ToolArgs(call.index, rest, self.index)
        for kind, mender in self._menders.items():
            rest = mender.close()
            if rest:
                yield kind(rest, self.index)
        known: FinishReason = _FINISH.get(reason, "stop")
        if reason in _REASONS and reason not in _FINISH:
            known = reason  # type: ignore[assignment]
        elif reason not in _FINISH:
            yield Unknown(f"finish reason {reason}")
        if self._calls and known == "stop":
            known = "tool_calls"
        yield Finish(known, self.index, self.logprobs or None)

    def add_logprobs(self, logprobs: Any) -> None:
        """Put the pieces of logprobs together; they are told with the `Finish`."""
        if isinstance(logprobs, dict):
            for name, entries in logprobs.items():
                if isinstance(entries, list):
                    self.logprobs.setdefault(name, []).extend(_sound(entries))

    def _text(self, kind: Callable[[str, int], Event], value: Any) -> Iterator[Event]:
        if isinstance(value, list):
            value = "".join(part["text"] for part in value if isinstance(part, dict) and _is_text(part.get("text")))
        if isinstance(value, str) and value:
            text = self._menders.setdefault(kind, Mender()).feed(value)  # type: ignore[arg-type]
            if text:
                yield kind(text, self.index)

    def _tool(self, piece: Mapping[str, Any], order: int) -> Iterator[Event]:
        call = self._call_of(piece, order)
        inner = piece.get("function") or piece.get("custom")
        if not isinstance(inner, dict):
            inner = {}
        if "custom" in piece:
            call.kind = "custom"
        call.signature = signature_of(piece) or call.signature
        if not call.opened:
            name = inner.get("name")
            if isinstance(name, str) and name != call.name:
                call.name += mend(name)
        arguments = inner.get("arguments", inner.get("input"))
        if arguments is not None and not isinstance(arguments, str):
            arguments = write_json(arguments)
        if arguments:
            yield from self._open(call)
            text = call.mender.feed(arguments)
            if text:
                yield ToolArgs(call.index, text, self.index)

    def _call_of(self, piece: Mapping[str, Any], order: int) -> _Call:
        """The call that a piece belongs to: by index and id, else by id, else the last one (or the next, by order)."""
        index, name_of_call = piece.get("index"), piece.get("id")
        identity = _word(name_of_call) or None
        key: Any = index if isinstance(index, int) else identity
        if key is None:
            key = order if order or not self._calls else self._calls[-1]
            if isinstance(key, _Call):
                return key
        call = self._by_key.get(key)
        if call is None or (identity and call.id and identity != call.id and _names_tool(piece)):
            call = _Call(len(self._calls))
            self._calls.append(call)
            self._by_key[key] = call
        if identity and not call.id:
            call.id = identity
        return call

    def _open(self, call: _Call) -> Iterator[Event]:
        if not call.opened:
            call.opened = True
            # An id must be there and differ within the turn; the position serves if the server gave none.
            identity = call.id or f"call_{self.index}_{call.index}"
            yield ToolOpen(call.index, identity, call.name, self.index, call.signature, call.kind)


def _names_tool(piece: Mapping[str, Any]) -> bool:
    """Only the first piece of a call does; some servers make up a new id for each of the others."""
    inner = piece.get("function") or piece.get("custom")
    return isinstance(inner, dict) and bool(inner.get("name"))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _word(value: Any) -> str:
    return mend(value) if isinstance(value, str) else ""


def _sound(value: Any) -> Any:
    """A carried value that can be written again: whole characters, numbers of a size that JSON readers share."""
    return msgspec.json.decode(write_json(value))


class Chunks:
    """Decoded chunks to events; a `Machine`. `over` once a `Failed` was given out: then nothing follows."""

    __slots__ = ("_choices", "_started", "over")

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._started = False
        self.over = False

    def read(self, chunk: Any, name: str = "") -> list[Event]:
        """The events of one chunk, or of a whole answer; in a frame named `error` a chunk is one without saying so."""
        if self.over:
            return []
        if not isinstance(chunk, dict):
            return [self.fail(ErrorKind.NOT_AN_ANSWER, f"not a chunk: {str(chunk)[:200]}")]
        if name == "error" and not chunk.get("error"):
            chunk = {"error": chunk or "error"}
        if chunk.get("error") or ("choices" not in chunk and _is_text(chunk.get("message"))):
            failure = classify_inband(chunk.get("error") or chunk)
            return [self.fail(failure.kind, failure.detail, failure)]
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(_start(chunk))
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not self.over:
                events += self._choice(choice)
        usage = read_usage(chunk.get("usage"))
        if usage is None and self._choices and events and isinstance(events[-1], Finish):
            usage = read_aside(chunk)
        if usage is not None and not self.over:
            events.append(Tokens(usage))
        return events

    def end(self) -> list[Event]:
        """The upstream's end mark: choices without a finish reason are finished now, unless only some of them are."""
        still_open = [choice for choice in self._choices.values() if not choice.finished]
        if self.over or not still_open:
            return []
        if len(still_open) < len(self._choices):
            return [self.fail(ErrorKind.BROKEN_STREAM, "the stream ended before every choice was finished")]
        return [event for choice in still_open for event in choice.finish("stop")]

    def fail(self, kind: ErrorKind, detail: str, cause: UpstreamFailure | None = None) -> Failed:
        """The last event there will be."""
        self.over = True
        return Failed(kind, detail, cause)

    def _choice(self, told: Mapping[str, Any]) -> list[Event]:
        index = told.get("index")
        index = index if isinstance(index, int) and 0 <= index < _MOST_CHOICES else 0
        choice = self._choices.setdefault(index, _Choice(index))
        if choice.finished:
            return []
        delta = told.get("delta") or told.get("message") or _legacy(told)
        events = list(choice.delta(delta)) if isinstance(delta, dict) else []
        choice.add_logprobs(told.get("logprobs"))
        reason = told.get("finish_reason")
        if isinstance(reason, str) and reason:
            if reason in FAULTY_FINISH:
                return [*events, self.fail(FAULTY_FINISH[reason], f"finish reason {reason!r}")]
            events += choice.finish(reason)
        return events


def _legacy(told: Mapping[str, Any]) -> dict[str, Any]:
    """A choice of legacy completions, whose text is its own, as a delta."""
    return {"content": told.get("text")}


def _start(chunk: Mapping[str, Any]) -> Start:
    created = chunk.get("created")
    return Start(
        id=_word(chunk.get("id")),
        model=_word(chunk.get("model")),
        created=int(created) if isinstance(created, int | float) and 0 < created < 1e12 else 0,
        extra={name: word for name in _EVERYWHERE if (word := _word(chunk.get(name)))},
    )


def decode_body(body: bytes) -> list[Event]:
    """The events of a whole answer that has been judged good."""
    chunks = Chunks()
    answer = read_json(body)
    events = chunks.read(answer)
    # Where a stream tells it last, so does this: both fold to the same answer.
    usage = [event for event in events if isinstance(event, Tokens)]
    return [event for event in events if not isinstance(event, Tokens)] + chunks.end() + usage
