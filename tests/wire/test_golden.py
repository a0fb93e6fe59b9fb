"""Transcripts of real kinds of servers: whole, byte by byte, cut everywhere, with every line end."""

from __future__ import annotations

import json

import pytest

from proxy.core.events import fold
from proxy.wire.sse import SSEDecoder
from tests.wire.golden import (
    FOLDER,
    HEARD,
    WAYS,
    becomes,
    decoder_of,
    dialect_of,
    names,
    stream_of,
    tapped,
    ways,
    whole_events,
    whole_names,
)


@pytest.mark.parametrize("name", names())
def test_a_transcript_becomes_what_was_expected(name: str) -> None:
    assert becomes(name) == json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", names())
def test_no_cut_changes_anything(name: str) -> None:
    stream, expected = stream_of(name), becomes(name)
    every_cut = [[stream[:place], stream[place:]] for place in range(len(stream))]
    for pieces in [*every_cut, [bytes([byte]) for byte in stream]]:
        assert {way: WAYS[way](name, pieces) for way in expected} == expected


@pytest.mark.parametrize("name", names())
def test_line_ends_do_not_matter(name: str) -> None:
    """The same data with CRLF or CR: the same facts, and the same data at the client."""
    stream = stream_of(name).replace(b"\r\n", b"\n")
    for way in ways(name):
        plain = WAYS[way](name, [stream])
        for end in (b"\r\n", b"\r"):
            other = WAYS[way](name, [bytes([byte]) for byte in stream.replace(b"\n", end)])
            assert data_of(other.pop("client")) == data_of(plain["client"])
            assert other == {key: value for key, value in plain.items() if key != "client"}


@pytest.mark.parametrize("name", whole_names())
def test_streamed_or_whole_it_is_one_answer(name: str) -> None:
    """Both fold to the same, but for what only a stream or only a whole answer tells."""
    decoder = decoder_of(name)
    streamed = fold([*decoder.feed(stream_of(name)), *decoder.close()])
    assert fold(whole_events(name)) == streamed


@pytest.mark.parametrize("name", [name for name in names() if dialect_of(name) in HEARD])
def test_identity_takes_nothing_from_who_asked_for_usage(name: str) -> None:
    """With usage asked for, all data frames up to the end or the failure pass byte for byte, in order."""
    told = tapped(name, [stream_of(name)], include_usage=True)
    frames = [frame for frame in stream_of(name).replace(b"\r\n", b"\n").split(b"\n\n") if frame.startswith(b"data:")]
    kept = "".join(told["client"]).replace("\r\n", "\n").encode().split(b"\n\n")[:-1]
    added = [b"data: [DONE]"] if told["ended"] and b"[DONE]" not in stream_of(name) else []
    assert kept == frames[: len(kept) - len(added)] + added


def data_of(lines: list[str]) -> list[bytes | None]:
    return [frame.data for frame in SSEDecoder().feed("".join(lines).encode())]
