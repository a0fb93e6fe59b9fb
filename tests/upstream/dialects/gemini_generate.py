"""Gemini: `POST …/models/{model}:generateContent` and `:streamGenerateContent?alt=sse` (wire-facts 4.1)."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.upstream.dialects import openai
from tests.upstream.request import Request
from tests.upstream.script import Script

_PATH = re.compile(r"/models/([^/:]+):(generateContent|streamGenerateContent)$")
_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
SIGNATURE = "dGhlIHRob3VnaHRz"
"""What the first call of an answer is signed with."""


class GeminiGenerate:
    stream_type = "text/event-stream"

    def answers(self, request: Request) -> bool:
        return request.method == "POST" and _PATH.search(request.path) is not None

    def streams(self, request: Request) -> bool:
        return request.path.endswith(":streamGenerateContent")

    def whole(self, request: Request, script: Script) -> bytes:
        if script.error is not None:
            return self.error(script)
        parts = [part for parts in _parts(script) for part in parts]
        candidates = [
            _candidate(index, parts, script.finish) | _logprobs(request, script) for index in range(_choices(request))
        ]
        return openai.dump(_head(request, script) | {"candidates": candidates} | _usage(script, whole=True))

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        frames = _frames(request, script)
        if script.error is None:
            yield from frames
            return
        yield from itertools.islice(frames, script.error_after)
        yield json.dumps(json.loads(self.error(script)), indent=2).encode() + b"\n"

    def error(self, script: Script) -> bytes:
        """google.rpc.Status; a mapping as error is laid over it."""
        code = script.status if script.status >= 400 else 500
        told = {"code": code, "message": f"scripted {code}", "status": _STATUSES.get(code, "INTERNAL")}
        over = {"message": script.error} if isinstance(script.error, str) else dict(script.error or {})
        return openai.dump({"error": told | over})


def model_of(request: Request) -> str:
    found = _PATH.search(request.path)
    return found.group(1) if found else ""


def refuses(request: Request) -> bool:
    """What Gemini answers with 400, of the rules that our requests might break."""
    return any(broken(request.json, model_of(request)) for broken in _RULES)


def _is_new(model: str) -> bool:
    return model.startswith("gemini-3")


def _turns_are_wrong(body: Mapping[str, Any], _model: str) -> bool:
    """The user begins, roles alternate, and no turn is empty."""
    roles = [turn["role"] for turn in body["contents"]]
    expected = list(itertools.islice(itertools.cycle(("user", "model")), len(roles)))
    return not roles or roles != expected or not all(turn["parts"] for turn in body["contents"])


def _thinking_is_wrong(body: Mapping[str, Any], model: str) -> bool:
    told = body.get("generationConfig", {}).get("thinkingConfig", {})
    return {"thinkingLevel", "thinkingBudget"} <= told.keys() or ("thinkingLevel" in told and not _is_new(model))


def _penalised(body: Mapping[str, Any], model: str) -> bool:
    return _is_new(model) and any(name.endswith("Penalty") for name in body.get("generationConfig", {}))


def _ids_are_wrong(body: Mapping[str, Any], model: str) -> bool:
    return not _is_new(model) and any("id" in call for _, call in _functions(body, "functionCall", "functionResponse"))


def _is_unsigned(body: Mapping[str, Any], model: str) -> bool:
    """A signature is missing on the first call of a step of the current turn."""
    turns = body["contents"]
    asked = [
        place for place, turn in enumerate(turns) if turn["role"] == "user" and any("text" in p for p in turn["parts"])
    ]
    current = turns[asked[-1] + 1 :] if asked else turns
    firsts = [next((part for part in turn["parts"] if "functionCall" in part), None) for turn in current]
    return _is_new(model) and any(first is not None and "thoughtSignature" not in first for first in firsts)


def _results_are_wrong(body: Mapping[str, Any], _model: str) -> bool:
    """The results of a turn are those of the calls of the turn before, in number and by name."""
    turns = body["contents"]
    for calls, results in itertools.pairwise(turns):
        asked = [part["functionCall"]["name"] for part in calls["parts"] if "functionCall" in part]
        told = [part["functionResponse"]["name"] for part in results["parts"] if "functionResponse" in part]
        if asked != told:
            return True
    return False


def _functions(body: Mapping[str, Any], *kinds: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for turn in body["contents"]:
        for part in turn["parts"]:
            for kind in kinds:
                if kind in part:
                    yield kind, part[kind]


_RULES = (_turns_are_wrong, _thinking_is_wrong, _penalised, _ids_are_wrong, _is_unsigned, _results_are_wrong)


def _choices(request: Request) -> int:
    return int(request.json.get("generationConfig", {}).get("candidateCount") or 1)


def _parts(script: Script) -> Iterator[list[dict[str, Any]]]:
    """The parts of an answer, as they are spread over the chunks of a stream."""
    for text in script.reasoning:
        yield [{"text": text, "thought": True}]
    calls = [
        {
            "functionCall": {"name": call.name, "args": json.loads("".join(call.pieces))}
            | ({"id": call.id} if call.id else {})
        }
        for call in script.tool_calls
    ]
    if calls:
        yield [calls[0] | {"thoughtSignature": SIGNATURE}, *calls[1:]]
        return
    for text in openai.deltas(script):
        yield [{"text": text}]


def _candidate(index: int, parts: list[dict[str, Any]], finish: str | None = "") -> dict[str, Any]:
    """`finish` None is STOP, "" none."""
    told: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
    return told | ({"finishReason": finish or "STOP"} if finish != "" else {})


def _logprobs(request: Request, script: Script) -> dict[str, Any]:
    """Of a whole answer's first token, if the caller asked."""
    if not request.json.get("generationConfig", {}).get("responseLogprobs") or not script.deltas:
        return {}
    chosen = {"token": script.deltas[0], "tokenId": 1, "logProbability": openai.LOGPROB}
    return {"logprobsResult": {"chosenCandidates": [chosen]}}


def _head(request: Request, script: Script) -> dict[str, Any]:
    return {"responseId": "fake-response", "modelVersion": script.model or model_of(request)}


def _usage(script: Script, *, whole: bool) -> dict[str, Any]:
    if script.usage is None:
        return {}
    counts = script.usage
    prompt, completion = counts.prompt, counts.completion if whole else 0
    told = {"promptTokenCount": prompt, "totalTokenCount": prompt + completion}
    parts = {
        "cachedContentTokenCount": counts.cached,
        "thoughtsTokenCount": counts.reasoning if whole else 0,
        "candidatesTokenCount": completion - counts.reasoning if whole else 0,
    }
    return {"usageMetadata": told | {name: count for name, count in parts.items() if count}}


def _frames(request: Request, script: Script) -> Iterator[bytes]:
    head = _head(request, script)
    for index in range(_choices(request)):
        for parts in _parts(script):
            yield openai.frame(head | {"candidates": [_candidate(index, parts)]} | _usage(script, whole=False))
        if script.finish != "":
            last = _candidate(index, [{"text": ""}], script.finish)
            yield openai.frame(head | {"candidates": [last]} | _usage(script, whole=True))


DIALECT = GeminiGenerate()
