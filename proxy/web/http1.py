"""A shorter way into the hot paths: uvicorn's own protocol, without a scope, messages and a listener per request.

`HotProtocol` is uvicorn's `HttpToolsProtocol`. A `POST` whose path is one of the application's hot paths is read and
answered by an `Exchange`, which stands where uvicorn keeps its cycle, so that keep-alive, pipelining, shutdown and
everything else stay uvicorn's. All other requests, and a hot one that is pipelined behind another, take the ASGI way;
both end in the same `Endpoint`. What it saves is measured in docs/performance.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from proxy.config.sections import ServerConfig
from proxy.core.errors import ErrorKind, ProxyError
from proxy.web.asgi import SECURITY_HEADERS, body_deadline, check_declared, portions, timing_headers
from proxy.web.inbound import Endpoint, error_headers, identifying_headers
from proxy.web.respond import encode_error

_LINGER = 2.0  # seconds
_LAST_WORD = 1.0  # seconds that a client has to read what is left when the process ends
_STATIC = b"".join(b"%s: %s\r\n" % field for field in SECURITY_HEADERS)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. `head`: for the head of a request to arrive; `write`: for a client to go on reading."""

    head: float = 10.0
    write: float = 30.0


def patient(server: ServerConfig) -> Callable[..., HotProtocol]:
    """Makes protocols with these limits."""
    return partial(HotProtocol, patience=Patience(server.header_timeout, server.write_timeout))


class Exchange:
    """One request on a hot path and its reply: the engine's `Reply`, and what uvicorn expects of a cycle."""

    __slots__ = (
        "_begun",
        "_endpoint",
        "_head",
        "_hold",
        "_is_chunked",
        "_is_in_last",
        "_journey",
        "_pieces",
        "_protocol",
        "_received",
        "_task",
        "_timer",
        "client_left",
        "disconnected",
        "headers",
        "is_read",
        "keep_alive",
        "message_event",
        "response_complete",
        "started",
    )

    def __init__(
        self, protocol: HotProtocol, endpoint: Endpoint, path: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        self._begun = time.perf_counter()
        self._protocol = protocol
        self._endpoint = endpoint
        self._hold = endpoint.hold()
        self._journey, self.headers = endpoint.open(path, headers)
        self._pieces: list[bytes] = []
        self._received = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head: bytes | None = None
        self._is_chunked = False
        self._is_in_last = False
        self.is_read = False
        self.started = False
        self.response_complete = False
        self.disconnected = False
        self.client_left = False
        self.keep_alive = True
        self.message_event = self  # uvicorn sets its cycle's event when the connection is lost

    # Reading

    def take(self, piece: bytes) -> None:
        """A piece of the body; what comes after a refusal is not kept."""
        if self._task is not None:
            return
        self._received += len(piece)
        if self._received > self._endpoint.server.max_body:
            self.refuse(ProxyError(ErrorKind.TOO_LARGE))
            return
        self._pieces.append(piece)
        try:
            self._hold.take(len(piece))
        except ProxyError as error:
            self.refuse(error)

    def read(self) -> None:
        """The body is complete: answer it."""
        self.is_read = True
        if self.response_complete:
            self._part()
        if self._task is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._run(self._endpoint.answer(self._journey, self.headers, body, self, self._hold))

    def refuse(self, error: ProxyError) -> None:
        """Turn the request away before its body is complete; the connection cannot be used again."""
        if self._task is None:
            self.keep_alive = False
            self._drop()
            self._run(self._endpoint.refuse(error, self._journey, self))

    def check(self) -> None:
        """Turn away by the head alone what will not do."""
        try:
            check_declared(self._protocol.headers, self._endpoint.server.max_body, self._hold)
        except ProxyError as error:
            self.refuse(error)

    def _drop(self) -> None:
        """Forget what came of the body."""
        self._pieces.clear()
        self._hold.give()

    def watch_slowness(self) -> None:
        """Not all of the body came with the head: it has to come in time."""
        if self._timer is None and not self.is_read and self._task is None:
            self._timer = self._protocol.loop.call_later(self._endpoint.server.body_timeout, self._tick)

    def _tick(self) -> None:
        waited = time.perf_counter() - self._begun
        left = body_deadline(self._endpoint.server.body_timeout, self._received) - waited
        if left > 0:
            self._timer = self._protocol.loop.call_later(left, self._tick)
        else:
            self.refuse(ProxyError(ErrorKind.SLOW_REQUEST))

    def _run(self, work: Any) -> None:
        protocol = self._protocol
        self._task = task = protocol.loop.create_task(work)
        protocol.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A client that cannot be told how its answer ends is told so by a reset."""
        self._protocol.tasks.discard(task)
        if not (self.response_complete or self.disconnected):
            self._protocol.transport.abort()

    # The connection

    def set(self) -> None:
        """uvicorn: the connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.response_complete:
            self.client_left = True
            if self._task is None:
                self._drop()
                self._run(self._endpoint.refuse(ProxyError(ErrorKind.CLIENT_GONE), self._journey, self))
            else:
                self._task.cancel()

    @property
    def is_refused(self) -> bool:
        """True once it is turned away although its body has not been read."""
        return self._task is not None and not self.is_read

    @property
    def finished(self) -> bool:
        return self.response_complete

    # Replying

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """The head leaves together with the first piece of the body."""
        self.started = True
        fields = [
            *headers,
            *identifying_headers(self._journey),
            *timing_headers(time.perf_counter() - self._begun),
            *self._protocol.server_state.default_headers,
        ]
        self.keep_alive = self.keep_alive and not self._endpoint.is_closing
        self._is_chunked = all(name != b"content-length" for name, _ in headers)
        lines = [b"%s: %s\r\n" % field for field in fields]
        if self._is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        self._head = b"".join([STATUS_LINE[status], *lines, _STATIC, b"\r\n"])

    async def write(self, data: bytes) -> None:
        for piece in portions(data):
            await self._room()
            if piece and not (self.disconnected or self.response_complete):
                self._protocol.transport.write(self._framed(piece))

    async def finish(self, data: bytes = b"") -> None:
        if self.response_complete:
            return
        if self._is_in_last:  # a whole answer was cancelled on its way out: nothing that follows would make sense
            self.response_complete = True
            self._protocol.transport.abort()
            return
        self._is_in_last = not self._is_chunked
        *pieces, last = portions(data)
        for piece in pieces:
            await self.write(piece)
        await self._room()
        self.response_complete = True
        if self.disconnected:
            return
        last = self._framed(last) if last or self._head is not None else b""
        self._protocol.transport.write(last + b"0\r\n\r\n" if self._is_chunked else last)
        self._part()
        self._protocol.on_response_complete()

    async def _room(self) -> None:
        """Until the client has read enough of what it was sent; one that reads nothing is cut off by the protocol."""
        flow = self._protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()

    def _part(self) -> None:
        """Close the connection if it cannot be used again, though not while the client is still sending.

        To close on bytes that nobody has read is to reset: the client would lose the answer that says why.
        """
        transport = self._protocol.transport
        if self.keep_alive:
            return
        if self._endpoint.is_closing:
            self._protocol.part(_LAST_WORD)
        elif self.is_read:
            self._protocol.part()
        else:
            transport.write_eof()
            self._timer = self._protocol.loop.call_later(_LINGER, self._protocol.part)

    def _framed(self, data: bytes) -> bytes:
        head, self._head = self._head or b"", None
        if not self._is_chunked:
            return head + data
        return b"%s%x\r\n%s\r\n" % (head, len(data), data) if data else head


class HotProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a shorter way for hot requests."""

    # More attributes would be too many for a dictionary that instances share keys of: 1.2 KiB per connection.
    __slots__ = ("_endpoints", "_exchange", "_is_in_head", "_patience", "_slow_head", "_stall")
    cycle: Any

    def __init__(self, *args: Any, patience: Patience = Patience(), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._is_in_head = False
        self._slow_head: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._endpoints: Mapping[str, Endpoint] = getattr(self.app, "hot", {})
        self._exchange: Exchange | None = None

    # Slow clients

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._slow_head, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read; the upstream is not read either while it does not."""
        super().pause_writing()
        self._stall = self.loop.call_later(self._patience.write, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self.part()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self.part(_LAST_WORD)

    def part(self, patience: float | None = None) -> None:
        """Close the connection after what is still to be sent, if the client reads it within `patience` seconds."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self._patience.write if patience is None else patience, self.transport.abort)

    def _watch_head(self) -> None:
        if self._slow_head is None:
            self._slow_head = self.loop.call_later(self._patience.head, self._cut_head)

    def _cut_head(self) -> None:
        """A head, or the first byte of a new connection, has not come in time."""
        self._slow_head = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch_head()  # it is pipelined behind a request that is being answered
        elif self._is_in_head:
            self._refuse(ProxyError(ErrorKind.SLOW_REQUEST, "The head of the request did not arrive in time."))
        elif not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head:
            self._watch_head()
        if self._exchange is not None:
            self._exchange.watch_slowness()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so like everything else."""
        self._refuse(ProxyError(ErrorKind.BAD_REQUEST, msg, code="invalid_http"))

    def _refuse(self, error: ProxyError) -> None:
        """Turn away what never became a request."""
        if self.transport.is_closing():
            return
        body = encode_error(error)
        fields = [*error_headers(error), *self.server_state.default_headers, (b"content-length", b"%d" % len(body))]
        lines = [b"%s: %s\r\n" % field for field in fields]
        head = b"".join([STATUS_LINE[error.status], *lines, b"connection: close\r\n", _STATIC, b"\r\n"])
        self.transport.write(head + body)
        self.part()

    # Parsing

    def on_message_begin(self) -> None:
        self._is_in_head = True
        self._exchange = None
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._slow_head is not None:
            self._slow_head.cancel()
            self._slow_head = None
        path = self.url.decode("latin-1")
        endpoint = self._endpoints.get(path)
        is_free = self.cycle is None or self.cycle.response_complete
        if endpoint is None or not is_free or self.parser.get_method() != b"POST":
            self._take_the_asgi_way()
            return
        exchange = Exchange(self, endpoint, path, self.headers)
        exchange.keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self._exchange = self.cycle = exchange
        exchange.check()
        self.headers = []  # the exchange has read them; an answer may take long
        if self.expect_100_continue and not exchange.is_refused:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take_the_asgi_way(self) -> None:
        """Build what uvicorn would have built when the message began, and go on as it does."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers = self.scope["headers"] = headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._exchange is None:
            super().on_body(body)
        else:
            self._exchange.take(body)

    def on_message_complete(self) -> None:
        if self._exchange is None:
            super().on_message_complete()
        else:
            self._exchange.read()
