"""The request border: one raw ASGI endpoint per path that a dialect declares.

Reads, identifies, hands over to the engine, and turns whatever comes back into one answer and one record.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Coroutine, Iterable
from typing import Protocol

from proxy.config.sections import ServerConfig
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.ports import Reply
from proxy.core.request import Inbound
from proxy.engine.door import Door, Hold
from proxy.engine.journey import Journey
from proxy.engine.pipeline import Engine
from proxy.web.asgi import CLOSE, AsgiReply, Receive, Scope, Send, read_body, until_disconnect
from proxy.web.identity import Identities, check_host
from proxy.wire.dialects import InboundDialect

log = logging.getLogger("failsoft")

_BODY_LEFT = (ErrorKind.TOO_LARGE, ErrorKind.SLOW_REQUEST, ErrorKind.UNSUPPORTED_MEDIA, ErrorKind.WRONG_METHOD)
"""Refused before the body was read: what is left of it must not be taken for the next request."""
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    """Unlike any other's, of any process; nothing rests on its being hard to guess."""
    return "req_" + random.randbytes(12).hex()  # noqa: S311


def correlation_of(headers: dict[str, str], request_id: str) -> str:
    """The caller's own id if it is well formed, else the request's."""
    for name in ("x-correlation-id", "x-request-id"):
        value = headers.get(name)
        if value is not None and _WELL_FORMED.fullmatch(value):
            return value
    return request_id


def identifying_headers(journey: Journey) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"x-request-id", journey.id.encode()), (b"x-correlation-id", journey.correlation_id.encode()))


def error_headers(error: ProxyError) -> list[tuple[bytes, bytes]]:
    """What an error answer says beyond its body: whether, and when, to try again."""
    may_retry = error.kind.facts.client_may_retry
    headers = [(b"content-type", b"application/json"), (b"x-should-retry", b"true" if may_retry else b"false")]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after + 0.499))))
        headers.append((b"retry-after-ms", b"%d" % (error.retry_after * 1000)))
    if error.kind in _BODY_LEFT:
        headers.append((b"connection", b"close"))
    return headers


class BorderReply(Reply, Protocol):
    """A reply that knows how far it got, and whether there is still somebody to read it."""

    @property
    def finished(self) -> bool: ...

    @property
    def client_left(self) -> bool: ...


class Endpoint:
    """`POST` on one inbound path, in the words of one dialect.

    It can be entered in two ways: as an ASGI application, and by `answer` from a server protocol that has read the
    body itself.
    """

    __slots__ = ("_dialect", "_door", "_engine", "_identities")

    def __init__(self, dialect: InboundDialect, engine: Engine, identities: Identities, door: Door) -> None:
        self._dialect = dialect
        self._door = door
        self._engine = engine
        self._identities = identities

    @property
    def server(self) -> ServerConfig:
        """The limits that hold while a request is being read."""
        return self._engine.live.server

    @property
    def is_closing(self) -> bool:
        """True once connections are not to be kept for another request."""
        return self._door.is_closing

    def hold(self) -> Hold:
        """Counts the bytes of one request's body."""
        return self._door.hold()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        journey, headers = self.open(scope["path"], scope["headers"])
        base = identifying_headers(journey)
        reply = AsgiReply(send, (*base, CLOSE) if self.is_closing else base)
        hold = self.hold()

        async def work() -> None:
            if scope["method"] != "POST":
                raise ProxyError(ErrorKind.WRONG_METHOD, f"{scope['path']} takes POST.")
            body = await read_body(scope, receive, self.server.max_body, self.server.body_timeout, hold)
            with until_disconnect(receive, reply):
                await self._serve(journey, headers, body, reply, hold)

        await self._guarded(work(), journey, reply, hold)

    def open(self, path: str, raw: Iterable[tuple[bytes, bytes]]) -> tuple[Journey, dict[str, str]]:
        """A request begins: its journey, and its headers as text."""
        clock = self._engine.live.clock
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
        request_id = new_request_id()
        correlation_id = correlation_of(headers, request_id)
        return Journey(request_id, correlation_id, path, clock.monotonic(), clock.wall()), headers

    def answer(
        self, journey: Journey, headers: dict[str, str], body: bytes, reply: BorderReply, hold: Hold
    ) -> Coroutine[None, None, None]:
        """Serve a request whose body is here; being cancelled means that the client left, if `reply` says so.

        No coroutine of its own, whose frame would hold the body as long as the answer takes.
        """
        return self._guarded(self._serve(journey, headers, body, reply, hold), journey, reply, hold)

    async def refuse(self, error: ProxyError, journey: Journey, reply: BorderReply) -> None:
        """Turn away a request whose body could not be read."""
        await self._refuse(error, journey, reply)
        self._engine.settle(journey)

    async def _guarded(
        self, work: Coroutine[None, None, None], journey: Journey, reply: BorderReply, hold: Hold
    ) -> None:
        """The border: whatever happens inside ends as one answer and one record."""
        task = self._door.enter()
        try:
            await work
        except ProxyError as error:
            await self._refuse(error, journey, reply)
        except asyncio.CancelledError:
            if not reply.client_left:
                await self._refuse(ProxyError(ErrorKind.DRAINING), journey, reply)
                raise
            journey.end(ErrorKind.CLIENT_GONE, ErrorKind.CLIENT_GONE.facts.status)
        except Exception:
            log.exception("request failed", extra={"request_id": journey.id})
            await self._refuse(ProxyError(ErrorKind.BUG), journey, reply)
        finally:
            hold.give()
            self._engine.settle(journey)
            self._door.inside.discard(task)

    async def _serve(
        self, journey: Journey, headers: dict[str, str], body: bytes, reply: BorderReply, hold: Hold
    ) -> None:
        snapshot = self._engine.live.snapshot
        check_host(headers, self.server.trusted_hosts)
        tenant, is_admin = self._identities.identify(headers, snapshot)
        if not is_admin:
            self._door.check_crowd()
        inbound = Inbound(
            id=journey.id,
            correlation_id=journey.correlation_id,
            dialect=self._dialect.name,
            endpoint=journey.endpoint,
            headers=headers,
            body=body,
            peek=self._dialect.peek(body),
            tenant=tenant,
            arrived=journey.started,
            is_admin=is_admin,
            gone=hold.give,
        )
        del body  # from here on `inbound` holds it alone, and can let it go
        await self._engine.serve(journey, inbound, reply)

    async def _refuse(self, error: ProxyError, journey: Journey, reply: BorderReply) -> None:
        """Tell the client, in whatever form is left: a status and a body, or an event in a stream that has begun."""
        if reply.finished or error.kind is ErrorKind.CLIENT_GONE:
            journey.end(error.kind, error.status)
            return
        if reply.started:
            journey.end(error.kind, journey.status or 200)
            await reply.finish(self._dialect.encode_error_event(error))
            return
        journey.end(error.kind, error.status)
        body = self._dialect.encode_error(error)
        head = [*error_headers(error), *journey.receipt(), (b"content-length", b"%d" % len(body))]
        await reply.start(error.status, head)
        await reply.finish(body)
