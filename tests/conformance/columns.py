"""The columns of the table: a provider, one of its models, and the requests that the vendor itself refuses.

An OpenAI-shaped fake takes everything; the rules here make it answer 400 to what is known to be refused in earnest, so
that a cell cannot be called exact for a field that arrives only to be thrown back. Other refusals may exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.upstream import Request

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """Answered with `status` and `message` if the body `breaks` it; `source` says how that is known."""

    message: str
    breaks: Callable[[Body], Any]
    source: str
    status: int = 400

    def broken_by(self, request: Request) -> bool:
        return bool(self.breaks(request.json))


@dataclass(frozen=True)
class Column:
    """`thinks_as` is the field in which an OpenAI-shaped vendor sends thinking text."""

    name: str
    provider: str
    model: str
    rules: tuple[Rule, ...] = ()
    thinks_as: str = "reasoning_content"


def _parts(body: Body, kind: str) -> Iterator[Mapping[str, Any]]:
    """Content parts of one type, over all messages."""
    for message in body.get("messages", ()):
        content = message.get("content")
        yield from (part for part in (content if isinstance(content, list) else ()) if part.get("type") == kind)


def _format(body: Body) -> Any:
    return (body.get("response_format") or {}).get("type")


def _has_distant_image(body: Body) -> bool:
    return any(not part["image_url"]["url"].startswith("data:") for part in _parts(body, "image_url"))


def _has_nulls(body: Body) -> bool:
    turns = (message for message in body.get("messages", ()) if message["role"] == "assistant")
    return any(value is None for turn in turns for value in turn.values())


def _lacks_thinking(body: Body) -> bool:
    turns = (message for message in body.get("messages", ()) if message.get("tool_calls"))
    return any(not turn.get("reasoning_content") for turn in turns)


def _is_signed(turns: Sequence[Body]) -> bool:
    """True if the first call of each of the model's turns carries a signature."""
    calls = ([part for part in turn["parts"] if "functionCall" in part] for turn in turns)
    return all("thoughtSignature" in found[0] for found in calls if found)


_RESPONSES = frozenset(
    """background conversation include input instructions max_output_tokens max_tool_calls metadata model moderation
    parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention
    reasoning safety_identifier service_tier store stream stream_options temperature text tool_choice tools top_logprobs
    top_p truncation user""".split()
)
_MESSAGES = frozenset(
    """cache_control container diagnostics inference_geo max_tokens messages metadata model output_config service_tier
    speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p""".split()
)

_OPENAI = (
    Rule(
        "This is a chat model and not supported in the v1/completions endpoint.",
        lambda body: "messages" not in body,
        "general knowledge, not checked",
        status=404,
    ),
    Rule(
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        lambda body: "max_tokens" in body and "messages" in body,
        "the SDK's types, LiteLLM's model gates: gpt-5 and later, o-series",
    ),
    Rule(
        "Unsupported value: this model takes sampling parameters only without reasoning",
        lambda body: (
            body.get("reasoning_effort", "none") != "none"
            and {"temperature", "top_p", "logprobs", "top_logprobs"} & body.keys()
        ),
        "LiteLLM's model gates",
    ),
)
_OPENAI_RESPONSES = (
    Rule("Unknown parameter", lambda body: body.keys() - _RESPONSES, "the SDK's types"),
    Rule(
        "Unsupported parameter: this model always reasons",
        lambda body: {"temperature", "top_p", "top_logprobs"} & body.keys(),
        "LiteLLM's model gates",
    ),
)
_ANTHROPIC = (
    Rule("Extra inputs are not permitted", lambda body: body.keys() - _MESSAGES, "the SDK's types"),
    Rule(
        "sampling parameters are not supported by this model",
        lambda body: {"temperature", "top_p", "top_k"} & body.keys(),
        "the vendor's documents on the models from 4.7 on",
    ),
)
_DEEPSEEK = (
    Rule(
        "This response_format type is unavailable now",
        lambda body: _format(body) == "json_schema",
        "github.com/UKGovernmentBEIS/inspect_ai/issues/4916 (2026-08)",
    ),
    Rule(
        "unknown variant `image_url`, expected `text`",
        lambda body: any(_parts(body, "image_url")),
        "the vendor's documents: text only, but for the vision models",
    ),
    Rule(
        "unknown variant `file`, expected `text`",
        lambda body: any(_parts(body, "file")) or any(_parts(body, "input_audio")),
        "the vendor's documents: text only, but for the vision models",
    ),
    Rule(
        "unknown variant `custom`, expected `function`",
        lambda body: any(tool["type"] != "function" for tool in body.get("tools", ())),
        "the vendor's documents: functions only",
    ),
    Rule(
        "The `reasoning_content` in the thinking mode must be passed back",
        _lacks_thinking,
        "the vendor's documents on tool calls",
    ),
)
_LMSTUDIO = (
    Rule(
        "'response_format.type' must be 'json_schema' or 'text'",
        lambda body: _format(body) == "json_object",
        "github.com/lmstudio-ai/lmstudio-bug-tracker/issues/189",
    ),
    Rule(
        "Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
        lambda body: isinstance(body.get("tool_choice"), dict),
        "github.com/lmstudio-ai/lmstudio-bug-tracker/issues/670",
    ),
    Rule("'url' field must be a base64 encoded image.", _has_distant_image, "general knowledge, not checked"),
)
_OLLAMA = (
    Rule("invalid image input", _has_distant_image, "its source (2026-08): base64 only"),
    Rule(
        "invalid prompt",
        lambda body: not isinstance(body.get("prompt", ""), str),
        "its source (2026-08): a prompt is one text",
    ),
)
_GROQ = (
    Rule(
        "property is unsupported",
        lambda body: {"logprobs", "top_logprobs", "logit_bias"} & body.keys() or body.get("n", 1) != 1,
        "LiteLLM works around it",
    ),
    Rule(
        "'messages.name' is unsupported",
        lambda body: any("name" in message for message in body.get("messages", ()) if message["role"] != "tool"),
        "LiteLLM works around it",
    ),
    Rule("null is not allowed", _has_nulls, "LiteLLM works around it"),
)
_GEMINI = (
    Rule(
        "Request contains an invalid argument",
        lambda body: any(name.endswith("Penalty") for name in body.get("generationConfig", {})),
        "the vendor's documents: generation 3 refuses penalties",
    ),
    Rule(
        "a function call is missing a thought_signature",
        lambda body: body["contents"] and not _is_signed(body["contents"]),
        "the vendor's documents: generation 3 wants the first call of each step signed",
    ),
)
_XAI = (
    Rule(
        "Argument not supported on this model",
        lambda body: {"presence_penalty", "frequency_penalty"} & body.keys(),
        "LiteLLM works around it, for reasoning models",
    ),
)

COLUMNS = (
    Column("openai", "openai", "gpt-5.1", _OPENAI),
    Column("openai (responses)", "openai", "gpt-5.5-pro", _OPENAI_RESPONSES),
    Column("anthropic", "anthropic", "claude-sonnet-5", _ANTHROPIC),
    Column("gemini", "gemini", "gemini-3.8-flash", _GEMINI),
    Column("deepseek", "deepseek", "deepseek-v4-pro", _DEEPSEEK),
    Column("lmstudio", "lmstudio", "local-model", _LMSTUDIO, "reasoning"),
    Column("docker_model_runner", "docker_model_runner", "ai/local-model"),
    Column("ollama", "ollama", "local-model:latest", _OLLAMA, "reasoning"),
    Column("groq", "groq", "qwen3.8-27b", _GROQ, "reasoning"),
    Column("xai", "xai", "grok-4.7", _XAI),
    Column("compatible", "compatible", "any-model"),
)
