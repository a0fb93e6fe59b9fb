"""Every way a request can fail: one table, and the two exceptions that carry its rows.

    ProxyError          what the client is told; raised where the proxy itself refuses
    UpstreamFailure     how one attempt ended; caught at the attempt border, may become a ProxyError

The table drives the client's answer, retry, fallback, health and the ledger. Nothing else in the project
may decide by status code. The meaning of the columns:

    status, type, code  the answer in OpenAI's error shape when nothing better was found
    same_key            how often the same target and key may be tried again
    other_key           another key of the same upstream may be tried
    next_target         the next candidate may be tried
    health              weight of this failure for the target's breaker (0 none, 1 full)
    offline             an offline answer may stand in when all candidates are exhausted
    client_may_retry    value of `x-should-retry`; false wherever the proxy has already retried
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from typing import Literal

Blame = Literal["client", "tenant", "operator", "upstream", "proxy"]


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """One row of the table; see the module's docstring for the columns."""

    status: int
    type: str
    code: str | None
    message: str
    blame: Blame
    same_key: int = 0
    other_key: bool = False
    next_target: bool = False
    health: float = 0.0
    offline: bool = False
    client_may_retry: bool = False


_INVALID = "invalid_request_error"
_UPSTREAM = "upstream_error"


@unique
class ErrorKind(Enum):
    """The kinds; `kind.facts` is the row."""

    # What the client did.
    BAD_REQUEST = ErrorFacts(400, _INVALID, None, "The request is not valid.", "client")
    TOO_LARGE = ErrorFacts(413, _INVALID, "request_too_large", "The request body is too large.", "client")
    UNSUPPORTED_MEDIA = ErrorFacts(
        415, _INVALID, "unsupported_media_type", "Send JSON without a Content-Encoding.", "client"
    )
    SLOW_REQUEST = ErrorFacts(408, _INVALID, "request_timeout", "The request body did not arrive in time.", "client")
    UNKNOWN_PATH = ErrorFacts(404, _INVALID, "unknown_url", "There is nothing at this path.", "client")
    WRONG_METHOD = ErrorFacts(405, _INVALID, "method_not_allowed", "This path does not take this method.", "client")
    UNKNOWN_KEY = ErrorFacts(
        401, "authentication_error", "invalid_api_key", "The API key is missing or not valid.", "client"
    )
    MODEL_NOT_FOUND = ErrorFacts(404, _INVALID, "model_not_found", "The model does not exist.", "client")
    CLIENT_GONE = ErrorFacts(499, _INVALID, "client_closed_request", "The client left.", "client")

    # What the proxy itself must refuse.
    OVERLOADED = ErrorFacts(
        503, "service_unavailable_error", "server_overloaded", "The proxy is at its limit.", "proxy",
        offline=True, client_may_retry=True,
    )  # fmt: skip
    DRAINING = ErrorFacts(
        503, "service_unavailable_error", "server_shutdown", "The proxy is shutting down.", "proxy",
        client_may_retry=True,
    )  # fmt: skip
    NO_CANDIDATE = ErrorFacts(
        503, "service_unavailable_error", "no_upstream", "No enabled upstream can take this request.",
        "operator", offline=True,
    )  # fmt: skip
    OFFLINE_UNAVAILABLE = ErrorFacts(
        503, "service_unavailable_error", "offline_unavailable",
        "Every upstream failed, and no honest offline answer exists for this request.", "upstream",
        next_target=True,
    )  # fmt: skip
    DEADLINE = ErrorFacts(
        504, "timeout_error", "deadline_exceeded", "The request ran out of time.", "proxy",
        next_target=True, offline=True,
    )  # fmt: skip
    BUG = ErrorFacts(500, "server_error", "internal_error", "The proxy failed; the request id names it.", "proxy")

    # How an attempt at an upstream ended.
    REJECTED = ErrorFacts(400, _INVALID, None, "The upstream refused the request.", "client")
    CONTEXT = ErrorFacts(
        400, _INVALID, "context_length_exceeded", "The request is too long for the model.", "client",
        next_target=True,
    )  # fmt: skip
    UNTRANSLATABLE = ErrorFacts(
        400, _INVALID, None, "The request cannot be said in the upstream's protocol.", "client",
        next_target=True,
    )  # fmt: skip
    MODEL_ABSENT = ErrorFacts(
        404, _INVALID, "model_not_found", "The upstream does not have this model.", "operator",
        next_target=True,
    )  # fmt: skip
    AUTH = ErrorFacts(
        503, _UPSTREAM, "upstream_auth", "The upstream refused the proxy's credentials.", "operator",
        other_key=True, next_target=True, offline=True,
    )  # fmt: skip
    FORBIDDEN = ErrorFacts(
        503, _UPSTREAM, "upstream_auth", "The upstream does not let the proxy's key use this model.", "operator",
        other_key=True, next_target=True, offline=True,
    )  # fmt: skip
    MONEY = ErrorFacts(
        503, _UPSTREAM, "upstream_quota", "The proxy's account at the upstream is exhausted.", "operator",
        other_key=True, next_target=True, offline=True,
    )  # fmt: skip
    THROTTLE = ErrorFacts(
        429, "rate_limit_error", "rate_limit_exceeded", "The upstream is throttling.", "upstream",
        other_key=True, next_target=True, offline=True,
    )  # fmt: skip
    OVERLOAD = ErrorFacts(
        503, _UPSTREAM, "upstream_overloaded", "The upstream is overloaded.", "upstream",
        same_key=1, next_target=True, health=0.5, offline=True,
    )  # fmt: skip
    CONNECT = ErrorFacts(
        502, _UPSTREAM, "upstream_unreachable", "The upstream could not be reached.", "upstream",
        same_key=1, next_target=True, health=1.0, offline=True,
    )  # fmt: skip
    TLS = ErrorFacts(
        502, _UPSTREAM, "upstream_untrusted", "No secure connection to the upstream could be made.", "upstream",
        next_target=True, health=1.0, offline=True,
    )  # fmt: skip
    RESTING = ErrorFacts(
        503, _UPSTREAM, "upstream_resting", "The upstream failed too often and is left alone for a while.", "upstream",
        next_target=True, offline=True,
    )  # fmt: skip
    MAINTENANCE = ErrorFacts(
        503, _UPSTREAM, "upstream_maintenance", "The upstream is in maintenance.", "operator",
        next_target=True, offline=True,
    )  # fmt: skip
    FAULT = ErrorFacts(
        502, _UPSTREAM, "upstream_fault", "The upstream failed.", "upstream",
        same_key=1, other_key=True, next_target=True, health=1.0, offline=True,
    )  # fmt: skip
    NOT_AN_ANSWER = ErrorFacts(
        502, _UPSTREAM, "upstream_not_an_answer", "The upstream sent something that is not an answer.",
        "upstream", next_target=True, health=1.0, offline=True,
    )  # fmt: skip
    UNFIT = ErrorFacts(
        502, _UPSTREAM, "upstream_unfit", "The upstream's answer does not have the form that was asked for.",
        "upstream", same_key=1, next_target=True, offline=True,
    )  # fmt: skip
    FIRST_BYTE_TIMEOUT = ErrorFacts(
        504, "timeout_error", "upstream_timeout", "The upstream did not answer in time.", "upstream",
        next_target=True, health=1.0, offline=True,
    )  # fmt: skip
    FIRST_TOKEN_TIMEOUT = ErrorFacts(
        504, "timeout_error", "upstream_timeout", "The upstream sent no first token in time.", "upstream",
        next_target=True, health=1.0, offline=True,
    )  # fmt: skip
    IDLE_TIMEOUT = ErrorFacts(
        504, "timeout_error", "upstream_timeout", "The upstream fell silent.", "upstream",
        next_target=True, health=1.0, offline=True,
    )  # fmt: skip
    HEDGED = ErrorFacts(
        503, "service_unavailable_error", "hedged", "Another attempt at the same request answered first.", "proxy",
        next_target=True,
    )  # fmt: skip
    PAUSED = ErrorFacts(
        502, _UPSTREAM, "stream_interrupted", "The upstream tells the rest of its answer only to another request.",
        "upstream", next_target=True, offline=True,
    )  # fmt: skip
    DEPARTED = ErrorFacts(
        502, _UPSTREAM, "stream_interrupted", "The upstream did not tell the rest of another's answer.", "upstream",
        next_target=True, offline=True,
    )  # fmt: skip
    BROKEN_STREAM = ErrorFacts(
        502, _UPSTREAM, "stream_interrupted", "upstream stream interrupted", "upstream",
        next_target=True, health=1.0, offline=True,
    )  # fmt: skip

    @property
    def facts(self) -> ErrorFacts:
        return self.value

    @property
    def label(self) -> str:
        """The name in records, logs and metrics: `first_byte_timeout`."""
        return self.name.lower()


class ProxyError(Exception):
    """The final answer is an error; `param` is a JSON path (`messages[0].role`) where the client can look."""

    def __init__(
        self,
        kind: ErrorKind,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message or kind.facts.message)
        self.kind = kind
        self.message = message or kind.facts.message
        self.param = param
        self.code = code if code is not None else kind.facts.code
        self.status = status if status is not None else kind.facts.status
        self.retry_after = retry_after


class UpstreamFailure(Exception):
    """One attempt failed.

    `detail` is for the operator's log and may not reach a client. `retry_after` is in seconds, if the upstream
    said so. `sent` is false while nothing of the request can have been acted upon, so that a retry is free.
    `client_message`, `param`, `code` and `status` describe a rejection that is the client's to mend, redacted.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        sent: bool = True,
        client_message: str | None = None,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(f"{kind.label}: {detail}" if detail else kind.label)
        self.kind = kind
        self.detail = detail
        self.status = status
        self.retry_after = retry_after
        self.sent = sent
        self.client_message = client_message
        self.param = param
        self.code = code
