"""Chat completion requests as responses requests, held against the types of OpenAI's SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseInputItemParam, ToolParam
from openai.types.responses.response_create_params import ResponseCreateParams, ToolChoice
from pydantic import TypeAdapter

from proxy.core.chat import Chat, Losses, Message, TextPart, ToolCall
from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.family import UNKNOWN, Family
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.dialects.openai_completions import DIALECT as COMPLETIONS
from proxy.wire.dialects.openai_responses import DIALECT as RESPONSES

BODY: TypeAdapter[Any] = TypeAdapter(ResponseCreateParams)
ITEMS: TypeAdapter[Any] = TypeAdapter(list[ResponseInputItemParam])
TOOLS: TypeAdapter[Any] = TypeAdapter(list[ToolParam])
CHOICE: TypeAdapter[Any] = TypeAdapter(ToolChoice)
PLAIN = Quirks()
USER = {"role": "user", "content": "hi"}
PIXEL = "data:image/png;base64,AAAA"
REASONS = Family(efforts=("low", "high"), default_effort="high", sampling="never", output=1000)


def encode(chat: Chat, quirks: Quirks = PLAIN, family: Family = UNKNOWN) -> tuple[dict[str, Any], list[str]]:
    """The body, which must be one of the vendor's types, and the losses."""
    losses = Losses()
    told: dict[str, Any] = json.loads(RESPONSES.encode_request(chat, quirks, family, losses))
    BODY.validate_python(told)
    ITEMS.validate_python(told["input"])
    TOOLS.validate_python(told.get("tools", []))
    if "tool_choice" in told:
        CHOICE.validate_python(told["tool_choice"])
    return told, list(map(str, losses.found))


def asked(quirks: Quirks = PLAIN, family: Family = UNKNOWN, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    [chat] = CHAT.decode_request(json.dumps({"model": "m", "messages": [USER], **fields}).encode())
    return encode(chat, quirks, family)


def items(*messages: dict[str, Any]) -> Any:
    return asked(messages=list(messages))[0]["input"]


def test_the_least() -> None:
    assert asked() == ({"model": "m", "input": [{"type": "message", **USER}], "store": False}, [])
    assert asked(stream=True)[0]["stream"] is True


def test_every_role_and_part() -> None:
    told = items(
        {"role": "developer", "content": "be brief"},
        USER,
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_id": "file-1"}},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "ok"}, {"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": ""},
    )
    assert [(item["role"], item["content"]) for item in told] == [
        ("developer", "be brief"),
        ("user", "hi"),
        ("system", [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]),
        (
            "user",
            [
                {"type": "input_text", "text": "see", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": PIXEL, "detail": "low"},
                {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
                {"type": "input_file", "file_id": "file-1"},
            ],
        ),
        (
            "assistant",
            [{"type": "output_text", "text": "ok", "annotations": []}, {"type": "refusal", "refusal": "no"}],
        ),
        ("assistant", "ab"),
    ]


def test_calls_and_results_are_items_of_their_own() -> None:
    """Each reasoning item goes before the call it led to; of blocks that others signed a loss is left."""
    turn = {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "hm",
        "thinking_blocks": [
            {"type": "reasoning", "id": "r1", "encrypted_content": "x", "summary": []},
            {"type": "reasoning", "id": "r2", "encrypted_content": "y", "summary": [], "calls_before": 1},
            {"type": "thinking", "thinking": "hm", "signature": "s"},
        ],
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{not json"}},
            {"id": "b", "type": "custom", "custom": {"name": "g", "input": "free"}},
        ],
    }
    results = [
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "!"}],
        },
    ]
    told, losses = asked(messages=[USER, turn, *results])
    assert told["input"][1:] == [
        {"type": "reasoning", "id": "r1", "encrypted_content": "x", "summary": []},
        {"type": "message", "role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{not json"},
        {"type": "reasoning", "id": "r2", "encrypted_content": "y", "summary": []},
        {"type": "custom_tool_call", "call_id": "b", "name": "g", "input": "free"},
        {"type": "function_call_output", "call_id": "a", "output": "one"},
        {
            "type": "custom_tool_call_output",
            "call_id": "b",
            "output": [{"type": "input_text", "text": "two"}, {"type": "input_text", "text": "!"}],
        },
    ]
    assert losses == ["messages[1].thinking_blocks: only the vendor that signed a block can read it"]


def test_tools_are_flat_and_strict_is_said() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    told, losses = asked(
        tools=[
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"a": 1}, "strict": True}},
            {"type": "function", "function": {"name": "g", "odd": 1}},
            {"type": "custom", "custom": {"name": "h", "format": grammar}},
            {"type": "custom", "custom": {"name": "i", "format": {"type": "text"}}},
        ],
        parallel_tool_calls=False,
    )
    assert told["tools"] == [
        {"type": "function", "name": "f", "description": "d", "parameters": {"a": 1}, "strict": True},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": False},
        {"type": "custom", "name": "h", "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"}},
        {"type": "custom", "name": "i", "format": {"type": "text"}},
    ]
    assert told["parallel_tool_calls"] is False
    assert losses == ["tools[1].function.odd: the responses endpoint has no such field"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        *[(mode, mode) for mode in ("auto", "none", "required")],
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "custom", "custom": {"name": "g"}}, {"type": "custom", "name": "g"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_tool_choices(given: Any, told: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]
    assert asked(tools=tools, tool_choice=given)[0]["tool_choice"] == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "description": "d"}},
            {"type": "json_schema", "name": "n", "schema": {}, "strict": False, "description": "d"},
        ),
    ],
)
def test_formats_are_flat(given: Any, told: Any) -> None:
    assert asked(response_format=given, verbosity="low")[0]["text"] == {"format": told, "verbosity": "low"}


def test_fields_that_cross() -> None:
    same = {
        "temperature": 0.5, "top_p": 0.5, "service_tier": "flex", "user": "u", "metadata": {"a": "b"}, "store": True,
        "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"},
    }  # fmt: skip
    told, losses = asked(**same, max_completion_tokens=99, logprobs=True, top_logprobs=3, reasoning_effort="low")
    assert same.items() <= told.items()
    assert (told["max_output_tokens"], told["top_logprobs"], told["reasoning"]) == (99, 3, {"effort": "low"})
    assert told["include"] == ["message.output_text.logprobs"]
    assert losses == []


def test_what_has_no_field_is_a_loss() -> None:
    knobs = {
        "seed": 1, "stop": ["x"], "n": 2, "frequency_penalty": 0.5, "presence_penalty": 0.5, "logit_bias": {"1": 2},
        "prediction": {"type": "content", "content": "x"}, "top_k": 3, "web_search_options": {}, "brand_new": 1,
    }  # fmt: skip
    told, losses = asked(**knobs, messages=[USER | {"name": "ann"}])
    assert not knobs.keys() & told.keys()
    assert {loss.partition(":")[0] for loss in losses} == knobs.keys() | {"messages[0].name"}


def test_reasoning_without_its_blocks_is_a_loss() -> None:
    turn = {"role": "assistant", "content": "a", "reasoning_content": "hm", "annotations": []}
    assert [loss.partition(":")[0] for loss in asked(messages=[USER, turn])[1]] == ["messages[1].reasoning_content"]


def test_what_the_family_takes() -> None:
    told, losses = asked(family=REASONS, temperature=0.2, reasoning_effort="xhigh", max_tokens=5000)
    assert (told["reasoning"], told["max_output_tokens"], told["include"]) == (
        {"effort": "high"}, 1000, ["reasoning.encrypted_content"],
    )  # fmt: skip
    assert "temperature" not in told
    assert [loss.partition(":")[0] for loss in losses] == ["reasoning_effort", "temperature", "max_tokens"]
    assert "include" not in asked(family=REASONS, store=True)[0]


def test_a_length_that_the_endpoint_refuses_is_raised() -> None:
    told, losses = asked(max_tokens=1)
    assert (told["max_output_tokens"], len(losses)) == (16, 1)


def test_quirks() -> None:
    told, losses = asked(Quirks(drop=("user", "store"), rename={"max_output_tokens": "max"}), user="u", max_tokens=50)
    assert (told["max"], "user" in told, "store" in told) == (50, False, False)
    assert [loss.partition(":")[0] for loss in losses] == ["user", "store"]


AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [AUDIO]}]}, "messages[0].content[0]"),
        ({"messages": [USER, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, "modalities"),
    ],
)
def test_content_that_cannot_be_said_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ProxyError) as caught:
        asked(**fields)
    assert (caught.value.kind, caught.value.param) == (ErrorKind.BAD_REQUEST, param)


def test_legacy_prompts() -> None:
    [chat] = COMPLETIONS.decode_request(b'{"model":"m","prompt":"Once","echo":true,"max_tokens":20}')
    told, losses = encode(chat)
    assert (told["input"][0]["content"], told["max_output_tokens"], losses) == ("Once", 20, [])
    for body in (b'{"model":"m","prompt":[1,2]}', b'{"model":"m","prompt":"x","suffix":"y"}'):
        [chat] = COMPLETIONS.decode_request(body)
        with pytest.raises(ProxyError):
            encode(chat)


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
CALLS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS, st.sampled_from(["function", "custom"])), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, CALLS), min_size=1, max_size=3))
def test_nothing_of_a_conversation_is_lost_or_moved(turns: list[tuple[str, list[Any]]]) -> None:
    """Texts, calls and results, read back from the items, are those of the messages, in their order."""
    messages: list[Message] = []
    for turn, (text, calls) in enumerate(turns):
        made = tuple(ToolCall(f"{turn}-{i}-{name}", *rest) for i, (name, *rest) in enumerate(calls))
        messages += [Message("user", (TextPart(text),)), Message("assistant", (TextPart(text),), tool_calls=made)]
        messages += [Message("tool", (TextPart(f"result of {call.id}"),), tool_call_id=call.id) for call in made]
    told, losses = encode(Chat("m", tuple(messages)))
    expected: list[Any] = []
    for message in messages:
        if message.role == "tool":
            expected.append((message.tool_call_id, message.text))
            continue
        expected.append((message.role, message.text))
        expected += [(call.id, call.kind, call.name, call.arguments) for call in message.tool_calls]
    assert [_plain(item) for item in told["input"]] == expected
    assert losses == []


def _plain(item: dict[str, Any]) -> Any:
    if item["type"] == "message":
        return item["role"], item["content"]
    if item["type"].endswith("output"):
        return item["call_id"], item["output"]
    kind = "function" if item["type"] == "function_call" else "custom"
    return item["call_id"], kind, item["name"], item["arguments" if kind == "function" else "input"]
