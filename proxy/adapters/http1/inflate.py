"""Bounded decoding of gzip and deflate bodies, piece by piece, for upstreams that compress unasked."""

from __future__ import annotations

import zlib
from typing import Final

from proxy.adapters.http1 import Malformed

LIMIT: Final = 64 * 1024 * 1024
"""Bytes that one body may decode to."""

RATIO: Final = 100
"""Decoded bytes per byte on the wire; above it a body is taken for a bomb."""

_UNJUDGED: Final = 1024 * 1024  # bytes for which the ratio is not asked: small bodies of blanks are innocent

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS

CODINGS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class Inflate:
    """Decodes one body in the coding named (a key of `CODINGS`)."""

    __slots__ = ("_made", "_stream", "_taken", "_wbits")

    def __init__(self, coding: str) -> None:
        self._wbits = CODINGS[coding]
        self._stream: zlib._Decompress | None = None
        self._taken = 0
        self._made = 0

    def feed(self, data: bytes) -> bytes:
        """What `data` decodes to, perhaps nothing yet. Raises `Malformed` beyond the bounds and for bad data."""
        pieces = []
        self._taken += len(data)
        allowed = min(LIMIT, max(_UNJUDGED, RATIO * self._taken))
        while data:
            if self._stream is None or self._stream.eof:
                self._stream = self._open(data)
            try:
                piece = self._stream.decompress(data, allowed + 1 - self._made)
            except zlib.error:
                raise Malformed("the compressed body is damaged") from None
            self._made += len(piece)
            if self._made > allowed:
                raise Malformed("the compressed body is too large")
            pieces.append(piece)
            data = self._stream.unused_data
        return b"".join(pieces)

    def end(self) -> None:
        """The last byte was fed. Raises `Malformed` if the coding had more to come."""
        if self._stream is not None and not self._stream.eof:
            raise Malformed("the compressed body is cut short")

    def _open(self, data: bytes) -> zlib._Decompress:
        if self._stream is not None and self._wbits != _GZIP:  # RFC 1952, 2.2: only gzip has members
            raise Malformed("bytes after the compressed body")
        # RFC 9110, 8.4.1.2: "deflate" is the zlib format, but some senders leave its header off.
        if self._wbits == _ZLIB and data[0] & 0x0F != zlib.DEFLATED:
            self._wbits = _RAW
        return zlib.decompressobj(self._wbits)
