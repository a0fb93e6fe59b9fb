"""What operators send: a body of a known form, a number in the query."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request

from proxy.config.sections import ServerConfig
from proxy.core.errors import ErrorKind, ProxyError
from proxy.web.asgi import read_body

T = TypeVar("T", bound=msgspec.Struct)


async def order_of(request: Request, server: ServerConfig, form: type[T], told: str) -> T:
    """The body as a `form`. Raises ProxyError BAD_REQUEST, which begins with `told`, and what reading may raise."""
    body = await read_body(request.scope, request.receive, server.max_body, server.body_timeout)
    try:
        return msgspec.json.decode(body, type=form)
    except ValueError as error:  # MsgspecError and UnicodeDecodeError are such
        raise ProxyError(ErrorKind.BAD_REQUEST, f"{told}: {error}") from None


def limit_of(request: Request, usual: int, most: int) -> int:
    """The number that `limit` asks for. Raises ProxyError BAD_REQUEST."""
    asked = request.query_params.get("limit", str(usual))
    limit = int(asked) if asked.isascii() and asked.isdigit() and len(asked) <= len(str(most)) else 0
    if not 0 < limit <= most:
        raise ProxyError(ErrorKind.BAD_REQUEST, f"`limit` is a number from 1 to {most}.", param="limit")
    return limit
