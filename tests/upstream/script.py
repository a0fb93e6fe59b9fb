"""What the fake upstream does with one request: a value that tests write and `play` carries out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

PATIENCE = 60.0
"""Seconds after which a test that waits for something gives up; no expectation, only an end to hanging."""


class Gate:
    """A place where a script waits until the test lets it go on; it also tells that the script has come there."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._open = asyncio.Event()
        self._reached = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def reached(self) -> None:
        """Wait until a script stands before the gate (or has passed it)."""
        async with asyncio.timeout(PATIENCE):
            await self._reached.wait()

    async def passage(self) -> None:
        """The script's side: announce the arrival, then wait for `open`."""
        self._reached.set()
        await self._open.wait()


Step = float | Gate | Literal["never"]
"""How long a script waits: seconds, until a gate opens, or for ever."""


async def pause(step: Step) -> None:
    """Wait as `step` says; an aborted connection cancels the wait."""
    if isinstance(step, Gate):
        await step.passage()
    elif step == "never":
        await asyncio.Event().wait()
    elif step:
        await asyncio.sleep(float(step))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model makes; `pieces` are the parts in which its JSON arguments are streamed."""

    name: str
    pieces: tuple[str, ...] = ('{"ci', 'ty":"Par', 'is"}')
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Usage:
    """In OpenAI's sense: `cached` and `cache_write` are parts of `prompt`, `reasoning` of `completion`."""

    prompt: int = 7
    completion: int = 4
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One scripted answer. The default is a model that says "Hello, world!" and ends well.

    The model's words (a dialect makes bytes of them; with status >= 400 it makes an error of `error`):
        finish         None lets the dialect choose; "" leaves the finish out.
        usage_always   usage comes even if the caller did not ask.
        error          reported inside the answer, after `error_after` frames of a stream.
        endless        the last delta is repeated without end.
    Raw bytes in place of the dialect's:
        body           the whole body. chunks: its pieces, each counted as a frame. head: status line and headers.
        interim        bytes before the head, such as `HTTP/1.1 103 Early Hints\r\n\r\n`.
    Time:
        before_head, before_first (frame), between (two frames), pauses {frame number: step}, before_end.
    The wire:
        frames_per_write, write_size (bytes; 1 = every byte on its own), line_end of frames, framing, gzip.
        cut_head       the connection ends after so many bytes of the head.
        cut_after      the body ends after so many bytes; cut_frames after so many frames (2.5: half of the third).
        ending         how: `clean` as HTTP wants it, `close` by FIN, `reset` by RST, `hang` not at all.
    """

    deltas: tuple[str, ...] = ("Hello", ",", " world", "!")
    reasoning: tuple[str, ...] = ()
    reasoning_field: str = "reasoning_content"
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str | None = None
    usage: Usage | None = Usage()
    usage_always: bool = False
    model: str | None = None
    error: Mapping[str, Any] | str | None = None
    error_after: int = 0
    endless: bool = False
    done: bool = True

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str | None = None
    body: bytes | None = None
    chunks: tuple[bytes, ...] | None = None
    head: bytes | None = None
    interim: bytes = b""

    before_head: Step = 0.0
    before_first: Step = 0.0
    between: Step = 0.0
    pauses: Mapping[int, Step] = field(default_factory=dict)
    before_end: Step = 0.0

    frames_per_write: int = 1
    write_size: int | None = None
    line_end: Literal["\n", "\r\n"] = "\n"
    framing: Literal["chunked", "length", "close"] | None = None
    gzip: bool = False
    cut_head: int | None = None
    cut_after: int | None = None
    cut_frames: float | None = None
    ending: Literal["clean", "close", "reset", "hang"] = "clean"


def _step(value: Any, gate: Callable[[str], Gate]) -> Step:
    return gate(value["gate"]) if isinstance(value, dict) else value


def from_json(document: Mapping[str, Any], gate: Callable[[str], Gate]) -> Script:
    """A script as the control endpoint takes it: fields by name, bytes as text, gates as `{"gate": name}`.

    Raises ValueError for an unknown field.
    """
    unknown = set(document) - {known.name for known in fields(Script)}
    if unknown:
        raise ValueError(f"no such field in a script: {', '.join(sorted(unknown))}")
    converted = {name: _CONVERTERS.get(name, _as_is)(value, gate) for name, value in document.items()}
    return Script(**converted)


_Converter = Callable[[Any, Callable[[str], Gate]], Any]


def _as_is(value: Any, _: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


_CONVERTERS: Mapping[str, _Converter] = {
    "headers": lambda value, _: tuple((name, text) for name, text in value),
    "body": lambda value, _: value.encode(),
    "head": lambda value, _: value.encode(),
    "interim": lambda value, _: value.encode(),
    "chunks": lambda value, _: tuple(piece.encode() for piece in value),
    "usage": lambda value, _: Usage(**value) if value else None,
    "tool_calls": lambda value, _: tuple(
        ToolCall(call["name"], tuple(call.get("pieces", ("{}",))), call.get("id", "call_1")) for call in value
    ),
    "before_head": _step,
    "before_first": _step,
    "between": _step,
    "before_end": _step,
    "pauses": lambda value, gate: {int(number): _step(step, gate) for number, step in value.items()},
}
