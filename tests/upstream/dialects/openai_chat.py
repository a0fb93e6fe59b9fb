"""OpenAI's chat completions: `POST …/chat/completions` (wire-facts 1.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.upstream.dialects import openai
from tests.upstream.request import Request
from tests.upstream.script import Script


class OpenAIChat:
    stream_type = openai.STREAM_TYPE
    streams = staticmethod(openai.streams)
    error = staticmethod(openai.error)

    def answers(self, request: Request) -> bool:
        return request.method == "POST" and request.path.endswith("/chat/completions")

    def whole(self, request: Request, script: Script) -> bytes:
        if script.error is not None:
            return openai.error(script)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(script.deltas), "refusal": None}
        if script.reasoning:
            message[script.reasoning_field] = "".join(script.reasoning)
        if script.tool_calls:
            message["content"] = None
            message["tool_calls"] = [
                {"id": call.id, "type": "function"}
                | {"function": {"name": call.name, "arguments": "".join(call.pieces)}}
                for call in script.tool_calls
            ]
        choices = [
            {"index": index, "message": message, "finish_reason": _finish(script)}
            | {"logprobs": openai.logprobs(request, script)}
            for index in range(_choices(request))
        ]
        answer = {"id": "chatcmpl-fake", "object": "chat.completion", "created": openai.CREATED}
        answer |= {"model": openai.model(request, script), "choices": choices, "system_fingerprint": "fp_fake"}
        if script.usage is not None:
            answer["usage"] = openai.usage(script.usage)
        return openai.dump(answer)

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        return openai.with_error(_frames(request, script), script)


def _choices(request: Request) -> int:
    return int(request.json.get("n") or 1)


def _finish(script: Script) -> str | None:
    """What the script says, else what suits the answer; None leaves it out."""
    if script.finish is not None:
        return script.finish or None
    return "tool_calls" if script.tool_calls else "stop"


def _deltas(script: Script) -> Iterator[dict[str, Any]]:
    """The deltas of one choice but for the finish: role, reasoning, text, tool calls."""
    yield {"role": "assistant", "content": None if script.tool_calls else ""}
    for text in script.reasoning:
        yield {script.reasoning_field: text}
    for index, call in enumerate(script.tool_calls):
        opening = {"index": index, "id": call.id, "type": "function"}
        yield {"tool_calls": [opening | {"function": {"name": call.name, "arguments": ""}}]}
        for piece in call.pieces:
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
    if not script.tool_calls:
        for text in openai.deltas(script):
            yield {"content": text}


def _frames(request: Request, script: Script) -> Iterator[bytes]:
    head = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": openai.CREATED}
    head |= {"model": openai.model(request, script), "system_fingerprint": "fp_fake"}
    asked = openai.includes_usage(request)
    usage: dict[str, Any] = {"usage": None} if asked else {}

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return openai.frame(head | {"choices": [choice]} | usage)

    for index in range(_choices(request)):
        for delta in _deltas(script):
            yield chunk(index, delta)
        if _finish(script) is not None:
            yield chunk(index, {}, _finish(script))
    if script.usage is not None and (asked or script.usage_always):
        yield openai.frame(head | {"choices": [], "usage": openai.usage(script.usage)})
    if script.done:
        yield b"data: [DONE]\n\n"


DIALECT = OpenAIChat()
