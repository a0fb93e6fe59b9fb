"""The rows of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.conformance.columns import Column
from tests.conformance.judge import HI, Feature
from tests.conformance.run import Bench, Run
from tests.upstream import Script, ToolCall, Usage
from tests.upstream.dialects import openai
from tests.upstream.dialects.anthropic_messages import SIGNATURE as SIGNED_THINKING
from tests.upstream.dialects.gemini_generate import SIGNATURE as SIGNED_CALL
from tests.upstream.dialects.openai_responses import SEALED

CHAT, RESPONSES, MESSAGES, GEMINI = "openai_chat", "openai_responses", "anthropic_messages", "gemini_generate"
LEGACY = "openai_completions"
Lands = dict[str, Mapping[str, Any]]

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": {"type": "object"}}}
    for name in ("weather", "time")
]
GRAMMAR = {"type": "custom", "custom": {"name": "sql", "format": {"type": "text"}}}
BOTH = (ToolCall("weather", id="call_1"), ToolCall("time", ('{"zo', 'ne":"CET"}'), id="call_2"))
CALLED = [("weather", {"city": "Paris"}), ("time", {"zone": "CET"})]
PIXEL = "iVBORw0KGgo="
PDF = "JVBERi0xLjQK"
SOUND = "UklGRg=="


def named(value: Any, chat: str = "", responses: str = "", messages: str = "", gemini: str = "") -> Lands:
    """The same value in each dialect, under that dialect's name for it; no name, no place."""
    places = {CHAT: chat, RESPONSES: responses, MESSAGES: messages, GEMINI: gemini}
    return {dialect: {place: value} for dialect, place in places.items() if place}


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def called(run: Run) -> bool:
    ids = [call["id"] for call in run.message.get("tool_calls") or ()]
    return run.calls == CALLED and len(set(ids)) == 2 and run.choice["finish_reason"] == "tool_calls"


def heard(run: Run) -> bool:
    return run.message["content"] == "Hello, world!"


def offered_no_tools(run: Run) -> bool:
    """Who is not told of tools calls none."""
    return run.dialect == CHAT and not {"tools", "tool_choice"} & run.sent.keys()


def held_to_one_tool(run: Run) -> bool:
    """A call is required, and only one tool can be called."""
    names = [tool["function"]["name"] for tool in run.sent["tools"]] if run.dialect == CHAT else []
    return names == ["time"] and run.sent.get("tool_choice") == "required"


def choice(name: str, wish: Any, lands: Lands, stands_in: Any = lambda run: False) -> Feature:
    return Feature(
        name=f"tool_choice: {name}", section="Tools", asks={"tools": TOOLS, "tool_choice": wish}, lands=lands,
        stands_in=stands_in,
    )  # fmt: skip


ALLOWED = {"type": "function", "function": {"name": "time"}}
WHERE_TOOLS: Lands = {
    CHAT: {"tools.0.function.name": "weather", "tools.1.function.name": "time"},
    RESPONSES: {"tools.0.name": "weather", "tools.1.name": "time"},
    MESSAGES: {"tools.0.name": "weather", "tools.1.name": "time"},
    GEMINI: {"tools.0.functionDeclarations.0.name": "weather", "tools.0.functionDeclarations.1.name": "time"},
}
TURN = [
    HI,
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "thought",
        "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.pieces)}}
            for call in BOTH
        ],
    },
    {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]

TOOL_ROWS = (
    Feature(
        name="parallel tool calls", section="Tools", asks={"tools": TOOLS}, says=Script(tool_calls=BOTH),
        lands=WHERE_TOOLS, tells=called,
    ),
    Feature(
        name="parallel tool deltas", section="Tools", asks={"tools": TOOLS, "stream": True},
        says=Script(tool_calls=BOTH), lands=WHERE_TOOLS, tells=called,
    ),
    Feature(
        name="tool results", section="Tools", asks={"tools": TOOLS, "messages": TURN}, path="messages[2]",
        lands={
            CHAT: {"messages.2.content": "noon", "messages.3.content": "sunny"},
            RESPONSES: {"input.-2.output": "noon", "input.-1.output": "sunny"},
            MESSAGES: {"messages.-1.content.0.content": "noon", "messages.-1.content.1.content": "sunny"},
            GEMINI: {
                "contents.-1.parts.0.functionResponse.response": {"output": "sunny"},
                "contents.-1.parts.1.functionResponse.response": {"output": "noon"},
            },
        },
    ),
    choice("auto", "auto", named("auto", "tool_choice", "tool_choice", "tool_choice.type")
           | {GEMINI: {"toolConfig.functionCallingConfig.mode": "AUTO"}}),
    choice("none", "none", named("none", "tool_choice", "tool_choice", "tool_choice.type")
           | {GEMINI: {"toolConfig.functionCallingConfig.mode": "NONE"}}, offered_no_tools),
    choice("required", "required", named("required", "tool_choice", "tool_choice")
           | {MESSAGES: {"tool_choice.type": "any"}, GEMINI: {"toolConfig.functionCallingConfig.mode": "ANY"}}),
    choice("named", ALLOWED, {
        CHAT: {"tool_choice": ALLOWED},
        RESPONSES: {"tool_choice": {"type": "function", "name": "time"}},
        MESSAGES: {"tool_choice": {"type": "tool", "name": "time"}},
        GEMINI: {"toolConfig.functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["time"]}},
    }, held_to_one_tool),
    choice("allowed_tools", {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [ALLOWED]}}, {
        CHAT: {"tool_choice.allowed_tools.tools": [ALLOWED]},
        RESPONSES: {"tool_choice": {
            "type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "time"}]}},
        MESSAGES: {"tools.0.name": "time", "tool_choice.type": "any"},
        GEMINI: {"toolConfig.functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["time"]}},
    }, held_to_one_tool),
    Feature(
        name="parallel_tool_calls: false", section="Tools", asks={"tools": TOOLS, "parallel_tool_calls": False},
        lands=named(False, "parallel_tool_calls", "parallel_tool_calls")
        | {MESSAGES: {"tool_choice.disable_parallel_tool_use": True}},
    ),
    Feature(
        name="custom tools", section="Tools", asks={"tools": [GRAMMAR]},
        lands={CHAT: {"tools.0.custom.name": "sql"}, RESPONSES: {"tools.0.type": "custom", "tools.0.name": "sql"}},
    ),
)  # fmt: skip

LATE = [HI, {"role": "assistant", "content": "yes?"}, {"role": "system", "content": "LATE"}, HI]
FILE = {"file_data": f"data:application/pdf;base64,{PDF}"}

CONTENT_ROWS = (
    Feature(
        name="image by data URL", section="Content",
        asks=user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}),
        lands={
            CHAT: {"messages.0.content.0.image_url.url": f"data:image/png;base64,{PIXEL}"},
            RESPONSES: {"input.0.content.0.image_url": f"data:image/png;base64,{PIXEL}"},
            MESSAGES: {
                "messages.0.content.0.source": {"type": "base64", "media_type": "image/png", "data": PIXEL}
            },
            GEMINI: {"contents.0.parts.0.inlineData": {"mimeType": "image/png", "data": PIXEL}},
        },
    ),
    Feature(
        name="image by URL", section="Content",
        asks=user({"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}),
        lands=named(
            "https://example.org/cat.png", "messages.0.content.0.image_url.url", "input.0.content.0.image_url",
            "messages.0.content.0.source.url", "contents.0.parts.0.fileData.fileUri",
        ),
    ),
    Feature(
        name="documents", section="Content", asks=user({"type": "file", "file": FILE}),
        lands={
            CHAT: {"messages.0.content.0.file": FILE},
            RESPONSES: {"input.0.content.0.file_data": FILE["file_data"]},
            MESSAGES: {"messages.0.content.0.source.data": PDF, "messages.0.content.0.type": "document"},
            GEMINI: {"contents.0.parts.0.inlineData": {"mimeType": "application/pdf", "data": PDF}},
        },
    ),
    Feature(
        name="sound", section="Content",
        asks=user({"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}),
        lands=named(SOUND, "messages.0.content.0.input_audio.data", gemini="contents.0.parts.0.inlineData.data"),
    ),
    Feature(
        name="late system message", section="Content", asks={"messages": LATE},
        lands={
            CHAT: {"messages.2": LATE[2]},
            RESPONSES: {"input.2.role": "system", "input.2.content": "LATE"},
            MESSAGES: {"messages.-2.role|messages.-1.role": "system"},
        },
        stands_in=lambda run: run.dialect == GEMINI and "LATE" in json.dumps(run.sent),
    ),
    Feature(
        name="name of a speaker", section="Content", asks={"messages": [HI | {"name": "ada"}]},
        lands={CHAT: {"messages.0.name": "ada"}},
    ),
)  # fmt: skip

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
FORM = {"name": "place", "schema": SCHEMA, "strict": True}
IN_JSON = [{"role": "user", "content": "Name a city, as JSON."}]


A_PLACE = '{"city": "Paris"}'
IN_A_FENCE = Script(deltas=("```json\n", A_PLACE[:7], A_PLACE[7:], "\n``", "`\n"))


def is_held(run: Run) -> bool:
    """The model was told in words, and the client has the JSON without what the model put around it."""
    return "JSON" in json.dumps(instructions(run)) and run.message["content"].strip() == A_PLACE


def instructions(run: Run) -> Any:
    """What the upstream was told beside the client's own messages."""
    sent = run.sent
    return [sent.get("system"), [one for one in sent.get("messages", ()) if one["role"] == "system"]]


FORM_ROWS = (
    Feature(
        name="json_schema", section="Structured output",
        asks={"messages": IN_JSON, "response_format": {"type": "json_schema", "json_schema": FORM}},
        path="response_format", says=IN_A_FENCE, stands_in=is_held,
        lands=named(SCHEMA, "response_format.json_schema.schema", "text.format.schema", "output_config.format.schema",
                    "generationConfig.responseJsonSchema"),
    ),
    Feature(
        name="json_object", section="Structured output",
        asks={"messages": IN_JSON, "response_format": {"type": "json_object"}},
        path="response_format", says=IN_A_FENCE, stands_in=is_held,
        lands=named("json_object", "response_format.type", "text.format.type")
        | {GEMINI: {"generationConfig.responseMimeType": "application/json"}},
    ),
)  # fmt: skip


def thinking(column: Column) -> Script:
    return Script(reasoning=("let me ", "see"), reasoning_field=column.thinks_as)


def thinking_then_calling(column: Column) -> Script:
    return Script(reasoning=("let me ", "see"), reasoning_field=column.thinks_as, tool_calls=BOTH)


def thought(run: Run) -> bool:
    return run.message.get("reasoning_content") == "let me see" and "reasoning" not in run.message


def answered(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The next turn: what the model said, as the client got it, and the results of its calls."""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in message.get("tool_calls") or ()
    ]
    return {"messages": [HI, message, *results]}


REASONING_ROWS = (
    Feature(
        name="reasoning_effort", section="Reasoning", asks={"reasoning_effort": "high"},
        lands=named("high", "reasoning_effort", "reasoning.effort", "output_config.effort")
        | {GEMINI: {"generationConfig.thinkingConfig.thinkingLevel": "HIGH"}},
    ),
    Feature(name="reasoning text", section="Reasoning", says=thinking, tells=thought),
    Feature(name="reasoning text, streamed", section="Reasoning", asks={"stream": True}, says=thinking, tells=thought),
    Feature(
        name="signature round trip", section="Reasoning", asks={"tools": TOOLS}, says=thinking_then_calling,
        then=answered, path=("messages[1].tool_calls", "messages[1].thinking_blocks"),
        lands={
            CHAT: {"messages.1.reasoning_content|messages.1.reasoning": "let me see"},
            RESPONSES: {"input.1.encrypted_content": SEALED},
            MESSAGES: {"messages.1.content.0.signature": SIGNED_THINKING},
            GEMINI: {"contents.1.parts.0.thoughtSignature": SIGNED_CALL},
        },
    ),
)  # fmt: skip

LOGPROB = {"token": "Hello", "logprob": openai.LOGPROB}


def knob(name: str, value: Any, lands: Lands, tells: Any = heard) -> Feature:
    return Feature(name=name, section="Parameters", asks={name: value}, lands=lands, tells=tells)


def told_logprobs(run: Run) -> bool:
    content = (run.choice.get("logprobs") or {}).get("content") or [{}]
    return LOGPROB.items() <= content[0].items()


CONFIG = "generationConfig."
PARAMETER_ROWS = (
    knob("temperature", 0.5, named(0.5, "temperature", "temperature", "temperature", CONFIG + "temperature")),
    knob("top_p", 0.5, named(0.5, "top_p", "top_p", "top_p", CONFIG + "topP")),
    knob("max_tokens", 100, named(100, "max_tokens|max_completion_tokens", "max_output_tokens", "max_tokens",
                                  CONFIG + "maxOutputTokens")),
    knob("max_completion_tokens", 100, named(100, "max_tokens|max_completion_tokens", "max_output_tokens", "max_tokens",
                                             CONFIG + "maxOutputTokens")),
    knob("stop", ["END"], named(["END"], "stop", "", "stop_sequences", CONFIG + "stopSequences")),
    knob("seed", 7, named(7, "seed", gemini=CONFIG + "seed")),
    knob("n", 2, named(2, "n", gemini=CONFIG + "candidateCount"), lambda run: len(run.completion["choices"]) == 2),
    Feature(
        name="logprobs", section="Parameters", asks={"logprobs": True, "top_logprobs": 2}, tells=told_logprobs,
        lands=named(2, "top_logprobs", "top_logprobs", gemini=CONFIG + "logprobs"),
    ),
    knob("logit_bias", {"1": 5}, named({"1": 5}, "logit_bias")),
    knob("frequency_penalty", 0.5, named(0.5, "frequency_penalty", gemini=CONFIG + "frequencyPenalty")),
    knob("presence_penalty", 0.5, named(0.5, "presence_penalty", gemini=CONFIG + "presencePenalty")),
    knob("user", "u-1", named("u-1", "user|user_id", "user", "metadata.user_id")),
    knob("service_tier", "flex", named("flex", "service_tier", "service_tier", "service_tier", "serviceTier")),
    Feature(
        name="cache breakpoints", section="Parameters", path="messages[0]",
        asks=user({"type": "text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}),
        lands=named({"mode": "explicit", "ttl": "30m"}, "messages.0.content.0.prompt_cache_breakpoint",
                    "input.0.content.0.prompt_cache_breakpoint")
        | {MESSAGES: {"messages.0.content.0.cache_control": {"type": "ephemeral", "ttl": "1h"}}},
    ),
)  # fmt: skip

COUNTS = Usage(20, 9, cached=5, reasoning=4)
BLOCKS = {MESSAGES: "refusal", GEMINI: "SAFETY"}


def counted(run: Run) -> bool:
    usage = run.completion["usage"]
    return (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (20, 9, 29)


def detail(group: str, name: str, count: int) -> Any:
    return lambda run: (run.completion["usage"].get(group) or {}).get(name) == count


def uncounted(run: Run) -> bool:
    return not any("usage" in chunk for chunk in run.chunks) and heard(run)


def blocked(column: Column) -> Script:
    return Script(finish={"anthropic": "refusal", "gemini": "SAFETY"}.get(column.provider, "content_filter"))


def cut_short(column: Column) -> Script:
    return Script(finish={"anthropic": "max_tokens", "gemini": "MAX_TOKENS"}.get(column.provider, "length"))


def finished(reason: str) -> Any:
    return lambda run: run.finish == reason


ANSWER_ROWS = (
    Feature(name="usage", section="Answers", says=Script(usage=COUNTS), tells=counted),
    Feature(name="usage in streams", section="Answers", asks=STREAMED, says=Script(usage=COUNTS), tells=counted),
    Feature(name="no usage unless asked", section="Answers", asks={"stream": True}, tells=uncounted),
    Feature(name="cached tokens", section="Answers", says=Script(usage=COUNTS),
            tells=detail("prompt_tokens_details", "cached_tokens", 5)),
    Feature(name="reasoning tokens", section="Answers", says=Script(usage=COUNTS),
            tells=detail("completion_tokens_details", "reasoning_tokens", 4)),
    Feature(name="length as finish reason", section="Answers", says=cut_short, tells=finished("length")),
    Feature(name="safety block", section="Answers", says=blocked, tells=finished("content_filter")),
    Feature(name="safety block, streamed", section="Answers", asks={"stream": True}, says=blocked,
            tells=finished("content_filter")),
    Feature(name="disconnect", section="Answers", asks={"stream": True}, says=Script(endless=True), send=Bench.leave,
            tells=lambda run: run.seen[-1].left),
)  # fmt: skip


def completed(run: Run) -> bool:
    answer = run.answer.json
    return answer["object"] == "text_completion" and [c["text"] for c in answer["choices"]] == ["Hello, world!"]


def crossed(prompts: int) -> Any:
    """True if chats were asked in place of completions, and the client cannot tell."""

    def judge(run: Run) -> bool:
        texts = [choice["text"] for choice in run.answer.json["choices"]] if run.answer.status == 200 else []
        return run.dialect != LEGACY and texts == ["Hello, world!"] * prompts

    return judge


LEGACY_ROWS = (
    Feature(name="legacy completions", section="Legacy", endpoint="/v1/completions", tells=completed,
            lands={LEGACY: {"prompt": "hi"}}, stands_in=crossed(1)),
    Feature(name="legacy, several prompts", section="Legacy", endpoint="/v1/completions",
            asks={"prompt": ["a", "b"]}, lands={LEGACY: {"prompt": ["a", "b"]}}, stands_in=crossed(2)),
    Feature(name="legacy, echo", section="Legacy", endpoint="/v1/completions", asks={"echo": True},
            lands={LEGACY: {"echo": True}},
            stands_in=lambda run: run.dialect != LEGACY and run.answer.json["choices"][0]["text"].startswith("hi")),
    Feature(name="legacy, suffix", section="Legacy", endpoint="/v1/completions", asks={"suffix": "end"},
            lands={LEGACY: {"suffix": "end"}}),
)  # fmt: skip


def fault(status: int, **facts: Any) -> Script:
    return Script(status=status, error=facts or None, headers=(("retry-after", "7"),) if status == 429 else ())


def too_long(column: Column) -> Script:
    code = {} if column.provider in ("anthropic", "gemini") else {"code": "context_length_exceeded"}
    words = {
        "gemini": "The input token count (9) exceeds the maximum number of tokens allowed (1).",
        "anthropic": "prompt is too long: 9 tokens > 1 maximum",
    }
    return fault(400, message=words.get(column.provider, "maximum context length is 1 token"), **code)


def error_row(name: str, script: Any, status: int, code: str | None) -> Feature:
    return Feature(name=name, section="Errors", says=script, fails=(status, code))


def broke_off(run: Run) -> bool:
    return run.chunks[-1]["error"]["code"] == "stream_interrupted" and b"[DONE]" not in run.answer.body


def busy(column: Column) -> Script:
    """529 is one vendor's word for it."""
    return fault(529 if column.provider == "anthropic" else 503)


def busy_within(column: Column) -> Script:
    native = {"code": 503, "status": "UNAVAILABLE"} if column.provider == "gemini" else {}
    return Script(error={"message": "model overloaded"} | native)


LONG = ("Hello", *("and on" for _ in range(20)))
ERROR_ROWS = (
    error_row("error: bad request", fault(400), 400, None),
    error_row("error: prompt too long", too_long, 400, "context_length_exceeded"),
    error_row("error: key refused", fault(401), 503, "upstream_auth"),
    error_row("error: unknown model", fault(404), 404, "model_not_found"),
    error_row("error: throttled", fault(429), 429, "rate_limit_exceeded"),
    error_row("error: overloaded", busy, 503, "upstream_overloaded"),
    Feature(name="error in a stream, before the first word", section="Errors", asks={"stream": True},
            says=busy_within, fails=(503, "upstream_overloaded")),
    Feature(name="error in a stream, after the first word", section="Errors", asks={"stream": True},
            says=Script(deltas=LONG, error={"message": "boom"}, error_after=6), send=Bench.hear_break,
            tells=broke_off),
)  # fmt: skip

FEATURES = (
    *TOOL_ROWS, *CONTENT_ROWS, *FORM_ROWS, *REASONING_ROWS, *PARAMETER_ROWS, *ANSWER_ROWS, *LEGACY_ROWS, *ERROR_ROWS,
)  # fmt: skip
