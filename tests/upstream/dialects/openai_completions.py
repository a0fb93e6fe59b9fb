"""OpenAI's legacy completions: `POST …/completions` (wire-facts 1.7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.upstream.dialects import openai
from tests.upstream.request import Request
from tests.upstream.script import Script


class OpenAICompletions:
    stream_type = openai.STREAM_TYPE
    streams = staticmethod(openai.streams)
    error = staticmethod(openai.error)

    def answers(self, request: Request) -> bool:
        return (
            request.method == "POST"
            and request.path.endswith("/completions")
            and not request.path.endswith("/chat/completions")
        )

    def whole(self, request: Request, script: Script) -> bytes:
        if script.error is not None:
            return openai.error(script)
        choices = [
            _choice(index, prefix + "".join(script.deltas), _finish(script)) | _logprobs(request, script.deltas)
            for index, prefix in enumerate(_prefixes(request))
        ]
        answer = _head(request, script) | {"choices": choices}
        if script.usage is not None:
            answer["usage"] = openai.usage(script.usage)
        return openai.dump(answer)

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        return openai.with_error(_frames(request, script), script)


def _head(request: Request, script: Script) -> dict[str, Any]:
    return {
        "id": "cmpl-fake",
        "object": "text_completion",
        "created": openai.CREATED,
        "model": openai.model(request, script),
        "system_fingerprint": "fp_fake",
    }


def _finish(script: Script) -> str | None:
    return "stop" if script.finish is None else script.finish or None


def _prompts(request: Request) -> list[str]:
    """The prompts as text; tokens are shown as `<1 2 3>`, since nobody here has their vocabulary."""
    prompt = request.json.get("prompt")
    if not isinstance(prompt, list):
        return [prompt or ""]
    if prompt and isinstance(prompt[0], int):
        prompt = [prompt]
    return [one if isinstance(one, str) else f"<{' '.join(map(str, one))}>" for one in prompt]


def _prefixes(request: Request) -> list[str]:
    """For each choice (prompt number · n + i) what stands before the model's words: the prompt if `echo` is set."""
    repeated = [one for one in _prompts(request) for _ in range(request.json.get("n") or 1)]
    return repeated if request.json.get("echo") else [""] * len(repeated)


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "finish_reason": finish, "logprobs": None}


def _logprobs(request: Request, tokens: tuple[str, ...]) -> dict[str, Any]:
    if request.json.get("logprobs") is None:
        return {}
    offsets = [len("".join(tokens[:count])) for count in range(len(tokens))]
    numbers = [-0.5] * len(tokens)
    tops = [{token: -0.5} for token in tokens]
    lists = {"tokens": list(tokens), "token_logprobs": numbers, "top_logprobs": tops, "text_offset": offsets}
    return {"logprobs": lists}


def _frames(request: Request, script: Script) -> Iterator[bytes]:
    head = _head(request, script)
    asked = openai.includes_usage(request)
    usage: dict[str, Any] = {"usage": None} if asked else {}
    for index, prefix in enumerate(_prefixes(request)):
        if prefix:
            yield openai.frame(head | {"choices": [_choice(index, prefix, None)]} | usage)
        for text in openai.deltas(script):
            choice = _choice(index, text, None) | _logprobs(request, (text,))
            yield openai.frame(head | {"choices": [choice]} | usage)
        if _finish(script) is not None:
            yield openai.frame(head | {"choices": [_choice(index, "", _finish(script))]} | usage)
    if script.usage is not None and (asked or script.usage_always):
        yield openai.frame(head | {"choices": [], "usage": openai.usage(script.usage)})
    if script.done:
        yield b"data: [DONE]\n\n"


DIALECT = OpenAICompletions()
