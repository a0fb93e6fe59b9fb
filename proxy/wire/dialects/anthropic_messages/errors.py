"""What an error of the Messages API means: by its code, then its type, then its words.

The shape is `{"type": "error", "error": {"type", "message", "details"?: {"error_code"}}, "request_id"}`, as a whole
answer or as an `error` event inside a stream of status 200. Anything else that comes back (a gateway's page, plain
text) is judged by the rules for OpenAI's shape, which believe the status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.wire import openai_errors
from proxy.wire.lenient import read_json
from proxy.wire.redact import redact
from proxy.wire.retry_after import retry_after

_BY_CODE: Final[Mapping[str, ErrorKind]] = {
    "enforced_spend_limit_reached": ErrorKind.MONEY,
    "contract_spend_limit_reached": ErrorKind.MONEY,
    "ramp_limit_exceeded": ErrorKind.THROTTLE,
}
_BY_TYPE: Final[Mapping[str, ErrorKind]] = {
    "authentication_error": ErrorKind.AUTH,
    "billing_error": ErrorKind.MONEY,
    "permission_error": ErrorKind.AUTH,
    "not_found_error": ErrorKind.MODEL_ABSENT,
    "conflict_error": ErrorKind.FAULT,
    "request_too_large": ErrorKind.REJECTED,
    "rate_limit_error": ErrorKind.THROTTLE,
    "overloaded_error": ErrorKind.OVERLOAD,
    "api_error": ErrorKind.FAULT,
    "timeout_error": ErrorKind.FAULT,
}
"""All but `invalid_request_error`, which covers too much: there the words decide."""

_BY_WORDS: Final = tuple(
    (re.compile(words, re.IGNORECASE), kind)
    for words, kind in (
        (r"prompt is too long|exceeds? (?:the )?(?:model'?s? )?context|context (?:limit|window)", ErrorKind.CONTEXT),
        (r"credit balance|spend(?:ing)? limit|usage limits?", ErrorKind.MONEY),
    )
)
_BUSY: Final[Mapping[int, ErrorKind]] = {503: ErrorKind.OVERLOAD, 529: ErrorKind.OVERLOAD}
"""Statuses that say more than the `api_error` in their bodies."""

_RESETS: Final = tuple(
    f"anthropic-ratelimit-{what}" for what in ("requests", "tokens", "input-tokens", "output-tokens")
)
_DETAIL: Final = 300
_TOLD: Final = frozenset({ErrorKind.REJECTED, ErrorKind.CONTEXT})


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """The failure that an answer of this status, (lower-cased) headers and body stands for."""
    error = _error_of(_decode(body))
    if error is None or status < 300:
        return openai_errors.classify(status, headers, body)
    message = _message(error)
    kind = openai_errors.denied(status, _kind(error), message)
    return UpstreamFailure(
        _BUSY.get(status, kind) if kind is ErrorKind.FAULT else kind,
        f"status {status}: {_detail(error)}",
        status=status,
        retry_after=_wait(headers) if kind is not ErrorKind.MONEY else None,
        client_message=redact(message) if message and kind in _TOLD else None,
    )


def classify_inband(event: Any) -> UpstreamFailure:
    """The failure that an error inside an answer of status 200 stands for; `event` is its decoded JSON."""
    error = _error_of(event)
    if error is None:
        return openai_errors.classify_inband(event)
    kind = _kind(error)
    # A request that was good enough for status 200 is not the client's fault now.
    return UpstreamFailure(
        ErrorKind.FAULT if kind is ErrorKind.REJECTED else kind, f"error inside the answer: {_detail(error)}"
    )


def _error_of(document: Any) -> Mapping[str, Any] | None:
    """The inner error of the vendor's shape."""
    error = document.get("error") if isinstance(document, dict) and document.get("type") == "error" else None
    return error if isinstance(error, dict) and isinstance(error.get("type"), str) else None


def _kind(error: Mapping[str, Any]) -> ErrorKind:
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    if isinstance(code, str) and code in _BY_CODE:
        return _BY_CODE[code]
    kind = _BY_TYPE.get(error["type"])
    if kind is not None:
        return kind
    message = _message(error)
    return next((kind for words, kind in _BY_WORDS if words.search(message)), ErrorKind.REJECTED)


def _message(error: Mapping[str, Any]) -> str:
    message = error.get("message")
    return message if isinstance(message, str) else ""


def _detail(error: Mapping[str, Any]) -> str:
    return redact(f"{error['type']} {_message(error)}".strip(), _DETAIL)


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds: `retry-after`, else until the last of the exhausted limits is reset (RFC 3339 times)."""
    told = retry_after(headers)
    if told is not None:
        return told
    date = headers.get("date", "")
    resets = [
        retry_after({"retry-after": headers.get(f"{name}-reset", ""), "date": date})
        for name in _RESETS
        if headers.get(f"{name}-remaining") == "0"
    ]
    return max((seconds for seconds in resets if seconds is not None), default=None)


def _decode(body: bytes) -> Any:
    try:
        return read_json(body)
    except ValueError:
        return None
