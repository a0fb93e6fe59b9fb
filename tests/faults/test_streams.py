"""Faults 36 to 53: streams that are silent, break, or are odd."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.faults.scenario import Fault, play, plays
from tests.faults.stage import FIRST_WORDS, Stage
from tests.upstream import Script, ToolCall

pytestmark = pytest.mark.both_loops

TWICE = ("one fault", "one fault", "two success")
LATE = ("one first_token_timeout", "two success")
SOON: Mapping[str, Any] = {"timeouts": {"first_token": "300ms"}}
QUIET: Mapping[str, Any] = {"timeouts": {"idle": "500ms"}}
"""Never both: which of two equal timers is the first is up to the loop."""
PINGS = (b": ping\n\n",) * 10_000
ANTHROPIC_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
VENDOR_WORDS = {"message": "vendor-words", "type": "server_error"}
OVERLOADED = {"type": "overloaded_error", "message": "vendor-words"}
INTERNAL = {"code": 500, "status": "INTERNAL", "message": "vendor-words"}
BARE = b'[{\n  "error": {"code": 503, "message": "vendor-words", "status": "UNAVAILABLE"}\n}]\n'
"""As Gemini may say it in the middle of a stream: no frame at all."""
TEN = tuple(f"w{number} " for number in range(12))


def chunk(delta: Mapping[str, Any] | None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    """A frame of an OpenAI stream with one choice, or with none."""
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    told = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices} | more
    return b"data: " + json.dumps(told, ensure_ascii=False).encode() + b"\n\n"


def says(text: str) -> bytes:
    return chunk({"content": text})


ENDLESS = (b"x" * (1 << 20),) * 100
"""A hundred megabytes without the end of a line."""
STOP, DONE = chunk({}, "stop"), b"data: [DONE]\n\n"


def odd(*frames: bytes) -> Script:
    return Script(chunks=frames)


def broken(number: int, name: str, one: Script, **more: Any) -> Fault:
    """A stream that breaks after its first word: what came is kept, and nobody else speaks."""
    facts: dict[str, Any] = {
        "by": "one", "text": "Hello", "tries": ("one fault",), "after": 2, "hurts": 1, "code": "stream_interrupted",
        "ended": "broken_stream", "source": "counted", "billed": True, "only": "stream",
    }  # fmt: skip
    return Fault(number=number, name=name, one=one, **(facts | more))


def fine(number: int, name: str, one: Script, **more: Any) -> Fault:
    """A stream that is odd and good."""
    facts: dict[str, Any] = {"by": "one", "tries": ("one success",), "hurts": 0, "only": "stream"}
    return Fault(number=number, name=name, one=one, **(facts | more))


def late(number: int, name: str, one: Script, **more: Any) -> Fault:
    """A stream that does not begin in time."""
    facts: dict[str, Any] = {"tries": LATE, "hurts": 1, "config": SOON, "alone": (504, "upstream_timeout")}
    return Fault(number=number, name=name, one=one, only="stream", billed=True, **(facts | more))


FAULTS = (
    late(36, "only a head", Script(before_first="never")),
    late(36, "only a role", Script(pauses={1: "never"})),
    late(37, "only comments", Script(chunks=PINGS, between=0.01)),
    late(37, "only empty deltas", Script(chunks=(says(""),) * 10_000, between=0.01)),
    late(
        37, "only a vendor's pings", Script(chunks=(ANTHROPIC_PING,) * 10_000, between=0.01),
        config={"provider": "anthropic"} | SOON,
    ),
    broken(38, "silence", Script(pauses={2: "never"}), tries=("one idle_timeout",), config=QUIET),
    *(
        broken(
            39, f"reset after {count} words", Script(deltas=TEN, cut_frames=1 + count, ending="reset"),
            text="".join(TEN[:count]), after=1 + count,
        )
        for count in (1, 10, 12)
    ),
    broken(39, "reset in a frame", Script(cut_frames=2.5, ending="reset")),
    broken(40, "clean end", Script(cut_frames=2), tries=("one broken_stream",)),
    broken(40, "FIN", Script(cut_frames=2, ending="close")),
    broken(40, "clean end in a frame", Script(cut_frames=2.5), tries=("one broken_stream",)),
    broken(
        40, "all words but no finish", Script(finish="", done=False), text=FIRST_WORDS, tries=("one broken_stream",)
    ),
    *(
        fine(41, f"{ending} end without a mark", Script(done=False, ending=ending), after=6)
        for ending in ("clean", "close", "reset")
    ),
    fine(41, "silence in place of a mark", Script(done=False, ending="hang"), config=QUIET),
    fine(42, "two marks", odd(says(FIRST_WORDS), STOP, DONE, DONE), source="counted"),
    fine(42, "words after the mark", odd(says(FIRST_WORDS), STOP, DONE, says("more"), STOP), source="counted"),
    fine(42, "an error after the mark", odd(says(FIRST_WORDS), STOP, DONE, b'data: {"error":1}\n\n'), source="counted"),
    *(
        Fault(
            number=43, name=f"{name} before the first word", one=Script(error=error, error_after=begins), only="stream",
            tries=tries, hurts=len(tries) - 1, billed=True, unseen=(b"vendor-words",), config={"provider": provider},
        )
        for name, provider, error, begins, tries in (
            ("an error", "compatible", VENDOR_WORDS, 1, TWICE),
            ("an error as text", "compatible", "vendor-words: the model has crashed (Exit code: 6)", 1, TWICE),
            ("an overload", "anthropic", OVERLOADED, 3, ("one overload", "two success")),
            ("an error of Gemini's", "gemini", INTERNAL, 0, TWICE),
        )
    ),
    Fault(
        number=43, name="a bare error of Gemini's", one=odd(BARE), only="stream", hurts=1, billed=True,
        tries=("one overload", "two success"), unseen=(b"vendor-words",), config={"provider": "gemini"},
    ),
    broken(
        43, "a bare error after words", odd(chunk({"role": "assistant"}), says("Hello"), BARE),
        tries=("one broken_stream",), unseen=(b"vendor-words",),
    ),
    broken(43, "an error", Script(error=VENDOR_WORDS, error_after=2), unseen=(b"vendor-words",)),
    broken(43, "an error as text", Script(error="vendor-words", error_after=2), unseen=(b"vendor-words",)),
    broken(
        43, "an error as finish", odd(chunk({"role": "assistant"}), says("Hello"), chunk({}, "error")), hurts=1,
    ),
    broken(
        43, "overload of Anthropic's", Script(error=OVERLOADED, error_after=4),
        config={"provider": "anthropic"}, after=4, heard=2, tries=("one overload",), unseen=(b"vendor-words",),
    ),
    broken(
        43, "an error of Gemini's", Script(error=INTERNAL, error_after=1),
        config={"provider": "gemini"}, after=1, heard=2, unseen=(b"vendor-words",),
    ),
    *(
        fine(44, f"{name} in pieces of {size or 'all'}", Script(write_size=size, line_end=end, frames_per_write=frames))
        for name, end, frames in (("LF", "\n", 1), ("CRLF", "\r\n", 1), ("all frames at once", "\n", 100))
        for size in (None, 1, 2, 3, 7)
    ),
    fine(
        44, "letters cut apart", Script(deltas=("Grüße ", "👋🏽", " 𝔘 ", "\u2028", "日本"), write_size=1),
        text="Grüße 👋🏽 𝔘 \u2028日本",
    ),
    fine(
        44, "CR and a byte order mark", source="counted",
        one=odd(b"\xef\xbb\xbf" + says("Hello,").replace(b"\n", b"\r"), says(" world!").replace(b"\n", b"\r"),
                STOP.replace(b"\n", b"\r"), DONE.replace(b"\n", b"\r")),
    ),
    Fault(
        number=45, name="an event of 20 MB at first", only="stream", tries=("one not_an_answer", "two success"),
        one=odd(b'data: {"choices":[{"delta":{"content":"', *[b"x" * (1 << 20)] * 20, b'"}}]}\n\n'), hurts=1,
        billed=True,
    ),
    Fault(
        number=45, name="a line without end at first", only="stream", tries=("one not_an_answer", "two success"),
        one=Script(chunks=ENDLESS, between=0.001), hurts=1, billed=True,
        also=lambda stage, _answer, _record: _stopped_early(stage),
    ),
    broken(
        45, "a line without end", Script(chunks=(chunk({"role": "assistant"}), says("Hello"), *ENDLESS), between=0.001),
        tries=("one not_an_answer",), also=lambda stage, _answer, _record: _stopped_early(stage),
    ),
    fine(
        46, "20 000 events", Script(deltas=("Hello", *["."] * 20_000), frames_per_write=500),
        text="Hello" + "." * 20_000,
    ),
    broken(
        48, "a call that breaks off", Script(tool_calls=(ToolCall("a", ('{"city":"Par', 'is"}')),), cut_frames=3),
        text="", after=3, tries=("one broken_stream",), unseen=(b'"tool_calls"}', b'"finish_reason":"tool_calls"'),
    ),
    broken(
        50, "one choice of three is cut", text="Helloab", tries=("one broken_stream",), after=4,
        one=odd(
            chunk({"content": "Hello"}), chunk({"content": "a"}, index=1), chunk({}, "stop"),
            chunk({"content": "b"}, index=2), chunk({}, "stop", 1),
        ),
        asks={"n": 3},
    ),
    fine(
        50, "three choices in turns", source="counted", text="Helloab", asks={"n": 3},
        one=odd(
            chunk({"content": "Hello"}), chunk({"content": "a"}, index=1), chunk({}, "stop"),
            chunk({"content": "b"}, index=2), chunk({}, "stop", 2), chunk({}, "length", 1), DONE,
        ),
    ),
    fine(
        51, "a role in each chunk", source="counted", text="Hello",
        one=odd(*(chunk({"role": "assistant", "content": text}) for text in ("Hel", "lo")), STOP, DONE),
    ),
    fine(
        51, "null content", source="counted", text="Hello",
        one=odd(chunk({"role": "assistant", "content": None}), says("Hello"), chunk({"content": None}), STOP, DONE),
    ),
    fine(51, "nothing but reasoning", Script(deltas=(), reasoning=("let me", " see")), text=""),
)  # fmt: skip


def _stopped_early(stage: Stage) -> None:
    """The upstream was not listened to until its end: 8 MiB and what sockets hold, not 100."""
    assert len(stage.one.seen[0].sent) < 50 << 20


@plays(FAULTS)
async def test_fault(stage: Stage, fault: Fault, stream: bool, alone: bool) -> None:
    await play(stage, fault, stream, alone)
