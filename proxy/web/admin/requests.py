"""`GET /admin/requests`: the latest requests of this process, and how each try for them ended."""

from __future__ import annotations

import os
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy.core.decision import Attempt
from proxy.core.ports import Records
from proxy.core.usage import Usage, UsageRecord
from proxy.web.admin.asked import limit_of
from proxy.web.respond import json_response

_USUAL = 100
_MOST = 1000


class Requests:
    """A view of the records: never a prompt, an answer or a key."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def list(self, request: Request) -> Response:
        """The last `limit` requests, the newest first."""
        limit = limit_of(request, _USUAL, _MOST)
        shown = [_request(record) for record in self._records.latest(limit)]
        return json_response({"worker": os.getpid(), "requests": shown})


def _request(record: UsageRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "correlation_id": record.correlation_id,
        "at": record.at.isoformat(timespec="milliseconds"),
        "tenant": record.tenant,
        "endpoint": record.endpoint,
        "stream": record.stream,
        "asked_model": record.asked_model,
        "route": record.route,
        "upstream": record.upstream,
        "model": record.model,
        "mode": record.mode,
        "offline": record.offline,
        "status": record.status,
        "ended": record.ended,
        "ms": _milliseconds(record.seconds),
        "first_token_ms": _milliseconds(record.first_token),
        "tokens": _tokens(record.usage),
        "may_be_billed": record.may_be_billed,
        "attempts": [_attempt(attempt) for attempt in record.attempts],
        "losses": record.losses,
        "facts": record.facts,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    """`key` is a fingerprint; the outcome an error kind in lower case, or `success`."""
    return {
        "upstream": attempt.upstream,
        "model": attempt.model,
        "key": attempt.key,
        "outcome": attempt.kind.label if attempt.kind else "success",
        "status": attempt.status,
        "ms": _milliseconds(attempt.seconds),
        "first_token_ms": _milliseconds(attempt.first_token),
        "may_be_billed": attempt.may_be_billed,
        "is_hedge": attempt.is_hedge,
        "estimated_tokens": attempt.estimate,
    }


def _tokens(usage: Usage) -> dict[str, Any]:
    return {
        "prompt": usage.prompt,
        "completion": usage.completion,
        "cached": usage.cached,
        "cache_write": usage.cache_write,
        "reasoning": usage.reasoning,
        "source": usage.source,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
