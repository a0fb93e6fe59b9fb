"""The answer to one request: parsed as it arrives, handed out as it is read, given up when it lies or is late."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpResponseParser,
)

from proxy.adapters.http1 import Malformed
from proxy.adapters.http1.connection import Connection
from proxy.adapters.http1.inflate import CODINGS, Inflate
from proxy.core.decision import Timeouts
from proxy.core.errors import ErrorKind, UpstreamFailure

HEAD_LIMIT: Final = 64 * 1024
"""Bytes of header fields in all heads and trailers of one answer."""

FIELD_LIMIT: Final = 1000
"""Header fields in all heads and trailers of one answer."""

HIGH_WATER: Final = 64 * 1024
"""Decoded bytes that may wait for `read` before the peer is no longer listened to."""

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_BODILESS: Final = frozenset({204, 304})


class Response:
    """A `WireResponse`, and the `Exchange` of its connection.

    The parser calls the `on_*` methods from within `feed`. Whatever they find wrong ends the exchange: the
    connection is aborted, and reads fail once the good bytes that came before are taken.
    """

    __slots__ = (
        "_buffered",
        "_close_ends",
        "_connection",
        "_failure",
        "_fields_left",
        "_has_head",
        "_head_left",
        "_headers",
        "_idle",
        "_inflate",
        "_is_closed",
        "_is_complete",
        "_is_fertile",
        "_is_head_request",
        "_is_interim",
        "_is_paused",
        "_is_touched",
        "_loop",
        "_lost",
        "_may_reuse",
        "_parser",
        "_pieces",
        "_silent_bytes",
        "_status",
        "_timeouts",
        "_unsent",
        "_waiter",
    )

    def __init__(self, connection: Connection, timeouts: Timeouts, *, is_head: bool) -> None:
        self._loop = connection.loop
        self._connection = connection
        self._timeouts = timeouts
        self._idle = timeouts.idle
        self._is_head_request = is_head
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._status = 0
        self._headers: dict[str, str] = {}
        self._head_left = HEAD_LIMIT
        self._fields_left = FIELD_LIMIT
        self._inflate: Inflate | None = None
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._silent_bytes = 0
        self._unsent = 0
        self._waiter: asyncio.Future[None] | None = None
        self._failure: tuple[ErrorKind, str] | None = None
        self._has_head = False
        self._close_ends = False
        self._is_closed = False
        self._is_complete = False
        self._is_fertile = False
        self._is_interim = False
        self._is_paused = False
        self._is_touched = False
        self._lost = False
        self._may_reuse = False

    # The port.

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer as `read` gives it: no content-encoding and -length where it was decoded here."""
        return self._headers

    async def read(self) -> bytes:
        """All of the decoded body that came since the last call, or the next piece; `b""` after the last."""
        if not self._pieces and self._failure is None and not self._is_complete:
            await self._wait()
        pieces = self._pieces
        if pieces:
            taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._buffered = 0
            if self._is_paused:
                self._resume()
            return taken
        if self._failure is not None:
            raise UpstreamFailure(*self._failure)
        return b""

    def expire(self, kind: ErrorKind) -> None:
        """What was not read yet is dropped; nothing happens after `close`."""
        if not self._is_closed:
            self._pieces.clear()
            self._may_reuse = False
            self._fail(kind, "the engine's own timer ended it", even_if_complete=True)

    def close(self) -> None:
        """The connection goes back as soon as the answer is complete on the wire, read or not."""
        if self._is_closed:
            return
        self._is_closed = True
        self._parser = None  # the parser and this object hold each other
        if self._may_reuse and self._connection.is_open:
            if self._is_paused:
                self._resume()
            self._connection.deadline.clear()
            self._connection.release()
        else:
            if not self._is_complete:
                self._fail(ErrorKind.FAULT, "closed before its end")
            self._connection.abort()

    # The transport.

    def begin(self, head: bytes, body: bytes) -> None:
        """Send the request."""
        self._connection.begin(self, head, body)
        if not self._connection.is_sent:
            self._watch_writing()

    async def wait_head(self) -> None:
        """Return when the head has come or the exchange has failed; `close` it if this is cancelled."""
        if not self._has_head and self._failure is None:
            await self._wait()

    @property
    def is_complete(self) -> bool:
        return self._is_complete

    @property
    def has_more(self) -> bool:
        return bool(self._pieces)

    @property
    def has_head(self) -> bool:
        return self._has_head

    @property
    def is_unheard(self) -> bool:
        """The connection was lost before one byte of the answer: a kept one may just have been too old."""
        return self._lost and not self._is_touched

    def failure(self) -> UpstreamFailure:
        """Why there is no head."""
        assert self._failure is not None
        return UpstreamFailure(*self._failure)

    # The connection.

    def feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None or self._failure is not None:
            return
        if self._is_complete:
            self._may_reuse = False
            return
        self._is_touched = True
        self._is_fertile = False
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._refuse(error)
            return
        if self._has_head:
            self._connection.deadline.set(self._loop.time() + self._idle)
            if self.is_complete:  # by a callback of the parser, which the type checker cannot see
                self._connection.deadline.clear()
            elif self._buffered > HIGH_WATER and not self._is_paused:
                self._pause()
        if not self._is_fertile:
            # The parser keeps an unfinished header field, of a head or a trailer, however long it grows.
            self._silent_bytes += len(data)
            if self._silent_bytes > 2 * HEAD_LIMIT:
                self._fail(ErrorKind.FAULT, "the head is too large")

    def end(self) -> None:
        if self._is_complete:
            self._may_reuse = False
        elif self._close_ends and self._failure is None:
            try:
                self._complete(may_reuse=False)
            except Malformed as error:
                self._fail(ErrorKind.FAULT, str(error))
        else:
            self._lose("closed by the upstream")

    def lose(self, error: Exception | None) -> None:
        if self._is_complete:
            self._may_reuse = False
        else:
            self._lose("closed by the upstream" if error is None else "reset by the upstream")

    def written(self) -> None:
        if not self._has_head:
            self._connection.deadline.set(self._loop.time() + self._timeouts.first_byte)

    def overdue(self) -> None:
        if self._has_head:
            self._fail(ErrorKind.IDLE_TIMEOUT, f"silent for {self._idle:g} s")
        elif self._connection.is_sent:
            self._fail(ErrorKind.FIRST_BYTE_TIMEOUT, f"no answer within {self._timeouts.first_byte:g} s")
        elif self._connection.unsent < self._unsent:
            self._watch_writing()
        else:
            self._fail(ErrorKind.FAULT, f"the request was not taken for {self._timeouts.write:g} s")

    # The parser.

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise Malformed("bytes after the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_left -= len(name) + len(value) + 4
        self._fields_left -= 1
        if self._head_left < 0 or self._fields_left < 0:
            raise Malformed("the head is too large")
        if self._has_head:
            return  # a trailer
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")
        headers = self._headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self._parser.get_http_version() not in _VERSIONS or status < 100:
            raise Malformed("not an HTTP/1 status line")
        if status < 200:
            self._interim(status)
            return
        self._status = status
        has_body = not (self._is_head_request or status in _BODILESS)
        if has_body:
            self._judge_framing()
            self._choose_decoding()
        self._has_head = True
        self._wake()
        if self._is_head_request:
            self._complete(may_reuse=self._parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        if self._is_complete:
            raise Malformed("bytes after the answer")
        self._is_fertile = True
        self._silent_bytes = 0
        if self._inflate is not None:
            body = self._inflate.feed(body)
            if not body:
                return
        self._pieces.append(body)
        self._buffered += len(body)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
        elif not self._is_complete and self._parser is not None:
            self._complete(may_reuse=self._parser.should_keep_alive())

    # Inside.

    def _watch_writing(self) -> None:
        """Of a request too large to go out at once, the peer must take something in each span of `write`."""
        self._unsent = self._connection.unsent
        self._connection.deadline.set(self._loop.time() + self._timeouts.write)

    def _interim(self, status: int) -> None:
        # RFC 9110, 15.2: any number of 1xx may come first. 101 would hand the connection to another protocol.
        if status == 101:
            raise Malformed("switched protocols unasked")
        self._is_interim = True
        self._headers.clear()

    def _judge_framing(self) -> None:
        """RFC 9112, 6: llhttp has refused what contradicts itself; refuse also what it would guess at."""
        coding = self._headers.get("transfer-encoding")
        if coding is not None:
            assert self._parser is not None
            if coding.lower() != "chunked" or self._parser.get_http_version() != "1.1":
                raise Malformed("a transfer-encoding that nobody asked for")
        else:
            self._close_ends = "content-length" not in self._headers

    def _choose_decoding(self) -> None:
        coding = self._headers.get("content-encoding", "").lower()
        if coding in ("", "identity"):
            return
        if coding not in CODINGS:
            raise Malformed("a content-encoding that nobody asked for")
        self._inflate = Inflate(coding)
        del self._headers["content-encoding"]
        self._headers.pop("content-length", None)

    def _complete(self, *, may_reuse: bool) -> None:
        if self._inflate is not None:
            self._inflate.end()
        self._is_complete = True
        self._may_reuse = may_reuse and self._connection.is_sent
        self._wake()

    def _refuse(self, error: HttpParserError | HttpParserUpgrade) -> None:
        if self._is_complete:
            self._may_reuse = False  # the answer is whole; what follows it is nobody's
            return
        cause = error.__context__
        if isinstance(cause, Malformed):
            self._fail(ErrorKind.FAULT, str(cause))
        elif isinstance(error, HttpParserCallbackError):
            raise error  # a bug of ours: let the event loop say so, and close
        else:
            self._fail(ErrorKind.FAULT, f"bad framing: {error}")  # llhttp's own words, never the peer's

    def _lose(self, detail: str) -> None:
        if self._failure is None:
            self._lost = True
        self._fail(ErrorKind.FAULT, detail)

    def _fail(self, kind: ErrorKind, detail: str, *, even_if_complete: bool = False) -> None:
        if self._failure is None and (even_if_complete or not self._is_complete):
            self._failure = (kind, detail)
            self._connection.abort()
            self._wake()

    def _pause(self) -> None:
        # While nobody listens, silence is not the upstream's.
        self._is_paused = True
        self._connection.pause_reading()
        self._connection.deadline.clear()

    def _resume(self) -> None:
        self._is_paused = False
        if self._failure is None:
            self._connection.resume_reading()
            if not self._is_complete:
                self._connection.deadline.set(self._loop.time() + self._idle)

    async def _wait(self) -> None:
        assert self._waiter is None, "one read at a time"
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
