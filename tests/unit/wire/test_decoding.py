"""The way from bytes to events that dialects share, shown with a machine that repeats what it is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from proxy.core.errors import ErrorKind
from proxy.core.events import Event, Failed, Text
from proxy.wire import sse
from proxy.wire.decoding import StreamDecoder


class Echo:
    """Says each value with the name of its frame; `"stop"` is its own end."""

    def __init__(self) -> None:
        self.over = False

    def read(self, value: Any, name: str = "") -> Iterable[Event]:
        self.over = value == "stop"
        yield Text(f"{name}:{value}")

    def end(self) -> Iterable[Event]:
        return [Text("end")]

    def fail(self, kind: ErrorKind, detail: str) -> Failed:
        self.over = True
        return Failed(kind, detail)


def told(data: bytes) -> tuple[list[Event], bool]:
    decoder = StreamDecoder(Echo())
    events = decoder.feed(data)
    return events + decoder.close(), decoder.ended


@pytest.mark.parametrize(
    ("data", "said", "ended"),
    [
        (b'data: 1\n\ndata:2\n\nevent: e\ndata: "x"\n\n', [":1", ":2", "e:x"], False),
        (b": hm\n\ndata:\n\ndata:   \n\nevent: lone\n\ndata: 1\n\n", [":1"], False),
        (b"data: 1\n\ndata: [DONE]\n\ndata: 2\n\n", [":1", "end"], True),
        (b"data:[DONE]\r\n\r\n", ["end"], True),
        (b'data: "stop"\n\ndata: 2\n\n', [":stop"], True),
        (b"data: 1\n\ndata: 2", [":1"], False),
    ],
)
def test_what_frames_say(data: bytes, said: list[str], ended: bool) -> None:
    assert told(data) == (list(map(Text, said)), ended)


@pytest.mark.parametrize("data", [b"data: {\n\ndata: 2\n\n", b"data: " + b"x" * sse.LIMIT + b"\n\ndata: 2\n\n"])
def test_what_is_no_event_ends_it(data: bytes) -> None:
    [failed], ended = told(data)
    assert isinstance(failed, Failed)
    assert (failed.kind, ended) == (ErrorKind.NOT_AN_ANSWER, True)
    assert len(failed.detail) < 300


def test_after_its_end_a_stream_may_be_of_any_size() -> None:
    decoder = StreamDecoder(Echo())
    decoder.feed(b"data: [DONE]\n\n")
    assert decoder.feed(b"data: " + b"x" * sse.LIMIT + b"\n\n") == []
