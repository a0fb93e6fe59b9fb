"""OpenAI's responses: `POST …/responses` (wire-facts 1.9).

`finish` is what the answer ends as: `length` or `content_filter` make it incomplete, `failed` ends it by
`response.failed` rather than by an `error` event, `refusal` makes the text one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from tests.upstream.dialects import openai
from tests.upstream.request import Request
from tests.upstream.script import Script, Usage

SEALED = "c2VhbGVkIGJ5IHRoZSBmYWtl"
"""What a reasoning item holds encrypted."""

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class OpenAIResponses:
    stream_type = openai.STREAM_TYPE
    streams = staticmethod(openai.streams)
    error = staticmethod(openai.error)

    def answers(self, request: Request) -> bool:
        return request.method == "POST" and request.path.endswith("/responses")

    def whole(self, request: Request, script: Script) -> bytes:
        if script.error is not None:
            return openai.dump(_failed(request, script))
        return openai.dump(_response(request, script, _status(script), [item for item, _ in _items(request, script)]))

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        told = _events(request, script)
        if script.error is not None:
            told = itertools.chain(itertools.islice(told, script.error_after), (_failure(request, script),))
        for number, event in enumerate(told):
            data = openai.dump(event | {"sequence_number": number})
            yield b"event: " + event["type"].encode() + b"\ndata: " + data + b"\n\n"


def _failure(request: Request, script: Script) -> dict[str, Any]:
    if script.finish == "failed":
        return {"type": "response.failed", "response": _failed(request, script)}
    return {"type": "error"} | _error(script)


def _error(script: Script) -> dict[str, Any]:
    told = {"message": script.error} if isinstance(script.error, str) else dict(script.error or {})
    return {"code": "server_error", "message": "scripted failure", "param": None} | told


def _failed(request: Request, script: Script) -> dict[str, Any]:
    return _response(request, script, "failed", []) | {"error": _error(script)}


def _status(script: Script) -> str:
    return "incomplete" if script.finish in _INCOMPLETE else "completed"


def _response(request: Request, script: Script, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    asked = request.json
    is_over = status in ("completed", "incomplete")
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": openai.CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": _INCOMPLETE[script.finish or ""]} if status == "incomplete" else None,
        "instructions": asked.get("instructions"),
        "metadata": asked.get("metadata") or {},
        "model": openai.model(request, script),
        "output": output,
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "service_tier": "default",
        "store": asked.get("store", True),
        "temperature": asked.get("temperature", 1.0),
        "text": asked.get("text", {"format": {"type": "text"}}),
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []),
        "top_p": asked.get("top_p", 1.0),
        "usage": _usage(script.usage) if is_over and script.usage is not None else None,
    }


def _usage(counts: Usage) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": counts.cache_write},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.prompt + counts.completion,
    }


def _items(request: Request, script: Script) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """The items of the output, whole, each with the pieces in which its text is streamed."""
    if script.reasoning:
        summary = [{"type": "summary_text", "text": "".join(script.reasoning)}]
        item: dict[str, Any] = {"id": "rs_fake", "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (request.json.get("include") or ()):
            item["encrypted_content"] = SEALED
        yield item, script.reasoning
    custom = {tool["name"] for tool in request.json.get("tools") or () if tool["type"] == "custom"}
    for number, call in enumerate(script.tool_calls):
        kind, field = ("custom_tool_call", "input") if call.name in custom else ("function_call", "arguments")
        item = {"id": f"fc_fake_{number}", "type": kind, "status": "completed"}
        yield item | {"call_id": call.id, "name": call.name, field: "".join(call.pieces)}, call.pieces
    if not script.tool_calls:
        yield _message([_text_part("".join(script.deltas), script)], "completed"), script.deltas


def _message(content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"id": "msg_fake", "type": "message", "status": status, "role": "assistant", "content": content}


def _text_part(text: str, script: Script) -> dict[str, Any]:
    if script.finish == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _events(request: Request, script: Script) -> Iterator[dict[str, Any]]:
    for kind in ("created", "in_progress"):
        yield {"type": f"response.{kind}", "response": _response(request, script, "in_progress", [])}
    output = []
    for place, (item, pieces) in enumerate(_items(request, script)):
        yield {"type": "response.output_item.added", "output_index": place, "item": _begun(item)}
        where = {"item_id": item["id"], "output_index": place}
        yield from _STREAMS[item["type"]](where, item, pieces, script)
        yield {"type": "response.output_item.done", "output_index": place, "item": item}
        output.append(item)
    if script.done:
        status = _status(script)
        yield {"type": f"response.{status}", "response": _response(request, script, status, output)}


def _begun(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item when nothing of it has been said."""
    empty = {"arguments": "", "input": "", "content": [], "summary": [], "status": "in_progress"}
    return {name: empty.get(name, value) for name, value in item.items() if name != "encrypted_content"}


def _stream_message(where: Any, item: Any, pieces: tuple[str, ...], script: Script) -> Iterator[dict[str, Any]]:
    where = where | {"content_index": 0}
    part = item["content"][0]
    yield {"type": "response.content_part.added", "part": _text_part("", script)} | where
    texts = openai.deltas(script)
    if part["type"] == "refusal":
        yield from ({"type": "response.refusal.delta", "delta": text} | where for text in texts)
        yield {"type": "response.refusal.done", "refusal": part["refusal"]} | where
    else:
        yield from ({"type": "response.output_text.delta", "delta": text, "logprobs": []} | where for text in texts)
        yield {"type": "response.output_text.done", "text": part["text"], "logprobs": []} | where
    yield {"type": "response.content_part.done", "part": part} | where


def _stream_reasoning(where: Any, item: Any, pieces: tuple[str, ...], script: Script) -> Iterator[dict[str, Any]]:
    where = where | {"summary_index": 0}
    part = item["summary"][0]
    yield {"type": "response.reasoning_summary_part.added", "part": {"type": "summary_text", "text": ""}} | where
    yield from ({"type": "response.reasoning_summary_text.delta", "delta": text} | where for text in pieces)
    yield {"type": "response.reasoning_summary_text.done", "text": part["text"]} | where
    yield {"type": "response.reasoning_summary_part.done", "part": part} | where


def _stream_call(where: Any, item: Any, pieces: tuple[str, ...], script: Script) -> Iterator[dict[str, Any]]:
    yield from ({"type": "response.function_call_arguments.delta", "delta": text} | where for text in pieces)
    done = {"type": "response.function_call_arguments.done", "arguments": item["arguments"], "name": item["name"]}
    yield done | where


def _stream_custom(where: Any, item: Any, pieces: tuple[str, ...], script: Script) -> Iterator[dict[str, Any]]:
    yield from ({"type": "response.custom_tool_call_input.delta", "delta": text} | where for text in pieces)
    yield {"type": "response.custom_tool_call_input.done", "input": item["input"]} | where


_STREAMS = {
    "message": _stream_message,
    "reasoning": _stream_reasoning,
    "function_call": _stream_call,
    "custom_tool_call": _stream_custom,
}

DIALECT = OpenAIResponses()
