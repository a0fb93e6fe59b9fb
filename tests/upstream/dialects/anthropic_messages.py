"""Anthropic's Messages: `POST …/messages` (wire-facts 3.3 and 3.4)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.upstream.dialects import openai
from tests.upstream.request import Request
from tests.upstream.script import Script, Usage

SIGNATURE = "c2lnbmVkIGJ5IHRoZSBmYWtl"

_ERRORS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicMessages:
    stream_type = openai.STREAM_TYPE
    streams = staticmethod(openai.streams)

    def answers(self, request: Request) -> bool:
        return request.method == "POST" and request.path.endswith("/messages")

    def error(self, script: Script) -> bytes:
        kind = _ERRORS.get(script.status, "overloaded_error" if script.status < 400 else "api_error")
        facts = {"type": kind, "message": f"scripted {script.status}"}
        told = {"message": script.error} if isinstance(script.error, str) else dict(script.error or {})
        return openai.dump({"type": "error", "error": facts | told, "request_id": "req_fake"})

    def whole(self, request: Request, script: Script) -> bytes:
        if script.error is not None:
            return self.error(script)
        ends = {"stop_reason": _stop(script), "stop_sequence": None}
        content = [block for block, _ in _blocks(script)]
        return openai.dump(_message(request, script) | {"content": content, "usage": _usage(script.usage)} | ends)

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        frames = _frames(request, script)
        if script.error is None:
            return frames
        return itertools.chain(
            itertools.islice(frames, script.error_after), (b"event: error\ndata: " + self.error(script) + b"\n\n",)
        )


def _stop(script: Script) -> str:
    return script.finish or ("tool_use" if script.tool_calls else "end_turn")


def _message(request: Request, script: Script) -> dict[str, Any]:
    return {"id": "msg_fake", "type": "message", "role": "assistant", "model": openai.model(request, script)}


def _usage(counts: Usage | None) -> dict[str, Any]:
    """What the vendor counts: tokens that went through its cache are not among `input_tokens`."""
    if counts is None:
        return {"input_tokens": 0, "output_tokens": 0}
    return {
        "input_tokens": counts.prompt - counts.cached - counts.cache_write,
        "cache_creation_input_tokens": counts.cache_write,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": counts.completion,
        "output_tokens_details": {"thinking_tokens": counts.reasoning},
        "service_tier": "standard",
    }


def _blocks(script: Script) -> Iterator[tuple[dict[str, Any], Iterator[dict[str, Any]]]]:
    """Each content block as it is in a whole answer, and the deltas that a stream makes of it."""
    if script.reasoning:
        deltas = [{"type": "thinking_delta", "thinking": text} for text in script.reasoning]
        signed = {"type": "signature_delta", "signature": SIGNATURE}
        block = {"type": "thinking", "thinking": "".join(script.reasoning), "signature": SIGNATURE}
        yield block, iter([*deltas, signed])
    if not script.tool_calls:
        yield (
            {"type": "text", "text": "".join(script.deltas)},
            ({"type": "text_delta", "text": text} for text in openai.deltas(script)),
        )
    for call in script.tool_calls:
        given = json.loads("".join(call.pieces) or "{}")
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": given}
        yield block, iter([{"type": "input_json_delta", "partial_json": piece} for piece in ("", *call.pieces)])


_EMPTY: Mapping[str, dict[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}
"""How a block begins in a stream."""


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + openai.dump({"type": kind} | fields) + b"\n\n"


def _frames(request: Request, script: Script) -> Iterator[bytes]:
    usage = _usage(script.usage)
    begun = _message(request, script) | {"content": [], "stop_reason": None, "stop_sequence": None}
    yield _event("message_start", message=begun | {"usage": usage | {"output_tokens": 1}})
    yield _event("ping")
    for index, (block, deltas) in enumerate(_blocks(script)):
        yield _event("content_block_start", index=index, content_block=block | _EMPTY[block["type"]])
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    if script.finish != "":
        ends = {"stop_reason": _stop(script), "stop_sequence": None}
        yield _event("message_delta", delta=ends, usage={"output_tokens": usage["output_tokens"]})
    if script.done:
        yield _event("message_stop")


DIALECT = AnthropicMessages()
