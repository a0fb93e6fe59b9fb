"""What an error in OpenAI's shape means: by its code first, then by its words, then by the status.

Many servers speak this shape more or less: errors are objects, strings, arrays, plain text or a web page; codes are
words or numbers. `classify` judges a whole answer, `classify_inband` an error found inside an answer of status 200.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.wire.redact import redact
from proxy.wire.retry_after import retry_after

_DETAIL: Final = 300

_BY_CODE: Final[Mapping[str, ErrorKind]] = {
    "insufficient_quota": ErrorKind.MONEY,
    "credit_balance_exhausted": ErrorKind.MONEY,
    "organization_spend_limit_exceeded": ErrorKind.MONEY,
    "project_spend_limit_exceeded": ErrorKind.MONEY,
    "organization_usage_limit_exceeded": ErrorKind.MONEY,
    "billing_not_active": ErrorKind.MONEY,
    "billing_hard_limit_reached": ErrorKind.MONEY,
    "insufficient_balance": ErrorKind.MONEY,
    "context_length_exceeded": ErrorKind.CONTEXT,
    "exceed_context_size_error": ErrorKind.CONTEXT,
    "model_context_window": ErrorKind.CONTEXT,
    "model_not_found": ErrorKind.MODEL_ABSENT,
    "model_not_loaded": ErrorKind.MODEL_ABSENT,
    "invalid_api_key": ErrorKind.AUTH,
    "authentication_error": ErrorKind.AUTH,
    "permission_error": ErrorKind.AUTH,
    "rate_limit_exceeded": ErrorKind.THROTTLE,
    "rate_limit_error": ErrorKind.THROTTLE,
    "slow_down": ErrorKind.THROTTLE,
    "ramp_limit_exceeded": ErrorKind.THROTTLE,
    "server_is_overloaded": ErrorKind.OVERLOAD,
    "server_overloaded": ErrorKind.OVERLOAD,
    "overloaded_error": ErrorKind.OVERLOAD,
    "overloaded": ErrorKind.OVERLOAD,
    "service_unavailable_error": ErrorKind.OVERLOAD,
}
"""Codes and types, in lower case."""

_BY_WORDS: Final[tuple[tuple[re.Pattern[str], ErrorKind], ...]] = tuple(
    (re.compile(words, re.IGNORECASE), kind)
    for words, kind in (
        (r"maximum context length|(?:prompt|input) is too long|context (?:length|window|size)", ErrorKind.CONTEXT),
        (r"model (?:is unloaded|has crashed)", ErrorKind.FAULT),
        (r"\bno models? (?:is |are )?loaded|unknown model", ErrorKind.MODEL_ABSENT),
        (r"\bmodel\b.{0,300}?(?:not found|does not exist|not loaded|no such)", ErrorKind.MODEL_ABSENT),
        (r"spend limit|insufficient (?:balance|credit)|credit balance", ErrorKind.MONEY),
        (r"api key not valid|(?:invalid|incorrect) api key", ErrorKind.AUTH),
        (r"\boverloaded\b|server busy", ErrorKind.OVERLOAD),
        (r"\brate.?limit", ErrorKind.THROTTLE),
    )
)
"""Sentences, the first that fits."""

_WORDY: Final = frozenset({400, 404, 409, 413, 422})
"""Statuses that say too little: there the words decide. All other statuses are believed."""

_BY_STATUS: Final[Mapping[int, ErrorKind]] = {
    401: ErrorKind.AUTH,
    402: ErrorKind.MONEY,
    403: ErrorKind.AUTH,
    408: ErrorKind.FAULT,
    409: ErrorKind.FAULT,
    429: ErrorKind.THROTTLE,
    498: ErrorKind.OVERLOAD,
    503: ErrorKind.OVERLOAD,
    529: ErrorKind.OVERLOAD,
}
_OF_MODELS: Final = re.compile(r"\bmodels?\b", re.IGNORECASE)
_DENIALS: Final = frozenset({ErrorKind.AUTH, ErrorKind.MODEL_ABSENT})
_CLIENTS: Final = frozenset({ErrorKind.REJECTED, ErrorKind.CONTEXT})
"""Kinds whose message the client may read: it is about the client's own request."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error as its sender worded it; `codes` are its code and type in lower case, `code` the code as it came."""

    message: str
    codes: tuple[str, ...] = ()
    code: str | None = None
    param: str | None = None


def read_complaint(error: Any) -> Complaint | None:
    """Read a decoded error: `{"error": …}`, the inner object, a string, or any of these in an array."""
    if isinstance(error, list):
        return read_complaint(error[0]) if error else None
    if isinstance(error, str):
        return Complaint(error) if error.strip() else None
    if not isinstance(error, dict):
        return None
    inner = error.get("error")
    if inner:
        return read_complaint(inner)
    message, code, kind, param = (error.get(name) for name in ("message", "code", "type", "param"))
    if message is None:
        message = error.get("detail")
    if message is None and code is None and kind is None:
        return None
    codes = tuple(str(word).lower() for word in (code, kind) if isinstance(word, str | int))
    return Complaint(
        message if isinstance(message, str) else "",
        codes,
        code if isinstance(code, str) else None,
        param if isinstance(param, str) else None,
    )


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """The failure that an answer of this status, (lower-cased) headers and body stands for."""
    complaint = read_complaint(_decode(body))
    kind = _kind(status, complaint)
    code = complaint.code if complaint else None
    return UpstreamFailure(
        kind,
        f"status {status}: {_excerpt(complaint, body)}",
        status=status,
        retry_after=retry_after(headers),
        client_message=redact(complaint.message) if complaint and complaint.message and kind in _CLIENTS else None,
        param=redact(complaint.param, 200) if complaint and complaint.param and kind in _CLIENTS else None,
        code=redact(code, 100) if code and kind in _CLIENTS else None,
    )


def classify_inband(error: Any, default: ErrorKind = ErrorKind.FAULT) -> UpstreamFailure:
    """The failure that an error inside an answer of status 200 stands for; `error` is its decoded JSON."""
    complaint = read_complaint(error)
    kind = default
    if complaint is not None:
        numbers = [int(code) for code in complaint.codes if re.fullmatch(r"[345]\d\d", code)]
        kind = _by_code(complaint) or _by_words(complaint) or (_by_status(numbers[0]) if numbers else default)
        # A request that was good enough for status 200 is not the client's fault now.
        kind = default if kind is ErrorKind.REJECTED else kind
    return UpstreamFailure(
        kind,
        f"error inside the answer: {_excerpt(complaint, b'')}",
        client_message=redact(complaint.message) if complaint and kind is ErrorKind.CONTEXT else None,
    )


def denied(status: int, kind: ErrorKind, words: str) -> ErrorKind:
    """`kind`, or FORBIDDEN where a 403 speaks of a model: the key is good, and others may use that model with theirs.

    OpenAI says it with the code `model_not_found`, Groq with `model_permission_blocked_org`, others in words.
    """
    is_of_model = status == 403 and kind in _DENIALS and _OF_MODELS.search(words.replace("_", " ")) is not None
    return ErrorKind.FORBIDDEN if is_of_model else kind


def _kind(status: int, complaint: Complaint | None) -> ErrorKind:
    kind = _first_kind(status, complaint)
    return kind if complaint is None else denied(status, kind, " ".join((complaint.message, *complaint.codes)))


def _first_kind(status: int, complaint: Complaint | None) -> ErrorKind:
    if status < 300:
        return ErrorKind.NOT_AN_ANSWER
    if complaint is not None:
        kind = _by_code(complaint) or (_by_words(complaint) if status in _WORDY or status >= 500 else None)
        if kind is not None:
            return kind
    # No such path, said in another shape: most likely a wrong base URL rather than a wrong request.
    if status == 404 and not (complaint and complaint.codes):
        return ErrorKind.NOT_AN_ANSWER
    return _by_status(status)


def _by_code(complaint: Complaint) -> ErrorKind | None:
    return next((_BY_CODE[code] for code in complaint.codes if code in _BY_CODE), None)


def _by_words(complaint: Complaint) -> ErrorKind | None:
    return next((kind for words, kind in _BY_WORDS if words.search(complaint.message)), None)


def _by_status(status: int) -> ErrorKind:
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return ErrorKind.REJECTED if 400 <= status < 500 else ErrorKind.FAULT


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def _excerpt(complaint: Complaint | None, body: bytes) -> str:
    """For the operator: the message, else the beginning of the body."""
    if complaint is None:
        return redact(body[: 4 * _DETAIL].decode("utf-8", "replace"), _DETAIL) or "no body"
    return redact(" ".join(filter(None, (complaint.message, *complaint.codes))), _DETAIL)
