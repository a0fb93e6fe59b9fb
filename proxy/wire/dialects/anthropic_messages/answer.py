"""Messages answers to events; a stream's events and a whole answer's blocks go through the same machine.

    message_start · (content_block_start · content_block_delta* · content_block_stop)* · message_delta · message_stop

and `ping` or `error` anywhere. Blocks are numbered over all kinds, tool calls over tool calls alone. Signed thinking
is told once, with the `Finish`, as `thinking_blocks`: each block as it came and, as `index`, the place to put it back
to. Events, blocks and deltas that are not known here (server tools, citations) are counted and passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

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
from proxy.core.usage import Usage
from proxy.wire.decoding import StreamDecoder
from proxy.wire.dialects.anthropic_messages.errors import classify_inband
from proxy.wire.dialects.anthropic_messages.turns import THINKING
from proxy.wire.lenient import Mender, mend, read_json, write_json

_FINISH: Final[Mapping[str, FinishReason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # of its own server tools, for which no request that comes here has a word
    "refusal": "content_filter",
}
_NATURAL: Final = frozenset({"end_turn", "stop_sequence", "tool_use"})
"""These mean stop, or tool calls if there were some; and so does what is not known."""

_PING: Final = "ping"

_TIERS: Final[Mapping[str, str]] = {"standard": "default", "priority": "priority", "batch": "batch"}
_MOST: Final = 2**53

Json = Mapping[str, Any]


class _Block:
    """A content block while its pieces come in; `tool` is the running number of a tool call."""

    __slots__ = ("carried", "has_pieces", "kind", "mender", "text", "tool")

    def __init__(self, kind: str, carried: dict[str, Any], tool: int = 0) -> None:
        self.kind = kind
        self.carried = carried
        self.tool = tool
        self.mender = Mender()
        self.text: list[str] = []
        self.has_pieces = False


class Reader:
    """One answer, event by event; a `Machine`. `over` once its end was told, or that it failed."""

    __slots__ = ("_blocks", "_finished", "_has_text", "_started", "_thinking", "_tools", "_usage", "over")

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, Any] = {}
        self._thinking: list[dict[str, Any]] = []
        self._tools = 0
        self._has_text = False
        self._started = False
        self._finished = False
        self.over = False

    def read(self, event: Any, name: str = "") -> Iterable[Event]:
        """The events that one event of the stream stands for; `name` is used where the data do not name it."""
        if not isinstance(event, dict):
            return [self.fail(ErrorKind.NOT_AN_ANSWER, f"not an event: {str(event)[:200]}")]
        kind = event.get("type")
        kind = kind if isinstance(kind, str) else name
        on = _EVENTS.get(kind)
        if on is not None:
            return on(self, event)
        return [] if kind == _PING else [Unknown(f"event {kind}")]

    def whole(self, answer: Json) -> list[Event]:
        """The events of an answer that came in one piece."""
        events = list(self.on_message_start({"message": answer}))
        for index, block in enumerate(_list(answer.get("content"))):
            events += self.on_block_start({"index": index, "content_block": block})
            events += self.on_block_stop({"index": index})
        ends = {**answer, "stop_reason": answer.get("stop_reason") or "end_turn"}
        return events + list(self.on_message_delta({"delta": ends}))

    def end(self) -> Iterable[Event]:
        """Not of this protocol: what is missing then, is missing."""
        return ()

    def fail(self, kind: ErrorKind, detail: str, cause: UpstreamFailure | None = None) -> Failed:
        """The last event there will be."""
        self.over = True
        return Failed(kind, detail, cause)

    def on_message_start(self, event: Json) -> Iterator[Event]:
        if self._started:
            return
        self._started = True
        message = _dict(event.get("message"))
        tier = _TIERS.get(str(_dict(message.get("usage")).get("service_tier")))
        yield Start(_word(message.get("id")), _word(message.get("model")), 0, {"service_tier": tier} if tier else {})
        self._count(message)

    def on_block_start(self, event: Json) -> Iterator[Event]:
        told = _dict(event.get("content_block"))
        kind = told.get("type")
        block = _Block(kind if isinstance(kind, str) else "", dict(told), self._tools)
        self._blocks[_place(event)] = block
        if block.kind == "tool_use":
            self._tools += 1
            yield ToolOpen(block.tool, _word(told.get("id")) or f"call_{block.tool}", _word(told.get("name")))
        elif block.kind not in _KNOWN_BLOCKS:
            yield Unknown(f"block {block.kind}")
        yield from self._say(block, told)

    def on_block_delta(self, event: Json) -> Iterator[Event]:
        delta = _dict(event.get("delta"))
        block = self._blocks.get(_place(event))
        if block is None:
            return
        if delta.get("type") == "signature_delta":
            block.carried["signature"] = delta.get("signature")
        elif block.kind in _SPEECH and delta.get("type") == _SPEECH[block.kind][0]:
            yield from self._say(block, delta)
        elif block.kind in _KNOWN_BLOCKS:  # of a block without a word here, nothing is known
            yield Unknown(f"delta {delta.get('type')}")

    def _say(self, block: _Block, told: Json) -> Iterator[Event]:
        """What a piece of text, thinking or arguments adds."""
        if block.kind not in _SPEECH:
            return
        _, field, speak = _SPEECH[block.kind]
        piece = told.get(field)
        if isinstance(piece, str) and piece:
            text = block.mender.feed(piece)
            block.has_pieces = True
            if block.kind == "thinking":
                block.text.append(text)
            elif block.kind == "text":
                self._has_text = True
            if text:
                yield speak(text, block)

    def on_block_stop(self, event: Json) -> Iterator[Event]:
        block = self._blocks.pop(_place(event), None)
        if block is None:
            return
        rest = block.mender.close()
        if rest:
            block.text.append(rest)
            yield _SPEECH[block.kind][2](rest, block)
        if block.kind == "tool_use" and not block.has_pieces:
            yield ToolArgs(block.tool, write_json(_dict(block.carried.get("input"))))
        self._sign(block)

    def _sign(self, block: _Block) -> None:
        """Keep a thinking block, to be sent back as it came."""
        signed = block.carried
        if block.kind == "thinking" and isinstance(signed.get("signature"), str):
            signed["thinking"] = "".join(block.text)
        elif block.kind != "redacted_thinking" or not isinstance(signed.get("data"), str):
            return
        self._thinking.append(signed | {"index": self._has_text + self._tools + len(self._thinking)})

    def on_message_delta(self, event: Json) -> Iterator[Event]:
        delta = _dict(event.get("delta"))
        reason = delta.get("stop_reason")
        if isinstance(reason, str) and reason:
            yield from self._finish(reason, delta.get("stop_details"))
        self._count(event)
        if self._usage:
            yield Tokens(read_usage(self._usage))

    def _count(self, holder: Json) -> None:
        """Take note of counts: they are cumulative, and some are told at the beginning only.

        Those of the beginning alone are not told on: of an answer that breaks off, they know a single token.
        """
        told = _dict(holder.get("usage"))
        self._usage |= {name: value for name, value in told.items() if value is not None}

    def _finish(self, reason: str, details: Any = None) -> Iterator[Event]:
        if self._finished:
            return
        self._finished = True
        for index in tuple(self._blocks):
            yield from self.on_block_stop({"index": index})
        why = _dict(details).get("explanation")
        if reason == "refusal" and isinstance(why, str) and why:
            yield Refuse(mend(why))
        if self._thinking:
            yield Extra(THINKING, self._thinking)
        if reason not in _FINISH and reason not in _NATURAL:
            yield Unknown(f"stop reason {reason}")
        yield Finish(_FINISH.get(reason, "tool_calls" if self._tools else "stop"))

    def on_message_stop(self, _event: Json) -> Iterator[Event]:
        self.over = True
        if self._started:
            yield from self._finish("end_turn")

    def on_error(self, event: Json) -> Iterator[Event]:
        failure = classify_inband(event)
        yield self.fail(failure.kind, failure.detail, failure)


_EVENTS: Final[Mapping[str, Callable[[Reader, Json], Iterator[Event]]]] = {
    "message_start": Reader.on_message_start,
    "content_block_start": Reader.on_block_start,
    "content_block_delta": Reader.on_block_delta,
    "content_block_stop": Reader.on_block_stop,
    "message_delta": Reader.on_message_delta,
    "message_stop": Reader.on_message_stop,
    "error": Reader.on_error,
}


def _arguments(text: str, block: _Block) -> Event:
    return ToolArgs(block.tool, text)


def _spoken(text: str, _block: _Block) -> Event:
    return Text(text)


def _thought(text: str, _block: _Block) -> Event:
    return Reason(text)


_SPEECH: Final[Mapping[str, tuple[str, str, Callable[[str, _Block], Event]]]] = {
    "text": ("text_delta", "text", _spoken),
    "thinking": ("thinking_delta", "thinking", _thought),
    "tool_use": ("input_json_delta", "partial_json", _arguments),
}
"""By kind of block: the deltas that add to it, the field in which they speak, and the event that it makes."""

_KNOWN_BLOCKS: Final = frozenset({*_SPEECH, "redacted_thinking"})


def read_usage(usage: Json) -> Usage:
    """The counts in OpenAI's sense: the vendor leaves what went through its cache out of `input_tokens`."""
    fresh, written, read, completion = (
        _number(usage.get(name))
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    )
    thinking = _number(_dict(usage.get("output_tokens_details")).get("thinking_tokens"))
    return Usage(
        prompt=fresh + written + read,
        completion=completion,
        cached=read,
        cache_write=written,
        reasoning=min(completion, thinking),
        source="vendor",
    )


def decode_body(body: bytes) -> list[Event]:
    """The events of a whole answer, which may have been asked for as a stream; raises UpstreamFailure if it is none."""
    if body.lstrip()[:1] not in (b"{", b"["):
        decoder = StreamDecoder(Reader())
        return decoder.feed(body) + decoder.close()
    try:
        answer = read_json(body)
    except ValueError:
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"not an answer: {body[:200]!r}") from None
    if isinstance(answer, dict) and answer.get("error"):
        raise classify_inband(answer)
    if not isinstance(answer, dict) or not isinstance(answer.get("content"), list):
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"not a message: {body[:200]!r}")
    return Reader().whole(answer)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _place(event: Json) -> int:
    """Of a block among the answer's."""
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _word(value: Any) -> str:
    return mend(value) if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST else 0
