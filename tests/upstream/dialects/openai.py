"""What OpenAI's endpoints have in common: frames, errors, usage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.upstream.request import Request
from tests.upstream.script import Script, Usage

CREATED = 1_760_000_000
LOGPROB = -0.5
STREAM_TYPE = "text/event-stream; charset=utf-8"

_ERRORS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("authentication_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
}


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def frame(value: Any) -> bytes:
    return b"data: " + dump(value) + b"\n\n"


def streams(request: Request) -> bool:
    return bool(request.json.get("stream"))


def model(request: Request, script: Script) -> str:
    """The model that the answer claims to come from."""
    return script.model or str(request.json.get("model", "unknown"))


def usage(counts: Usage) -> dict[str, Any]:
    """The totals, and the parts of them that the script speaks of."""
    told: dict[str, Any] = {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
    }
    if counts.cached or counts.cache_write:
        told["prompt_tokens_details"] = {"cached_tokens": counts.cached, "cache_write_tokens": counts.cache_write}
    if counts.reasoning:
        told["completion_tokens_details"] = {"reasoning_tokens": counts.reasoning}
    return told


def logprobs(request: Request, script: Script) -> dict[str, Any] | None:
    """What is said of a whole answer's first token, if the caller asked."""
    if not request.json.get("logprobs") or not script.deltas:
        return None
    return {"content": [{"token": script.deltas[0], "logprob": LOGPROB, "bytes": None, "top_logprobs": []}]}


def includes_usage(request: Request) -> bool:
    return bool((request.json.get("stream_options") or {}).get("include_usage"))


def error(script: Script) -> bytes:
    """OpenAI's error body (wire-facts 1.3); a string as error is passed as it is, as LM Studio does."""
    if isinstance(script.error, str):
        return dump({"error": script.error})
    kind, code = _ERRORS.get(script.status, ("server_error", None))
    facts = {"message": f"scripted {script.status}", "type": kind, "param": None, "code": code}
    return dump({"error": facts | dict(script.error or {})})


def with_error(frames: Iterator[bytes], script: Script) -> Iterator[bytes]:
    """The frames of a stream, ended by the script's in-band error if it has one."""
    if script.error is None or script.status >= 400:
        yield from frames
        return
    yield from itertools.islice(frames, script.error_after)
    yield b"data: " + error(script) + b"\n\n"


def deltas(script: Script) -> Iterator[str]:
    """The pieces of text; the last one for ever if the script is endless."""
    yield from script.deltas
    while script.endless:
        yield script.deltas[-1]
