"""Watch an answer that passes untouched: when it begins, how it ends, what it cost, and whether it is one at all.

The caller's and the upstream's dialect are the same, so whole frames go through byte for byte. Exceptions, all of them
declared: comments, named events and empty events stay behind (a client's decoder may choke on them); the usage that
only the proxy asked for is withheld, one whose sum is wrong is mended, and one that stands elsewhere is told as usual;
thinking goes by one name; and nothing of a frame that reports a failure leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, get_args

import msgspec

from proxy.core.decision import THINKING
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import FinishReason, tally
from proxy.core.usage import Usage
from proxy.wire import sse
from proxy.wire.lenient import read_json
from proxy.wire.openai_errors import classify_inband
from proxy.wire.usage import mended, read_aside, read_usage, write_usage

FAULTY_FINISH: Final = {
    "error": ErrorKind.FAULT,
    "insufficient_system_resource": ErrorKind.OVERLOAD,
}
"""Finish reasons by which an upstream says that it failed."""

_FINISH: Final = frozenset(get_args(FinishReason))
_NOTHING: Final[Mapping[str, int]] = {}
_USAGE_NULL: Final = b',"usage":null'
_USAGE_NULL_SPACED: Final = re.compile(rb',\s*"usage"\s*:\s*null|(?<=[{\s])"usage"\s*:\s*null\s*,?')
_TOP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Choice(msgspec.Struct):
    """One entry of `choices`, chunk or whole; every field may be anything, for servers differ."""

    index: Any = 0
    delta: Any = None
    message: Any = None
    text: Any = None
    finish_reason: Any = None


class Chunk(msgspec.Struct):
    """The fields of a chunk, or of a whole answer, that the proxy reads; all others are skipped undecoded."""

    choices: list[Choice] | None = None
    model: Any = ""
    usage: Any = msgspec.UNSET
    error: Any = None
    message: Any = None
    code: Any = None


_CHUNK: Final = msgspec.json.Decoder(Chunk)

Measure = Callable[[Choice], tuple[int, bool]]
"""Of a choice: characters written in it, and whether it says anything a client would miss (but its finish)."""


def read_chunk(data: bytes) -> Chunk | None:
    """Decode a chunk or an answer; None if it is none. What the clients' decoders would take passes here too."""
    try:
        return _CHUNK.decode(data)
    except (ValueError, RecursionError):
        pass
    try:
        return msgspec.convert(read_json(data), Chunk)
    except ValueError:
        return None


class Tap:
    """A `Passage` for the dialects whose streams are `data:` frames with `choices`, ended by `[DONE]`."""

    __slots__ = (
        "_aside", "_done", "_framing", "_measure", "_open", "_wants_usage",
        "begun", "cause", "detail", "ended", "failure", "finish", "finished", "model", "unknown", "usage", "written",
    )  # fmt: skip

    checkpoint = None  # those who can go on with an answer are spoken to in another dialect

    def __init__(self, measure: Measure, *, wants_usage: bool) -> None:
        self._measure = measure
        self._wants_usage = wants_usage
        self._framing = sse.Framing()
        self._open: set[int] = set()
        self._done: set[int] = set()
        self._aside: bytes | None = None
        """The chunk that tells the usage and nothing else, held until the end; empty where chunks of words told it."""
        self.begun = False
        self.finished = False
        self.ended = False
        self.failure: ErrorKind | None = None
        self.cause: UpstreamFailure | None = None
        self.unknown: Mapping[str, int] = _NOTHING
        self.detail = ""
        self.usage: Usage | None = None
        self.model = ""
        self.finish: str | None = None
        self.written = 0

    def feed(self, data: bytes) -> bytes:
        return self._pass(self._framing.feed(data))

    def close(self) -> bytes:
        out = self._pass(self._framing.close())
        if self.failure or self.ended:
            return out
        if self.finished:
            self.ended = True
            return out + self._late_usage() + sse.DONE
        if self.begun:
            self._fail(ErrorKind.BROKEN_STREAM, "the stream ended before the answer was finished")
        else:
            self._fail(ErrorKind.NOT_AN_ANSWER, "empty stream")
        return out

    def _pass(self, frames: list[bytes]) -> bytes:
        if len(frames) == 1:
            out = b"" if self.ended or self.failure else self._take(frames[0])
        else:
            out = b"".join(self._take(frame) for frame in frames if not (self.ended or self.failure))
        if self._framing.overflow and not (self.ended or self.failure):
            self._fail(ErrorKind.NOT_AN_ANSWER, f"an event of more than {sse.LIMIT} bytes")
        return out

    def _take(self, raw: bytes) -> bytes:
        """What of one raw frame may leave."""
        event = ""
        if sse.is_plain(raw):
            data = raw[5:-2]
        else:
            frame = sse.parse(raw)
            if frame.data is None:
                return b""
            event, data = frame.event, frame.data
            if not frame.pure:
                raw = sse.frame(data)
        chunk = read_chunk(data)
        if chunk is None:
            return self._take_other(raw, data)
        if chunk.error or event == "error" or (chunk.choices is None and isinstance(chunk.message, str)):
            self.cause = classify_inband(chunk.error or {"message": chunk.message, "code": chunk.code})
            return self._fail(self.cause.kind, self.cause.detail)
        if chunk.model and isinstance(chunk.model, str):
            self.model = chunk.model
        for choice in chunk.choices or ():
            if not self._watch(choice):
                return b""
        if self._done and self._aside is None and not chunk.usage and b'"x_' in data:
            self._read_aside(data)
        return raw if chunk.usage is msgspec.UNSET else self._without_usage(raw, chunk)

    def _take_other(self, raw: bytes, data: bytes) -> bytes:
        """A frame that is no chunk: an empty one, the end mark, or a failure."""
        data = data.strip()
        if not data:
            return b""
        if not data.startswith(b"[DONE]"):
            return self._fail(ErrorKind.NOT_AN_ANSWER, f"not a chunk: {data[:200]!r}")
        if not self.begun:
            return self._fail(ErrorKind.NOT_AN_ANSWER, "empty stream")
        if self._open and self._done:
            return self._fail(ErrorKind.BROKEN_STREAM, "the stream ended before every choice was finished")
        self.ended = True
        return self._late_usage() + raw

    def _watch(self, choice: Choice) -> bool:
        """Take note of what a choice says; false if it says that the upstream failed."""
        index = choice.index if type(choice.index) is int else 0
        written, speaks = self._measure(choice)
        reason = choice.finish_reason
        if reason and isinstance(reason, str):
            if reason in FAULTY_FINISH:
                self._fail(FAULTY_FINISH[reason], f"finish reason {reason!r}")
                return False
            if reason not in _FINISH:
                self.unknown = dict(self.unknown)
                tally(self.unknown, f"finish reason {reason}")
            speaks = True
            self._done.add(index)
            self._open.discard(index)
            if index == 0 or self.finish is None:
                self.finish = reason
            self.finished = not self._open
        elif index not in self._done:
            self._open.add(index)
            self.finished = False
        self.written += written
        if speaks:
            self.begun = True
        return True

    def _without_usage(self, raw: bytes, chunk: Chunk) -> bytes:
        """Read the usage; take it out if the caller did not ask for it and it would not have been there."""
        if chunk.usage is not None:
            self.usage = read_usage(chunk.usage) or self.usage
            if chunk.choices or self._wants_usage:
                raw = _with_sums(raw, chunk.usage)
            self._aside = b"" if chunk.choices else raw
            return raw if chunk.choices else b""
        return raw if self._wants_usage else _without_null(raw)

    def _read_aside(self, data: bytes) -> None:
        """Keep the usage that a last chunk tells in a vendor's extension."""
        told = read_json(data)
        self.usage = read_aside(told) or self.usage
        if self.usage is not None:
            head = {name: told[name] for name in ("id", "object", "created", "model") if name in told}
            self._aside = sse.frame(msgspec.json.encode({**head, "choices": [], "usage": write_usage(self.usage)}))

    def _late_usage(self) -> bytes:
        return self._aside or b"" if self._wants_usage else b""

    def _fail(self, kind: ErrorKind, detail: str) -> bytes:
        self.failure, self.detail = kind, detail
        return b""


class RenamingTap(Tap):
    """The same for an upstream that has another name for thinking text: clients read it by the usual one."""

    __slots__ = ("_name",)

    def __init__(self, measure: Measure, *, wants_usage: bool, thinks_as: str) -> None:
        super().__init__(measure, wants_usage=wants_usage)
        self._name = thinks_as

    def _take(self, raw: bytes) -> bytes:
        return super()._take(with_thinking(raw, self._name))


_USUAL: Final = b'"%s"' % THINKING.encode()


@lru_cache(maxsize=64)
def _field(name: str) -> tuple[bytes, re.Pattern[bytes]]:
    """The key `name`, and where its value is text or null; within a text its quotes would be escaped."""
    key = b'"%s"' % name.encode()
    return key, re.compile(rb'%s(?=\s*:\s*["n])' % re.escape(key))


def with_thinking(data: bytes, thinks_as: str) -> bytes:
    """`data` with thinking text under its usual name, unless it stands there too."""
    key, field = _field(thinks_as)
    return field.sub(_USUAL, data) if key in data and _USUAL not in data else data


def _with_sums(raw: bytes, usage: Any) -> bytes:
    """A frame whose usage adds up; all others keep their bytes."""
    sound = mended(usage)
    return raw if sound is None else sse.frame(_with(sse.parse(raw).data or b"", "usage", sound))


def _with(data: bytes, name: str, value: Any) -> bytes:
    """An object with one field written anew."""
    return msgspec.json.encode({**_TOP.decode(data), name: value})


def _without_null(raw: bytes) -> bytes:
    """Take a top-level `"usage":null` out of a frame; all other bytes stay.

    Inside a JSON string every quote is escaped, so what looks like this field is one; only its level is uncertain,
    and that only if there are several.
    """
    if raw.count(b'"usage"') == 1:
        head, found, tail = raw.partition(_USAGE_NULL)
        if found:
            return head + tail
        out, times = _USAGE_NULL_SPACED.subn(b"", raw)
        if times == 1:
            return out
    data = sse.parse(raw).data or b""
    try:
        fields = _TOP.decode(data)
    except ValueError:  # a lone surrogate: not worth a second parser, and a null is harmless
        return raw
    fields.pop("usage", None)
    return sse.frame(msgspec.json.encode(fields))


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An `Answer` as it came."""

    body: bytes
    usage: Usage | None
    model: str
    finish: str | None
    written: int
    unknown: Mapping[str, int] = field(default_factory=dict)


def judge(body: bytes, measure: Measure, is_complete: Callable[[Choice], bool]) -> WholeAnswer:
    """Check a whole answer; raises UpstreamFailure NOT_AN_ANSWER, or what the error inside it means.

    Leading blank lines are dropped: some servers send them to keep the connection alive.
    """
    body = body.lstrip()
    answer = read_chunk(body)
    if answer is None:
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"not a JSON answer: {body[:200]!r}")
    if answer.error:
        raise classify_inband(answer.error, ErrorKind.NOT_AN_ANSWER)
    if not answer.choices or not all(is_complete(choice) for choice in answer.choices):
        if isinstance(answer.message, str):
            raise classify_inband({"message": answer.message, "code": answer.code}, ErrorKind.NOT_AN_ANSWER)
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"an answer without choices: {body[:200]!r}")
    reasons = [one.finish_reason for one in answer.choices if isinstance(one.finish_reason, str) and one.finish_reason]
    unknown: dict[str, int] = {}
    for reason in reasons:
        if reason in FAULTY_FINISH:
            raise UpstreamFailure(FAULTY_FINISH[reason], f"finish reason {reason!r}")
        if reason not in _FINISH:
            tally(unknown, f"finish reason {reason}")
    sound = mended(answer.usage)
    return WholeAnswer(
        body=body if sound is None else _with(body, "usage", sound),
        usage=None if answer.usage is msgspec.UNSET else read_usage(answer.usage),
        model=answer.model if isinstance(answer.model, str) else "",
        finish=reasons[0] if reasons else None,
        written=sum(measure(choice)[0] for choice in answer.choices),
        unknown=unknown,
    )
