"""Answers of the paths that are not hot: Starlette responses in the project's own shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from proxy.core.errors import ErrorKind, ProxyError
from proxy.web.inbound import error_headers

_BY_STATUS = {
    404: ErrorKind.UNKNOWN_PATH,
    405: ErrorKind.WRONG_METHOD,
    413: ErrorKind.TOO_LARGE,
}


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def encode_error(error: ProxyError) -> bytes:
    """The error in OpenAI's shape."""
    facts = {"message": error.message, "type": error.kind.facts.type, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": facts})


def error_response(error: ProxyError) -> Response:
    """The error in OpenAI's shape, with the same headers as on the hot paths."""
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return Response(encode_error(error), error.status, headers, "application/json")


async def on_proxy_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProxyError)
    return error_response(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    kind = _BY_STATUS.get(error.status_code, ErrorKind.BAD_REQUEST)
    told = f"{kind.facts.message} ({request.method} {request.url.path[:200]!r})"
    return error_response(ProxyError(kind, told, status=error.status_code))


async def on_bug(_request: Request, _error: Exception) -> Response:
    return error_response(ProxyError(ErrorKind.BUG))
