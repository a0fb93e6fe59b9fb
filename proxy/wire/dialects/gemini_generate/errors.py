"""What Gemini's errors mean: by the details first, then by the canonical status, then by the HTTP status.

The shape is google.rpc.Status: `{"error": {"code", "message", "status", "details": […]}}`, at times in an array of one.
The details tell apart what the statuses do not: a bad key from a bad request, an empty purse from a busy minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.wire.lenient import read_json
from proxy.wire.openai_errors import denied
from proxy.wire.redact import redact
from proxy.wire.retry_after import retry_after, span

_DETAIL: Final = 300
_PARKED: Final = 3600.0
"""Seconds: who names a wait of hours means that the quota of the day is gone."""

_BY_STATUS: Final[Mapping[str, ErrorKind]] = {
    "INVALID_ARGUMENT": ErrorKind.REJECTED,
    "OUT_OF_RANGE": ErrorKind.REJECTED,
    "FAILED_PRECONDITION": ErrorKind.AUTH,  # the region is not served, or billing is not set up
    "UNAUTHENTICATED": ErrorKind.AUTH,
    "PERMISSION_DENIED": ErrorKind.AUTH,
    "NOT_FOUND": ErrorKind.MODEL_ABSENT,
    "RESOURCE_EXHAUSTED": ErrorKind.THROTTLE,
    "CANCELLED": ErrorKind.FAULT,
    "ABORTED": ErrorKind.FAULT,
    "INTERNAL": ErrorKind.FAULT,
    "UNKNOWN": ErrorKind.FAULT,
    "UNAVAILABLE": ErrorKind.OVERLOAD,
    "DEADLINE_EXCEEDED": ErrorKind.FAULT,
}
_BY_CODE: Final[Mapping[int, ErrorKind]] = {
    401: ErrorKind.AUTH,
    402: ErrorKind.MONEY,
    403: ErrorKind.AUTH,
    408: ErrorKind.FAULT,
    409: ErrorKind.FAULT,
    429: ErrorKind.THROTTLE,
    499: ErrorKind.FAULT,
    503: ErrorKind.OVERLOAD,
}
_CLIENTS: Final = frozenset({ErrorKind.REJECTED, ErrorKind.CONTEXT})
_OF_A_KEY: Final = re.compile(r"API_KEY_|ACCESS_TOKEN_|CREDENTIALS")
_BAD_KEY: Final = re.compile(r"api key (?:not valid|expired|not found)|valid api key", re.IGNORECASE)
_TOO_LONG: Final = re.compile(
    r"token count .{0,40}exceeds|exceeds the maximum number of tokens|input is too long", re.IGNORECASE
)
_PURSE: Final = re.compile(r"billing|prepa(?:y|id)|credits? (?:are|is|balance)|spend", re.IGNORECASE)
_NO_LIMIT: Final = re.compile(r"limit: 0\b")


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """The failure that an answer of this status, (lower-cased) headers and body stands for."""
    error = read_error(body)
    wait = _delay(error)
    kind = _kind(status, error, wait)
    message = str(error.get("message") or "")
    return UpstreamFailure(
        kind,
        f"status {status}: {_excerpt(error) or _beginning(body)}",
        status=status,
        retry_after=retry_after(headers) if wait is None else wait,
        client_message=redact(message) if message and kind in _CLIENTS else None,
    )


def classify_inband(error: Mapping[str, Any]) -> UpstreamFailure:
    """The failure that an error inside an answer of status 200 stands for."""
    code = error.get("code")
    kind = _kind(code if type(code) is int else 500, error, _delay(error))
    # A request that was good enough for status 200 is not the client's fault now.
    kind = ErrorKind.FAULT if kind is ErrorKind.REJECTED else kind
    return UpstreamFailure(kind, f"error inside the answer: {_excerpt(error)}", retry_after=_delay(error))


def read_error(body: bytes) -> dict[str, Any]:
    """The inner error object of a body; empty if it is none."""
    try:
        told = read_json(body)
    except ValueError:
        return {}
    if isinstance(told, list):
        told = told[0] if told else None
    inner = told.get("error") if isinstance(told, dict) else None
    if isinstance(inner, str):
        return {"message": inner}
    return inner if isinstance(inner, dict) else {}


def _kind(status: int, error: Mapping[str, Any], wait: float | None) -> ErrorKind:
    if status < 300:
        return ErrorKind.NOT_AN_ANSWER
    message = str(error.get("message") or "")
    kind = _BY_STATUS.get(str(error.get("status"))) or _BY_CODE.get(status)
    if kind is None and status == 404:  # no such path: most likely a wrong base URL
        return ErrorKind.MODEL_ABSENT if error else ErrorKind.NOT_AN_ANSWER
    if status == 402:
        return ErrorKind.MONEY
    if kind is None:
        kind = ErrorKind.REJECTED if status < 500 else ErrorKind.FAULT
    if kind is ErrorKind.THROTTLE and _is_parked(error, message, wait):
        return ErrorKind.MONEY
    if kind is ErrorKind.AUTH and _PURSE.search(message):
        return ErrorKind.MONEY
    if kind is ErrorKind.REJECTED:
        return _of_a_rejection(error, message)
    return denied(status, kind, message)


def _of_a_rejection(error: Mapping[str, Any], message: str) -> ErrorKind:
    reasons = [str(detail.get("reason")) for detail in _details(error)]
    if any(map(_OF_A_KEY.match, reasons)) or _BAD_KEY.search(message):
        return ErrorKind.AUTH
    return ErrorKind.CONTEXT if _TOO_LONG.search(message) else ErrorKind.REJECTED


def _is_parked(error: Mapping[str, Any], message: str, wait: float | None) -> bool:
    """True if the quota of a day is used up, or there is none at all: waiting a minute will not help."""
    violations = [
        violation
        for detail in _details(error)
        for violation in (detail.get("violations") or ())
        if isinstance(violation, dict)
    ]
    return (
        any("PerDay" in str(violation.get("quotaId")) for violation in violations)
        or any(str(violation.get("quotaValue")) == "0" for violation in violations)
        or (wait is not None and wait >= _PARKED)
        or _NO_LIMIT.search(message) is not None
        or _PURSE.search(message) is not None
    )


def _delay(error: Mapping[str, Any]) -> float | None:
    """Seconds, of google.rpc.RetryInfo: `"retryDelay": "46s"`."""
    told = (detail.get("retryDelay") for detail in _details(error))
    spans = [span(delay) for delay in told if isinstance(delay, str)]
    return next((seconds for seconds in spans if seconds is not None), None)


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    return (detail for detail in (details if isinstance(details, list) else ()) if isinstance(detail, dict))


def _excerpt(error: Mapping[str, Any]) -> str:
    """For the operator: status and message."""
    return redact(" ".join(str(error[name]) for name in ("status", "message") if error.get(name)), _DETAIL)


def _beginning(body: bytes) -> str:
    return redact(body[: 4 * _DETAIL].decode("utf-8", "replace"), _DETAIL) or "no body"
