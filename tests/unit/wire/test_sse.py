"""The framing of server-sent events, with the official SDK's decoder as the judge."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder as OfficialDecoder

from proxy.wire.sse import Framing, SSEDecoder, frame, is_plain, parse

ENDS = st.sampled_from(["\n", "\r\n", "\r"])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff\0"), max_size=12)
LINES = st.one_of(
    TEXT.map("data:{}".format),
    TEXT.map("data: {}".format),
    TEXT.map("event: {}".format),
    TEXT.map(": {}".format),
    st.sampled_from(["", "data", "event:", "retry: 10", "nonsense", ":", "data:\u2028\u2029\x85 ", "data:  two"]),
)
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=14).map(lambda lines: "".join(a + b for a, b in lines).encode())


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces, cut at these places (modulo its length)."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 400), max_size=8))
def test_decodes_what_the_official_sdk_decodes(stream: bytes, cuts: list[int]) -> None:
    """Any stream, cut anywhere, gives the data and names that the SDK's decoder gives."""
    pieces = cut(stream, cuts)
    official = [(sse.event or "", sse.data) for sse in OfficialDecoder().iter_bytes(iter(pieces))]
    decoder = SSEDecoder()
    frames = [frame for piece in pieces for frame in decoder.feed(piece)] + decoder.close()
    ours = [(frame.event, (frame.data or b"").decode()) for frame in frames]
    # A `retry` line alone makes the SDK dispatch an event that says nothing.
    assert [one for one in official if any(one)] == [one for one in ours if any(one)]


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 400), max_size=8))
def test_frames_are_the_bytes_that_came(stream: bytes, cuts: list[int]) -> None:
    """Framing loses and changes nothing: what it gives out is a beginning of what came in, at a blank line."""
    framing = Framing()
    frames = [frame for piece in cut(stream, cuts) for frame in framing.feed(piece)] + framing.close()
    joined = b"".join(frames)
    assert stream.startswith(joined)
    whole = Framing()
    # A lone CR-CR and a later LF make a blank line more or less, never a byte.
    assert abs(len(b"".join(whole.feed(stream) + whole.close())) - len(joined)) <= 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_cut_gives_the_same_frames(end: bytes) -> None:
    stream = end.join([b": hello", b"", b"event: a", b"data:1", b"data: 2", b"", b"data: \xf0\x9f\x98\x80", b"", b""])
    expected = [parse(b"event: a\ndata:1\ndata: 2\n\n"), parse("data: 😀\n\n".encode())]
    for place in range(len(stream) + 1):
        decoder = SSEDecoder()
        assert expected == decoder.feed(stream[:place]) + decoder.feed(stream[place:]) + decoder.close()
    decoder = SSEDecoder()
    assert expected == [f for byte in stream for f in decoder.feed(bytes([byte]))] + decoder.close()


def test_a_carriage_return_alone_does_not_delay_frames() -> None:
    assert Framing().feed(b"data: 1\r\r") == [b"data: 1\r\r"]


def test_a_whole_frame_is_not_copied() -> None:
    chunk = b'data: {"a":1}\n\n'
    assert Framing().feed(chunk)[0] is chunk


def test_the_byte_order_mark_is_dropped_once() -> None:
    stream = b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n"
    for place in range(8):
        framing = Framing()
        assert framing.feed(stream[:place]) + framing.feed(stream[place:]) == [
            b"data: 1\n\n",
            b"\xef\xbb\xbfdata: 2\n\n",
        ]


def test_a_rest_without_blank_line_is_no_frame() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: half\n") + decoder.close() == []


@pytest.mark.parametrize("data", [b"x" * 200, b"data: " + b"x" * 93 + b"\n\n", b"data: 1\n\ndata: " + b"x" * 200])
def test_a_frame_over_the_limit_overflows_and_keeps_nothing(data: bytes) -> None:
    framing = Framing(limit=100)
    frames = framing.feed(data)
    assert framing.overflow
    assert all(len(one) <= 100 for one in frames)
    assert framing.feed(b"data: 2\n\n" * 3) + framing.close() == []


def test_a_line_without_end_does_not_grow_past_the_limit() -> None:
    framing = Framing(limit=1000)
    for _ in range(100):
        assert framing.feed(b"x" * 100) == []
    assert framing.overflow
    assert not framing._buffer


def test_many_frames_in_one_piece_may_exceed_the_limit_together() -> None:
    framing = Framing(limit=100)
    assert len(framing.feed(b"data: 1\n\n" * 50)) == 50
    assert not framing.overflow


def test_only_frames_of_data_lines_are_pure() -> None:
    assert parse(b"data: 1\r\ndata: 2\r\n\r\n").pure
    assert not parse(b": hi\ndata: 1\n\n").pure
    assert not parse(b"id: 1\ndata: 1\n\n").pure


@given(st.binary(max_size=30).filter(lambda data: b"\r" not in data))
@settings(max_examples=50, deadline=None)
def test_what_is_framed_is_parsed_again(data: bytes) -> None:
    assert data == parse(frame(data)).data


def test_plain_means_one_line_of_data() -> None:
    assert is_plain(b"data: 1\n\n")
    assert not any(map(is_plain, (b"data: 1\n", b"data: 1\r\n\r\n", b"data: 1\ndata: 2\n\n", b": 1\n\n", b"\n\n")))


def test_a_protocol_may_leave_its_last_frame_unended() -> None:
    framing = Framing()
    assert framing.feed(b"data: 1\n\ndata: 2") == [b"data: 1\n\n"]
    assert framing.close(unended=True) == [b"data: 2"]
    assert framing.close(unended=True) == []
    assert Framing().close(unended=True) == []
