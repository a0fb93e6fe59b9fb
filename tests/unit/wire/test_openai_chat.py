"""Chat completions through the hub: requests there and back, answers from every kind of server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.core.chat import (
    AudioPart,
    Chat,
    FilePart,
    ImagePart,
    Losses,
    Message,
    RefusalPart,
    ResponseFormat,
    TextPart,
    TokensPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.events import (
    Event,
    Extra,
    Failed,
    Finish,
    FoldedTool,
    Reason,
    Refuse,
    Start,
    Text,
    Tokens,
    ToolArgs,
    ToolOpen,
    fold,
)
from proxy.core.family import UNKNOWN
from proxy.core.usage import Usage
from proxy.wire import sse
from proxy.wire.dialects.openai_chat import DIALECT as CHAT

PLAIN = Quirks()
USER = {"role": "user", "content": "hi"}
PIXEL = "data:image/png;base64,AAAA"

FULL: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "s"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_id": "file-1"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{not json"}},
                {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "free"}},
                {
                    "id": "c3",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "sig"}},
                },
            ],
            "audio": {"id": "a1"},
        },
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": "ok", "refusal": "no"},
        {"role": "user", "content": ""},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "parallel_tool_calls": False,
    "temperature": 0,
    "top_p": 0.5,
    "top_k": 3,
    "frequency_penalty": -1,
    "presence_penalty": 1.5,
    "seed": 7,
    "logprobs": True,
    "top_logprobs": 2,
    "reasoning_effort": "low",
    "service_tier": "auto",
    "user": "u",
    "max_completion_tokens": 9,
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        },
        {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "stop": ["a", "b"],
    "n": 2,
    "logit_bias": {"1": 5},
    "verbosity": "low",
    "brand_new": {"x": [1, 2.5, None]},
}


def decode(**fields: Any) -> Chat:
    (chat,) = CHAT.decode_request(json.dumps({"model": "m", "messages": [USER], **fields}).encode())
    return chat


def encode(chat: Chat, quirks: Quirks = PLAIN) -> dict[str, Any]:
    losses = Losses()
    told: dict[str, Any] = json.loads(CHAT.encode_request(chat, quirks, UNKNOWN, losses))
    return told | ({"losses": [str(loss) for loss in losses.found]} if losses.found else {})


def test_a_request_with_everything_comes_back_as_it_was() -> None:
    assert encode(decode(**FULL)) == FULL


def test_a_request_with_everything_is_understood() -> None:
    chat = decode(**FULL)
    assert chat.messages[2].parts == (
        TextPart("see", {"prompt_cache_breakpoint": {"mode": "explicit"}}),
        ImagePart(data="AAAA", media_type="image/png", detail="low"),
        ImagePart(url="https://example.org/a.png"),
        AudioPart("AAAA", "wav"),
        FilePart(data="AAAA", media_type="application/pdf", filename="a.pdf"),
        FilePart(file_id="file-1"),
    )
    assert chat.messages[3].tool_calls == (
        ToolCall("c1", "f", "{not json"),
        ToolCall("c2", "g", "free", "custom"),
        ToolCall("c3", "f", "{}", signature="sig"),
    )
    assert (chat.messages[3].reasoning, chat.messages[3].extra) == ("hm", {"audio": {"id": "a1"}})
    assert [block["signature"] for block in chat.messages[3].thinking] == ["s"]
    assert chat.messages[5].parts == (TextPart("ok"), RefusalPart("no"))
    assert (chat.stream, chat.include_usage, chat.max_tokens, chat.n) == (True, True, 9, 2)
    assert chat.tools[0] == Tool("f", "d", {"type": "object"}, True)
    assert chat.tools[1] == Tool("g", kind="custom", extra={"format": {"type": "text"}})
    assert chat.tool_choice == ToolChoice("named", ("f",))
    assert chat.response_format == ResponseFormat("json_schema", "n", schema={"type": "object"})
    assert chat.extra.keys() == {"logit_bias", "verbosity", "brand_new"}


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "custom", "custom": {"name": "g"}}, ToolChoice("named", ("g",))),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            ToolChoice("required", ("f",)),
        ),
    ],
)
def test_tool_choices(given: Any, choice: ToolChoice) -> None:
    chat = decode(tools=FULL["tools"], tool_choice=given)
    assert chat.tool_choice == choice
    assert encode(chat)["tool_choice"] == given


def test_small_things() -> None:
    assert decode(max_tokens=5).max_tokens == 5
    assert decode(stop="x").stop == ("x",)
    assert decode(response_format={"type": "json_object"}).response_format == ResponseFormat("json_object")
    assert decode(messages=[{"role": "assistant", "reasoning": "r"}]).messages == (Message("assistant", reasoning="r"),)
    assert decode(messages=[{"role": "user", "content": ["a"]}]).messages[0].parts == (TextPart("a"),)
    assert decode(tools=None, n=None, stop=None).n == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"messages": "x"}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [USER, {"role": "user", "content": [3]}]}, "messages[1].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x,y"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
            "messages[0].tool_calls[0].id",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages[0].function_call"),
        ({"messages": [{"role": "assistant", "thinking_blocks": [3]}]}, "messages[0].thinking_blocks"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stop": [1]}, "stop"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "web"}]}, "tools[0].type"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "x"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "no"}}}, "tool_choice.allowed_tools.mode"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"stream": 1}, "stream"),
    ],
)
def test_what_is_wrong_has_a_path(fields: dict[str, Any], param: str | None) -> None:
    with pytest.raises(ProxyError) as caught:
        decode(**fields)
    assert (caught.value.kind, caught.value.param) == (ErrorKind.BAD_REQUEST, param)


def test_huge_numbers_are_no_crash() -> None:
    assert encode(decode(seed=10**400, x=10**400))["x"] == 10**400
    with pytest.raises(ProxyError):
        CHAT.decode_request(b'{"model":"m","messages":[{"role":"user","content":"a"}],"x":1%s}' % (b"0" * 5000))


def test_quirks_of_an_upstream() -> None:
    chat = decode(stream=True, max_tokens=5, logprobs=True)
    told = encode(chat, Quirks(drop=("logprobs", "seed"), rename={"max_completion_tokens": "max_tokens"}))
    assert (told["max_tokens"], told["losses"]) == (5, ["logprobs: the upstream refuses this field"])
    assert told["stream_options"] == {"include_usage": True}, "usage is asked for whether or not the caller did"
    assert "stream_options" not in encode(chat, Quirks(asks_usage=False))


@pytest.mark.parametrize(
    ("extra", "param"), [({"suffix": "x"}, "suffix"), ({"best_of": 2}, "best_of"), ({"logprobs": 0}, "logprobs")]
)
def test_what_only_legacy_completions_have_is_refused(extra: dict[str, Any], param: str) -> None:
    with pytest.raises(ProxyError) as caught:
        encode(replace(decode(), extra=extra))
    assert caught.value.param == param


def test_what_the_proxy_answers_itself_does_not_cross() -> None:
    told = encode(replace(decode(), extra={"echo": True, "prompt": "x", "best_of": 1, "suffix": "", "keep": 1}))
    assert told == {"model": "m", "messages": [USER], "keep": 1}


def test_tokens_cannot_cross() -> None:
    with pytest.raises(ProxyError):
        encode(replace(decode(), messages=(Message("user", (TokensPart((1, 2)),)),)))


# --- answers ---------------------------------------------------------------------------------------------------------


def read(*chunks: Any, end: bool = True) -> list[Event]:
    decoder = CHAT.decoder()
    stream = b"".join(sse.frame(json.dumps(chunk).encode()) for chunk in chunks) + (sse.DONE if end else b"")
    return decoder.feed(stream) + decoder.close()


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def call(**fields: Any) -> dict[str, Any]:
    inner = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return delta(tool_calls=[{**fields, "function": inner}])


def tools(*chunks: Any) -> list[FoldedTool]:
    folded = fold(read(*chunks, delta(finish="tool_calls")))
    assert folded.choices[0].finish == "tool_calls"
    return [tool for _, tool in sorted(folded.choices[0].tools.items())]


F, G = FoldedTool("a", "f", "{}"), FoldedTool("b", "g", "[1]")


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([call(index=0, id="a", name="f", arguments="{"), call(index=0, arguments="}")], [F]),
        # No index: by id, then the last one.
        ([call(id="a", name="f"), call(arguments="{}"), call(id="b", name="g"), call(arguments="[1]")], [F, G]),
        # No index, all in one delta, whole.
        (
            [
                delta(
                    tool_calls=[
                        {"id": "a", "function": {"name": "f", "arguments": "{}"}},
                        {"id": "b", "function": {"name": "g", "arguments": "[1]"}},
                    ]
                )
            ],
            [F, G],
        ),
        # One index for all: a new id is a new call.
        ([call(index=0, id="a", name="f", arguments="{}"), call(index=0, id="b", name="g", arguments="[1]")], [F, G]),
        # A new id with every piece, but one name.
        ([call(index=0, id="a", name="f", arguments="{"), call(index=0, id="x", arguments="}")], [F]),
        # Two calls interleaved.
        (
            [
                call(index=0, id="a", name="f"),
                call(index=1, id="b", name="g"),
                call(index=1, arguments="[1"),
                call(index=0, arguments="{}"),
                call(index=1, arguments="]"),
            ],
            [F, G],
        ),
        # The name in pieces; the name and the id again and again.
        ([call(index=0, id="a", name="ge"), call(index=0, name="t", arguments="{}")], [FoldedTool("a", "get", "{}")]),
        ([call(index=0, id="a", name="f"), call(index=0, id="a", name="f", arguments="{}")], [F]),
        ([call(index=0, id="a", name="f", arguments="{"), call(index=0, id="a", name="f", arguments="}")], [F]),
        # Arguments as an object, or not at all; no id.
        ([call(index=0, id="a", name="f", arguments={"x": [1]})], [FoldedTool("a", "f", '{"x":[1]}')]),
        ([call(index=0, id="a", name="f")], [FoldedTool("a", "f", "")]),
        ([call(index=0, name="f", arguments="{}")], [FoldedTool("call_0_0", "f", "{}")]),
        ([delta(function_call={"name": "f", "arguments": "{}"})], [FoldedTool("call_0_0", "f", "{}")]),
    ],
)  # fmt: skip
def test_tool_calls_of_all_kinds_of_servers(chunks: Sequence[Any], expected: list[FoldedTool]) -> None:
    assert tools(*chunks) == expected


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop"),
        ("end_turn", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"), ("function_call", "tool_calls"),
        ("brand_new", "stop"),
    ],
)  # fmt: skip
def test_finish_reasons(told: str, known: str) -> None:
    assert read(delta(content="a"), delta(finish=told))[-1] == Finish(known)  # type: ignore[arg-type]


def test_a_call_finishes_as_one_whatever_the_server_says() -> None:
    assert read(call(index=0, id="a", name="f"), delta(finish="stop"))[-1] == Finish("tool_calls")


def test_an_end_without_finish_reason() -> None:
    assert read(delta(content="a"), delta(finish=""))[-1] == Finish("stop")
    assert read(delta(content="a"), end=False)[-1] == Text("a")
    assert isinstance(read(delta(content="a"), delta(1, content="b"), delta(finish="stop"))[-1], Failed)


def test_thinking_under_either_name_is_taken_once() -> None:
    folded = fold(read(delta(reasoning="a", reasoning_content="a"), delta(reasoning="b"), delta(reasoning_content="c")))
    assert folded.choices[0].reasoning == "abc"


def test_a_cut_character_is_whole_again() -> None:
    folded = fold(
        read(delta(content="x\ud83d"), delta(content="\ude00y"), delta(content="\ud83d"), delta(finish="stop"))
    )
    assert folded.choices[0].text == "x😀y\ufffd"


def test_what_has_no_event_is_carried() -> None:
    events = read(
        {**delta(content="a", annotations=[{"x": 1}]), "id": "i", "model": "m", "created": 4, "service_tier": "t"},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": None, "logprobs": {"content": [1]}}]},
        {
            "choices": [
                {"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": {"content": [2], "refusal": None}}
            ]
        },
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    )
    assert events == [
        Start("i", "m", 4, {"service_tier": "t"}),
        Text("a"),
        Extra("annotations", [{"x": 1}]),
        Finish("stop", logprobs={"content": [1, 2]}),
        Tokens(Usage(1, 2, source="vendor")),
    ]


@pytest.mark.parametrize(
    ("chunk", "kind"),
    [
        ({"error": {"message": "x", "code": 503}}, ErrorKind.OVERLOAD),
        ({"error": "No models loaded."}, ErrorKind.MODEL_ABSENT),
        ([1], ErrorKind.NOT_AN_ANSWER),
        (delta(finish="error"), ErrorKind.FAULT),
    ],
)
def test_a_failure_is_the_last_event(chunk: Any, kind: ErrorKind) -> None:
    events = read(delta(content="a"), chunk, delta(content="b"))
    assert [type(event) for event in events] == [Start, Text, Failed]
    assert isinstance(events[-1], Failed)
    assert events[-1].kind is kind


def test_odd_shapes_are_no_crash() -> None:
    for odd in ({"choices": None}, {"choices": [3, {"index": -1, "delta": 4}, {"delta": {"tool_calls": [None, 3]}}]}):
        assert all(isinstance(event, Start | Finish) for event in read(odd))


NAMES = st.sampled_from(["f", "get_weather"])
TEXTS = st.text(max_size=6)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """A well-formed list of events, as every decoder gives them."""
    events: list[Event] = [Start("id", "model", draw(st.integers(1, 10**9)))]
    for choice in range(draw(st.integers(1, 3))):
        kinds = draw(st.lists(st.sampled_from([Text, Reason, Refuse]), max_size=4))
        events += [kind(draw(TEXTS.filter(bool)), choice) for kind in kinds]
        calls = draw(st.integers(0, 2))
        for index in range(calls):
            events.append(ToolOpen(index, f"call-{choice}-{index}", draw(NAMES), choice))
            events += [ToolArgs(index, piece, choice) for piece in draw(st.lists(TEXTS.filter(bool), max_size=3))]
        events.append(Finish("tool_calls" if calls else draw(st.sampled_from(["stop", "length"])), choice))
    if draw(st.booleans()):
        events.append(Tokens(Usage(3, 2, cached=1, reasoning=1, source="vendor")))
    return events


CALLER = Chat("m", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)


@settings(max_examples=100, deadline=None)
@given(answers(), st.integers(1, 60))
def test_stream_and_body_fold_to_the_same_answer(events: list[Event], size: int) -> None:
    """Encoded either way and read back, cut anywhere, an answer is the same; and the official types accept both."""
    encoder = CHAT.encoder(CALLER, 7)
    stream = b"".join(map(encoder.feed, events)) + encoder.close()
    decoder = CHAT.decoder()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    streamed = fold([event for piece in pieces for event in decoder.feed(piece)] + decoder.close())
    body = CHAT.encode_body(events, CALLER, 7)
    whole = fold(CHAT.decode_body(body))
    assert streamed == fold(events)
    assert whole == fold(events)
    assert decoder.ended
    ChatCompletion.model_validate_json(body)
    for frame in sse.SSEDecoder().feed(stream):
        if frame.data != b"[DONE]":
            ChatCompletionChunk.model_validate_json(frame.data or b"")


def test_the_first_chunk_of_each_choice_has_the_role() -> None:
    encoder = CHAT.encoder(replace(CALLER, include_usage=False), 7)
    out = encoder.feed(Start("i", "m")) + encoder.feed(Text("a", 1)) + encoder.feed(Text("b", 1)) + encoder.close()
    deltas = [json.loads(frame.data or b"") for frame in sse.SSEDecoder().feed(out) if frame.data != b"[DONE]"]
    assert [(one["choices"][0]["index"], one["choices"][0]["delta"]) for one in deltas] == [
        (0, {"role": "assistant", "content": ""}),
        (1, {"role": "assistant", "content": ""}),
        (1, {"content": "a"}),
        (1, {"content": "b"}),
    ]
    assert {(one["id"], one["model"], one["created"]) for one in deltas} == {("i", "m", 7)}
    assert not any("usage" in one for one in deltas)
    assert out.endswith(sse.DONE)


def test_signatures_cross() -> None:
    events: list[Event] = [Start("i", "m"), ToolOpen(0, "c", "f", signature="sig"), Finish("tool_calls")]
    encoder = CHAT.encoder(CALLER, 7)
    decoder = CHAT.decoder()
    streamed = decoder.feed(b"".join(map(encoder.feed, events)) + encoder.close())
    for told in (streamed, CHAT.decode_body(CHAT.encode_body(events, CALLER, 7))):
        assert fold(told).choices[0].tools[0].signature == "sig"


def test_custom_tools_and_signed_blocks_cross() -> None:
    """Their deltas are as the whole message has them: OpenAI's types do not say how they are streamed."""
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    events: list[Event] = [
        Start("i", "m"), ToolOpen(0, "c", "f", kind="custom"), ToolArgs(0, "free "), ToolArgs(0, "text"),
        Extra("thinking_blocks", blocks), Finish("tool_calls"),
    ]  # fmt: skip
    encoder = CHAT.encoder(CALLER, 7)
    streamed = CHAT.decoder().feed(b"".join(map(encoder.feed, events)) + encoder.close())
    body = CHAT.encode_body(events, CALLER, 7)
    for told in (streamed, CHAT.decode_body(body)):
        choice = fold(told).choices[0]
        assert choice.tools[0] == FoldedTool("c", "f", "free text", kind="custom")
        assert choice.extra == {"thinking_blocks": blocks}
    ChatCompletion.model_validate_json(body)


def test_a_body_that_is_no_answer() -> None:
    with pytest.raises(UpstreamFailure):
        CHAT.decode_body(b'{"error":"x"}')


def test_errors_have_the_callers_shape() -> None:
    error = ProxyError(ErrorKind.BAD_REQUEST, "no", param="messages[0]", code="c")
    told = {"error": {"message": "no", "type": "invalid_request_error", "param": "messages[0]", "code": "c"}}
    assert json.loads(CHAT.encode_error(error)) == told
    event = CHAT.encode_error_event(error)
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert json.loads(event[6:]) == told
