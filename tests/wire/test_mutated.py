"""Transcripts of which one thing is another than it should be: an answer, a failure, but never an exception."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.core.errors import UpstreamFailure
from tests.wire.golden import DIALECTS, dialect_of, names, stream_of, whole_names, whole_of

ODD: tuple[Any, ...] = ({"a": 1}, [1], "x", -1, None)


def mutated(value: Any) -> Iterator[Any]:
    """The value with each of its parts, in turn, in each odd form."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from ({**value, name: odd} for odd in (*ODD, *mutated(part)))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from ([*value[:place], odd, *value[place + 1 :]] for odd in (*ODD, *mutated(part)))


def streams(stream: bytes) -> Iterator[bytes]:
    """The same, of each different frame of a stream."""
    frames = stream.replace(b"\r", b"").split(b"\n\n")
    for number, frame in enumerate(frames):
        head, mark, data = frame.partition(b"data:")
        if frame in frames[:number] or b"\n" in data:
            continue
        with contextlib.suppress(ValueError):
            for odd in mutated(json.loads(data)):
                other = head + mark + json.dumps(odd).encode()
                yield b"\n\n".join([*frames[:number], other, *frames[number + 1 :]])


@pytest.mark.parametrize("name", names())
def test_streams(name: str) -> None:
    for stream in streams(stream_of(name)):
        decoder = DIALECTS[dialect_of(name)].decoder()
        decoder.feed(stream)
        decoder.close()


@pytest.mark.parametrize("name", [name for name in whole_names() if dialect_of(name) != "openai_completions"])
def test_whole_answers(name: str) -> None:
    for answer in mutated(json.loads(whole_of(name))):
        with contextlib.suppress(UpstreamFailure):
            DIALECTS[dialect_of(name)].decode_body(json.dumps(answer).encode())
