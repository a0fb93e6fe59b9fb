"""Streamed and whole responses: bytes to the events of `Reading`."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import Event
from proxy.wire import sse
from proxy.wire.dialects.openai_responses.errors import failure_of
from proxy.wire.dialects.openai_responses.reading import Reading
from proxy.wire.lenient import read_json


class ResponsesDecoder:
    """A `Decoder` of streamed responses."""

    __slots__ = ("_reading", "_sse", "ended")

    def __init__(self) -> None:
        self._sse = sse.SSEDecoder()
        self._reading = Reading()
        self.ended = False

    def feed(self, data: bytes) -> list[Event]:
        return self._read(self._sse.feed(data))

    def close(self) -> list[Event]:
        return self._read(self._sse.close())

    def _read(self, frames: Sequence[sse.Frame]) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            if self.ended:
                break
            if frame.data and not frame.data.isspace():
                events += self._frame(frame.event, frame.data)
                self.ended = self.ended or self._reading.over
        if self._sse.overflow and not self.ended:
            self.ended = True
            events.append(self._reading.fail(ErrorKind.NOT_AN_ANSWER, f"an event of more than {sse.LIMIT} bytes"))
        return events

    def _frame(self, name: str, data: bytes) -> list[Event]:
        if data.startswith(b"[DONE]"):  # not of this protocol, but some servers end every stream so
            self.ended = True
            return []
        try:
            event = read_json(data)
        except ValueError:
            return [self._reading.fail(ErrorKind.NOT_AN_ANSWER, f"not an event: {data[:200]!r}")]
        return list(self._reading.read(event, name))


def decode_body(body: bytes) -> list[Event]:
    """The events of a whole response; raises UpstreamFailure for one that failed and for what is none."""
    try:
        response = read_json(body.lstrip())
    except ValueError:
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"not a JSON answer: {body[:200]!r}") from None
    if not isinstance(response, dict):
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"not a response: {body[:200]!r}")
    status = response.get("status")
    if response.get("error") or status in ("failed", "cancelled"):
        raise failure_of(response.get("error"), ErrorKind.FAULT if status else ErrorKind.NOT_AN_ANSWER)
    if not isinstance(response.get("output"), list) or status not in (None, "completed", "incomplete"):
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"a response without an output: {body[:200]!r}")
    return list(Reading().whole(response))
