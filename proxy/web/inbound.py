"""The request border: one raw ASGI endpoint per path that a dialect declares.

Reads, identifies, hands over to the engine, and turns whatever comes back into one answer and one record.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.request import Inbound
from proxy.engine.journey import Journey
from proxy.engine.pipeline import Engine
from proxy.web.asgi import AsgiReply, ClientGone, Receive, Scope, Send, read_body, until_disconnect
from proxy.web.identity import check_host, identify
from proxy.wire.dialects import Dialect

log = logging.getLogger("failsoft")

_BODY_LEFT = (ErrorKind.TOO_LARGE, ErrorKind.SLOW_REQUEST, ErrorKind.UNSUPPORTED_MEDIA, ErrorKind.WRONG_METHOD)
"""Refused before the body was read: what is left of it must not be taken for the next request."""
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    return "req_" + os.urandom(12).hex()


def correlation_of(headers: dict[str, str], request_id: str) -> str:
    """The caller's own id if it is well formed, else the request's."""
    for name in ("x-correlation-id", "x-request-id"):
        value = headers.get(name)
        if value is not None and _WELL_FORMED.fullmatch(value):
            return value
    return request_id


def identifying_headers(request_id: str, correlation_id: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"x-request-id", request_id.encode()), (b"x-correlation-id", correlation_id.encode()))


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


class Endpoint:
    """`POST` on one inbound path, in the words of one dialect."""

    __slots__ = ("_dialect", "_engine")

    def __init__(self, dialect: Dialect, engine: Engine) -> None:
        self._dialect = dialect
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        clock = self._engine.live.clock
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = new_request_id()
        correlation_id = correlation_of(headers, request_id)
        journey = Journey(request_id, correlation_id, scope["path"], clock.monotonic(), clock.wall())
        reply = AsgiReply(send, identifying_headers(request_id, correlation_id))
        try:
            await self._serve(scope, receive, headers, journey, reply)
        except ProxyError as error:
            await self._refuse(error, journey, reply)
        except ClientGone:
            journey.end(ErrorKind.CLIENT_GONE, ErrorKind.CLIENT_GONE.facts.status)
        except asyncio.CancelledError:
            await self._refuse(ProxyError(ErrorKind.DRAINING), journey, reply)
            raise
        except Exception:
            log.exception("request failed", extra={"request_id": request_id})
            await self._refuse(ProxyError(ErrorKind.BUG), journey, reply)
        finally:
            self._engine.settle(journey)

    async def _serve(
        self, scope: Scope, receive: Receive, headers: dict[str, str], journey: Journey, reply: AsgiReply
    ) -> None:
        snapshot = self._engine.live.snapshot
        if scope["method"] != "POST":
            raise ProxyError(ErrorKind.WRONG_METHOD, f"{scope['path']} takes POST.")
        check_host(headers, snapshot.server.trusted_hosts)
        tenant, is_admin = identify(headers, snapshot)
        body = await read_body(scope, receive, snapshot.server.max_body, snapshot.server.body_timeout)
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
        )
        with until_disconnect(receive, reply):
            await self._engine.serve(journey, inbound, reply)

    async def _refuse(self, error: ProxyError, journey: Journey, reply: AsgiReply) -> None:
        """Tell the client, in whatever form is left: a status and a body, or an event in a stream that has begun."""
        if reply.finished:
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
