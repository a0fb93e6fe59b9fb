"""From the bytes of a stream to a dialect's events: the way that all dialects go whose frames hold JSON.

bytes ──SSEDecoder──► frames ──read_json──► values ──Machine──► events
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from proxy.core.errors import ErrorKind
from proxy.core.events import Event, Failed
from proxy.wire import sse
from proxy.wire.dialects import Decoder
from proxy.wire.lenient import read_json

_END = b"[DONE]"


class Machine(Protocol):
    """What one dialect makes of the values in an answer's frames."""

    over: bool
    """Its end was told, or it has failed: nothing follows."""

    def read(self, value: Any, name: str = "") -> Iterable[Event]:
        """The events of one frame; `name` is the frame's, empty where it has none."""
        ...

    def end(self) -> Iterable[Event]:
        """OpenAI's end mark, which servers put at the end of other protocols' streams too."""
        ...

    def fail(self, kind: ErrorKind, detail: str) -> Failed:
        """The last event there will be."""
        ...


class StreamDecoder:
    """A `Decoder` made of a machine."""

    __slots__ = ("_machine", "_sse", "ended")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._sse = sse.SSEDecoder()
        self.ended = False

    def feed(self, data: bytes) -> list[Event]:
        return self._read(self._sse.feed(data))

    def close(self) -> list[Event]:
        return self._read(self._sse.close())

    def _read(self, frames: Sequence[sse.Frame]) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            if self.ended:
                return events
            if frame.data and not frame.data.isspace():
                events += self._events(frame.data, frame.event)
                self.ended = self.ended or self._machine.over
        if self._sse.overflow and not self.ended:
            self.ended = True
            events.append(self._machine.fail(ErrorKind.NOT_AN_ANSWER, f"an event of more than {sse.LIMIT} bytes"))
        return events

    def _events(self, data: bytes, name: str) -> Iterable[Event]:
        try:
            value = read_json(data)
        except ValueError:
            if data.lstrip().startswith(_END):
                self.ended = True
                return self._machine.end()
            return [self._machine.fail(ErrorKind.NOT_AN_ANSWER, f"not an event: {data[:200]!r}")]
        return self._machine.read(value, name)


class Sieved:
    """A `Decoder` whose events go through one more machine, which may hold some of them back."""

    __slots__ = ("_decoder", "_sieve", "ended")

    def __init__(self, decoder: Decoder, sieve: Callable[[Iterable[Event]], Iterable[Event]]) -> None:
        self._decoder = decoder
        self._sieve = sieve
        self.ended = False

    def feed(self, data: bytes) -> list[Event]:
        events = list(self._sieve(self._decoder.feed(data)))
        self.ended = self._decoder.ended
        return events

    def close(self) -> list[Event]:
        return list(self._sieve(self._decoder.close()))
