"""Gemini's answers to events; chunks of a stream and whole answers go through the same machine.

A chunk has the form of a whole answer. What other vendors do differently, and what becomes of it here: a tool call
arrives whole in one part (one `ToolArgs`), often without an id (one is made of the answer's id and its number); the
finish reason is STOP for tool calls too; thinking is text with `thought`; the signature of a text and the pictures
that the model drew are told with the `Finish`; a blocked prompt is an answer without candidates; errors may stand in
a stream as bare JSON over several lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import (
    Checkpoint,
    Event,
    Extra,
    Failed,
    Finish,
    FinishReason,
    Reason,
    Start,
    Text,
    Tokens,
    ToolArgs,
    ToolOpen,
    Unknown,
)
from proxy.wire import sse
from proxy.wire.dialects.gemini_generate.errors import classify_inband
from proxy.wire.dialects.gemini_generate.usage import read_usage
from proxy.wire.lenient import Mender, mend, read_json, write_json

_FINISH: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",  # unless the rest is asked for: see `Chunks`
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "OTHER", "NO_IMAGE",
            "MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED",
        ),
        "content_filter",
    ),
}  # fmt: skip
"""Finish reasons; those that begin with IMAGE_ are blocks too, and all that are not known mean stop."""

_FAULTY: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
)  # fmt: skip
"""Finish reasons by which the model says that it failed: another try may succeed."""

_PAUSE: Final = "CONTINUATION"
_PART_FIELDS: Final = frozenset({"thought", "thoughtSignature"})
"""Fields of a part beside the one that says what it is."""

_UNBLOCKED: Final = frozenset({"", "BLOCKED_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"})
_MOST_CHOICES: Final = 1024
_LONGEST_ERROR: Final = 64 * 1024
_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_ID: Final = 24  # of the answer's id within a call's: some vendors take 40 characters in all
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_SSE_FIELDS: Final = frozenset({b"", b"data", b"event", b"id", b"retry"})


class _Choice:
    """What is known of one candidate while its parts come in."""

    __slots__ = ("_calls", "_images", "_logprobs", "_menders", "_signature", "finished", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.finished = False
        self._calls = 0
        self._signature: str | None = None
        self._images: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        self._menders: dict[type, Mender] = {}

    def parts(self, parts: Sequence[Any], answer: str) -> Iterator[Event]:
        """The events of some parts; `answer` is the answer's id."""
        for part in parts:
            if not isinstance(part, dict):
                continue
            text = part.get("text")
            if isinstance(text, str):
                if text:
                    yield from self._text(Reason if part.get("thought") is True else Text, text)
                if part.get("thought") is not True:
                    self._signature = _signature_of(part) or self._signature
            elif isinstance(part.get("functionCall"), dict):
                yield from self._call(part["functionCall"], _signature_of(part), answer)
            elif isinstance(part.get("inlineData"), dict):
                self._inline(part["inlineData"])
            else:
                yield from (Unknown(f"part {name}") for name in part if name not in _PART_FIELDS)

    def finish(self, reason: str) -> Iterator[Event]:
        """What was held back, and the `Finish`."""
        self.finished = True
        for kind, mender in self._menders.items():
            rest = mender.close()
            if rest:
                yield kind(rest, self.index)
        if self._signature:
            # As at the vendor's compatible endpoint; once, for clients put the pieces of a field together.
            yield Extra("extra_content", {"google": {"thought_signature": self._signature}}, self.index)
        if self._images:
            yield Extra("images", self._images, self.index)
        known = "content_filter" if reason.startswith("IMAGE_") else _FINISH.get(reason)
        if known is None:
            known = "stop"
            yield Unknown(f"finish reason {reason}")
        if self._calls and known == "stop":
            known = "tool_calls"
        logprobs = {"content": self._logprobs, "refusal": None} if self._logprobs else None
        yield Finish(known, self.index, logprobs)

    def add_logprobs(self, told: Any) -> None:
        """Put the pieces of `logprobsResult` together; they are told with the `Finish`."""
        if isinstance(told, dict):
            self._logprobs += _logprobs(told)

    def _text(self, kind: Callable[[str, int], Event], value: str) -> Iterator[Event]:
        mender = self._menders.get(kind)  # type: ignore[call-overload]
        if mender is None:
            mender = self._menders[kind] = Mender()  # type: ignore[index]
        text = mender.feed(value)
        if text:
            yield kind(text, self.index)

    def _call(self, call: Mapping[str, Any], signature: str | None, answer: str) -> Iterator[Event]:
        name = call.get("name")
        if not isinstance(name, str) or not name:
            return  # a piece of a call that comes in pieces, which was not asked for
        number, self._calls = self._calls, self._calls + 1
        identity = call.get("id")
        if not isinstance(identity, str) or not identity:
            # An id must differ within the conversation, and from those of other candidates.
            identity = "_".join(filter(None, ("call", _ID.sub("", answer)[:_LONGEST_ID], str(self.index), str(number))))
        arguments = call.get("args")
        yield ToolOpen(number, mend(identity), mend(name), self.index, signature)
        yield ToolArgs(number, write_json(arguments if isinstance(arguments, dict) else {}), self.index)

    def _inline(self, blob: Mapping[str, Any]) -> None:
        kind, data = blob.get("mimeType"), blob.get("data")
        if isinstance(kind, str) and kind.startswith("image/") and isinstance(data, str):
            self._images.append({"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}})


def _signature_of(part: Mapping[str, Any]) -> str | None:
    signature = part.get("thoughtSignature")
    return signature if isinstance(signature, str) and signature else None


def _logprobs(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`logprobsResult` as OpenAI's list: the chosen tokens, each with its rivals."""
    rivals = [_dicts(top.get("candidates")) for top in _dicts(told.get("topCandidates"))]
    return [
        _token(one) | {"top_logprobs": [_token(rival) for rival in (rivals[place] if place < len(rivals) else ())]}
        for place, one in enumerate(_dicts(told.get("chosenCandidates")))
    ]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _token(one: Mapping[str, Any]) -> dict[str, Any]:
    token, logprob = mend(str(one.get("token") or "")), one.get("logProbability")
    return {
        "token": token,
        "logprob": logprob if isinstance(logprob, int | float) else 0.0,
        "bytes": list(token.encode()),
    }


class Chunks:
    """Decoded chunks to events. `failed` once a `Failed` was given out: then nothing follows.

    If it `pauses`, continuation tokens are told as checkpoints, and an answer that ends only because a request may not
    produce more ends as a failure of kind PAUSED: whoever reads it wants to ask for the rest.
    """

    __slots__ = ("_choices", "_id", "_pauses", "_started", "failed")

    def __init__(self, *, pauses: bool = False) -> None:
        self._pauses = pauses
        self._choices: dict[int, _Choice] = {}
        self._id = ""
        self._started = False
        self.failed = False

    def read(self, chunk: Any) -> list[Event]:
        """The events of one chunk, of a whole answer, or of a list of either."""
        if isinstance(chunk, list):
            return [event for one in chunk for event in self.read(one)]
        if self.failed:
            return []
        if not isinstance(chunk, dict):
            return [self.fail(ErrorKind.NOT_AN_ANSWER, f"not a chunk: {str(chunk)[:200]}")]
        if chunk.get("error"):
            return [self._error(chunk["error"])]
        events: list[Event] = []
        if not self._started:
            self._started = True
            self._id = _word(chunk.get("responseId"))
            events.append(Start(self._id, _word(chunk.get("modelVersion"))))
        candidates = chunk.get("candidates")
        if candidates and isinstance(candidates, list):
            for candidate in candidates:
                if isinstance(candidate, dict) and not self.failed:
                    events += self._candidate(candidate)
        elif _is_blocked(chunk.get("promptFeedback")):
            events += self._choice(0).finish("SAFETY")
        usage = read_usage(chunk.get("usageMetadata"))
        if usage is not None and not self.failed:
            events.append(Tokens(usage))
        if self._pauses and not self.failed:
            events += self._pause(candidates[0] if isinstance(candidates, list) and candidates else None)
        return events

    def _pause(self, candidate: Any) -> Iterator[Event]:
        """What the first candidate says of going on; the vendor has it for no other."""
        if token := _token_of(candidate):
            yield Checkpoint(token)
            if candidate.get("finishReason") == _PAUSE:
                yield self.fail(ErrorKind.PAUSED, "the request may not produce more")

    def end(self) -> list[Event]:
        """The end of a whole answer: what came in it is all there is, whether or not it says so."""
        open_still = [choice for choice in self._choices.values() if not choice.finished]
        return [event for choice in open_still for event in choice.finish("STOP")] if not self.failed else []

    def fail(self, kind: ErrorKind, detail: str, cause: UpstreamFailure | None = None) -> Failed:
        """The last event there will be."""
        self.failed = True
        return Failed(kind, detail, cause)

    def _error(self, error: Any) -> Failed:
        failure = classify_inband(error if isinstance(error, dict) else {"message": str(error)})
        return self.fail(failure.kind, failure.detail, failure)

    def _choice(self, index: Any) -> _Choice:
        index = index if type(index) is int and 0 <= index < _MOST_CHOICES else 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index)
        return choice

    def _candidate(self, candidate: Mapping[str, Any]) -> list[Event]:
        reason = candidate.get("finishReason")
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        if not reason and not parts:
            return []
        choice = self._choice(candidate.get("index"))
        if choice.finished:
            return []
        events = list(choice.parts(parts, self._id)) if isinstance(parts, list) else []
        choice.add_logprobs(candidate.get("logprobsResult"))
        if isinstance(reason, str) and reason:
            if reason in _FAULTY:
                return [*events, self.fail(ErrorKind.FAULT, f"finish reason {reason}")]
            is_pause = self._pauses and reason == _PAUSE and _token_of(candidate)
            if reason != "FINISH_REASON_UNSPECIFIED" and not is_pause:
                events += choice.finish(reason)
        return events


def _word(value: Any) -> str:
    return mend(value) if isinstance(value, str) else ""


def _token_of(candidate: Any) -> str:
    """The token with which the rest of the answer can be asked for; empty if there is none."""
    token = candidate.get("continuationToken") if isinstance(candidate, dict) else None
    return token if isinstance(token, str) else ""


def _is_blocked(feedback: Any) -> bool:
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    return isinstance(reason, str) and reason not in _UNBLOCKED


class GenerateDecoder:
    """A `Decoder` of `streamGenerateContent?alt=sse`; `ended` stays false, for the protocol has no end mark."""

    __slots__ = ("_bare", "_chunks", "_framing", "ended")

    def __init__(self, *, pauses: bool = False) -> None:
        self._framing = sse.Framing()
        self._chunks = Chunks(pauses=pauses)
        self._bare = b""
        self.ended = False

    def feed(self, data: bytes) -> list[Event]:
        return self._read(self._framing.feed(data))

    def close(self) -> list[Event]:
        """The vendor's own reader takes a last frame without its blank line, and so does this one, if it is whole."""
        return self._read([raw for raw in self._framing.close(unended=True) if _is_whole(raw)])

    def _read(self, raws: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        for raw in raws:
            if self._chunks.failed:
                break
            events += self._chunk(raw[5:-2]) if sse.is_plain(raw) else self._frame(raw)
        if self._framing.overflow and not self._chunks.failed:
            events.append(self._chunks.fail(ErrorKind.NOT_AN_ANSWER, f"an event of more than {sse.LIMIT} bytes"))
        return events

    def _frame(self, raw: bytes) -> list[Event]:
        data = sse.parse(raw).data
        events = self._chunk(data) if data is not None else []
        bare = [line for line in _LINE_END.split(raw) if line.partition(b":")[0] not in _SSE_FIELDS]
        return events + self._bare_lines(bare) if bare or self._bare else events

    def _chunk(self, data: bytes) -> list[Event]:
        if not data or data.isspace():
            return []
        try:
            chunk = read_json(data)
        except ValueError:
            return [self._chunks.fail(ErrorKind.NOT_AN_ANSWER, f"not a chunk: {data[:200]!r}")]
        return self._chunks.read(chunk)

    def _bare_lines(self, lines: Sequence[bytes]) -> list[Event]:
        """Lines outside of any event: an error, written as plain JSON; collected until it is whole."""
        self._bare += b"\n".join(lines)
        if len(self._bare) > _LONGEST_ERROR:
            return [self._chunks.fail(ErrorKind.NOT_AN_ANSWER, f"not an event: {self._bare[:200]!r}")]
        if self._bare.lstrip()[:1] not in (b"{", b"["):
            self._bare = b""  # a line that means nothing to anybody
            return []
        try:
            told = read_json(self._bare)
        except ValueError:
            return []
        self._bare = b""
        return self._chunks.read(told)


def _is_whole(raw: bytes) -> bool:
    data = sse.parse(raw).data
    try:
        return data is None or read_json(data) is not None
    except ValueError:
        return False


def decode_body(body: bytes) -> list[Event]:
    """The events of a whole answer. Raises UpstreamFailure if it is none."""
    try:
        told = read_json(body)
    except ValueError:
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"not a JSON answer: {body[:200]!r}") from None
    chunks = Chunks()
    events = chunks.read(told)
    # Where a stream tells it last, so does this: both fold to the same answer.
    usage = [event for event in events if isinstance(event, Tokens)]
    return [event for event in events if not isinstance(event, Tokens)] + chunks.end() + usage
