"""Server-sent events: cut a stream of bytes into whole frames, and read what a frame says.

    bytes ──Framing──► raw frames (bytes as they came) ──parse──► Frame(event, data)

Lines end with LF, CR or CRLF; a blank line ends a frame; what is left at the end of the stream without a blank line
is no frame. The rules are those of the HTML standard and of the official clients' decoders; the data stay bytes, so
that a broken character is the JSON decoder's business. A frame is at most `LIMIT` bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LIMIT = 8 * 1024 * 1024
DONE = b"data: [DONE]\n\n"
"""The end mark of OpenAI's streams."""

_BOM = b"\xef\xbb\xbf"
# Two line ends. A CR that is the last byte so far may be half of a CRLF: after an LF it waits for the next byte,
# but not after a bare CR, else a stream that uses CR alone would lag one frame behind.
_FRAME_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r(?!\Z))|\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_HALF_END = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. `data` is None if there was no data line; `pure` is true if there was nothing but data lines."""

    event: str = ""
    data: bytes | None = None
    pure: bool = True


class Framing:
    """Finds the ends of frames in bytes that come in any pieces.

    `overflow` is set once a frame exceeds the limit; from then on input is ignored and nothing is kept.
    """

    __slots__ = ("_buffer", "_is_first", "_limit", "_seen", "overflow")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._seen = 0
        self._is_first = True
        self.overflow = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that are whole now, each with its blank line, byte for byte as they came."""
        if not self._buffer and data[-2:] == b"\n\n" and is_plain(data) and len(data) <= self._limit:
            self._is_first = False
            return [data]
        if self.overflow:
            return []
        self._buffer += data
        frames: list[bytes] = []
        start = 0
        for end in _FRAME_END.finditer(self._buffer, self._seen):
            if end.end() - start > self._limit:
                return self._overflow(frames)
            frames.append(self._without_bom(bytes(self._buffer[start : end.end()])))
            start = end.end()
        if start:
            del self._buffer[:start]
        if len(self._buffer) > self._limit:
            return self._overflow(frames)
        self._seen = max(0, len(self._buffer) - _LONGEST_HALF_END)
        return frames

    def close(self, *, unended: bool = False) -> list[bytes]:
        """The stream has ended: the last frame, if it only waited to see whether its CR was half of a CRLF.

        `unended`: what is left without a blank line is given out too, for protocols that do not end their last frame.
        """
        rest, self._buffer = bytes(self._buffer), bytearray()
        is_frame = rest.endswith((b"\n\r", b"\r\r")) or (unended and rest)
        return [self._without_bom(rest)] if is_frame else []

    def _without_bom(self, frame: bytes) -> bytes:
        is_first, self._is_first = self._is_first, False
        return frame[len(_BOM) :] if is_first and frame.startswith(_BOM) else frame

    def _overflow(self, frames: list[bytes]) -> list[bytes]:
        self.overflow = True
        self._buffer = bytearray()
        return frames


def is_plain(raw: bytes) -> bool:
    """True for the common frame: one data line, LF LF, nothing else. Its data are `raw[5:-2]`."""
    return raw.find(b"\n") == len(raw) - 2 and raw.startswith(b"data:") and b"\r" not in raw


def parse(raw: bytes) -> Frame:
    """Read a raw frame; unknown fields and comments are skipped, several data lines joined by LF."""
    event = ""
    data: list[bytes] = []
    pure = True
    for line in _LINE_END.split(raw):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value[1:] if value.startswith(b" ") else value)
        elif line:
            pure = False
            if name == b"event":
                event = value.removeprefix(b" ").decode("utf-8", "replace")
    return Frame(event, b"\n".join(data) if data else None, pure)


def frame(data: bytes) -> bytes:
    """A frame that says `data`."""
    return b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


class SSEDecoder:
    """Bytes in any pieces to the frames that carry something; for machines that read events rather than relay them."""

    __slots__ = ("_framing",)

    def __init__(self, limit: int = LIMIT) -> None:
        self._framing = Framing(limit)

    @property
    def overflow(self) -> bool:
        """A frame was longer than the limit: nothing that follows is read."""
        return self._framing.overflow

    def feed(self, data: bytes) -> list[Frame]:
        return _speaking(self._framing.feed(data))

    def close(self) -> list[Frame]:
        return _speaking(self._framing.close())


def _speaking(raws: list[bytes]) -> list[Frame]:
    frames = [_plain(raw) if is_plain(raw) else parse(raw) for raw in raws]
    return [frame for frame in frames if frame.data is not None or frame.event]


def _plain(raw: bytes) -> Frame:
    return Frame(data=raw[6:-2] if raw.startswith(b"data: ") else raw[5:-2])
