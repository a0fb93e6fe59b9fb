"""Gemini through the hub: requests that Google's own types take, answers in any pieces, errors by their details."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.chat import FilePart, Losses, Message
from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.events import Checkpoint, Failed, Finish, FoldedTool, Start, Text, Tokens, fold
from proxy.core.family import UNKNOWN, Family
from proxy.core.usage import Usage
from proxy.routing.families import Families, load
from proxy.wire import sse
from proxy.wire.dialects.gemini_generate import DIALECT as GEMINI
from proxy.wire.dialects.gemini_generate.contents import UNSIGNED
from proxy.wire.dialects.gemini_generate.errors import classify
from proxy.wire.dialects.gemini_generate.usage import read_usage
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.dialects.openai_completions import DIALECT as COMPLETIONS
from tests.upstream import Request
from tests.upstream.dialects.gemini_generate import refuses

FAMILIES = Families(load())
NEW, OLD = FAMILIES.of("gemini", "gemini-3.1-pro-preview"), FAMILIES.of("gemini", "gemini-2.5-flash")
PLAIN = Quirks()
USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g"}}


def encode(family: Family = UNKNOWN, quirks: Quirks = PLAIN, **fields: Any) -> tuple[dict[str, Any], dict[str, bool]]:
    """The body, and the losses: whether each is one of content."""
    (chat,) = CHAT.decode_request(json.dumps({"model": "m", "messages": [USER], **fields}).encode())
    losses = Losses()
    body: dict[str, Any] = json.loads(GEMINI.encode_request(chat, quirks, family, losses))
    check(body)
    return body, {loss.path: loss.content for loss in losses.found}


def config(family: Family = UNKNOWN, **fields: Any) -> dict[str, Any]:
    told: dict[str, Any] = encode(family, **fields)[0].get("generationConfig", {})
    return told


def contents(*messages: Any, family: Family = UNKNOWN) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = encode(family, messages=list(messages))[0]["contents"]
    return told


def check(body: dict[str, Any]) -> None:
    """Google's own types, which refuse what they do not know, take every part of a body."""
    for turn in [*body["contents"], *([body["systemInstruction"]] if "systemInstruction" in body else [])]:
        types.Content.model_validate(turn)
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    types.ServiceTier(body.get("serviceTier", "standard"))
    known = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier", "store"}
    assert body.keys() <= known | {"cachedContent", "safetySettings"}


def sign(*numbers: int) -> str:
    """A signature of its own."""
    return base64.b64encode(bytes(numbers)).decode()


def call(identity: str = "c1", name: str = "f", arguments: str = "{}", signature: str | None = None) -> dict[str, Any]:
    made = {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
    return made | ({"extra_content": {"google": {"thought_signature": signature}}} if signature else {})


def calls(*made: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": list(made)}


def result(content: Any = "1", identity: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content} | fields


def test_paths() -> None:
    template = "/models/{model}:{method}"
    assert GEMINI.path(template, "gemini-x", stream=False) == "/models/gemini-x:generateContent"
    assert GEMINI.path(template, "models/gemini-x", stream=True) == "/models/gemini-x:streamGenerateContent?alt=sse"
    assert GEMINI.path(template, "../v2?x#", stream=False) == "/models/..%2Fv2%3Fx%23:generateContent"


def test_system_messages_come_first_and_joined() -> None:
    later = {"role": "developer", "content": [{"type": "text", "text": "c"}]}
    body, losses = encode(messages=[{"role": "system", "content": "a"}, {"role": "system", "content": ""}, USER, later])
    assert body["systemInstruction"] == {"parts": [{"text": "a\n\nc"}]}
    assert losses == {"messages[3]": False}
    with pytest.raises(ProxyError, match="text only"):
        encode(messages=[{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}])


def test_turns_alternate_and_none_is_empty() -> None:
    model = {"role": "assistant", "content": "m"}
    blank = {"role": "user", "content": ""}
    assert contents(USER, blank, USER, model, {"role": "assistant", "content": None}, model, USER) == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "hi"}]},
        {"role": "model", "parts": [{"text": "m"}, {"text": "m"}]},
        {"role": "user", "parts": [{"text": "hi"}]},
    ]
    assert contents(model)[0] == {"role": "user", "parts": [{"text": " "}]}
    assert contents(blank) == [{"role": "user", "parts": [{"text": " "}]}]
    assert contents({"role": "system", "content": "s"}) == [{"role": "user", "parts": [{"text": " "}]}]


PDF = "data:application/pdf;base64,AAAA"


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}},
            {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://h/a.JPG?b=c.png"}},
            {"fileData": {"fileUri": "https://h/a.JPG?b=c.png", "mimeType": "image/jpeg"}},
        ),
        ({"type": "image_url", "image_url": {"url": "https://h/a"}}, {"fileData": {"fileUri": "https://h/a"}}),
        ({"type": "image_url", "image_url": {"url": "https://["}}, {"fileData": {"fileUri": "https://["}}),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
        ),
        ({"type": "file", "file": {"file_data": PDF}}, {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}),
        (
            {"type": "file", "file": {"file_data": "AAAA", "filename": "a.csv"}},
            {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}},
        ),
        ({"type": "file", "file": {"file_id": "files/abc"}}, {"fileData": {"fileUri": "files/abc"}}),
        ({"type": "refusal", "refusal": "no"}, {"text": "no"}),
    ],
)
def test_parts(part: dict[str, Any], told: dict[str, Any]) -> None:
    assert contents({"role": "user", "content": [part]})[0]["parts"] == [told]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, "file_id"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "AAAA"}}]}]}, "file"),
        ({"messages": [USER, result()]}, "messages[1].tool_call_id"),
        ({"messages": [USER, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
        ({"tools": [{"type": "custom", "custom": {"name": "g"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "7up"}}]}, "tools[0].function.name"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "z"}}}, "tool_choice"),
        ({"suffix": "x"}, "suffix"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ProxyError) as caught:
        encode(**fields)
    assert caught.value.kind is ErrorKind.BAD_REQUEST
    assert (caught.value.param or "").endswith(param)


def test_what_belongs_to_a_part_is_lost() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://h/a", "detail": "low"}}
    text = {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
    file = {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}
    _, losses = encode(messages=[{"role": "user", "content": [picture, text, file]}])
    place = "messages[0].content"
    names = {f"{place}[0].image_url.detail", f"{place}[1].prompt_cache_breakpoint", f"{place}[2].file.filename"}
    assert losses == dict.fromkeys(names, False)


def test_a_file_by_its_address() -> None:
    (chat,) = CHAT.decode_request(json.dumps({"model": "m", "messages": [USER]}).encode())
    object.__setattr__(chat, "messages", (Message("user", (FilePart(url="gs://b/a.pdf"),)),))
    body = json.loads(GEMINI.encode_request(chat, Quirks(), UNKNOWN, Losses()))
    assert body["contents"][0]["parts"] == [{"fileData": {"fileUri": "gs://b/a.pdf", "mimeType": "application/pdf"}}]


def test_calls_and_results() -> None:
    """Results stand in one turn, in the order of the calls, before anything else, under the functions' names."""
    turns = contents(
        USER,
        calls(call("c1", "f", '{"a":1.0}'), call("c2", "g", ""), call("c3", "f", "[1]")),
        result("[1,2]", "c3"),
        result("words", "c2"),
        result('{"x":1e2}', "c1"),
        USER,
        family=NEW,
    )
    told = [
        part["functionCall"] | {"id": part["functionCall"]["id"]}
        for part in turns[1]["parts"]
        if "functionCall" in part
    ]
    assert told == [
        {"id": "c1", "name": "f", "args": {"a": 1.0}},
        {"id": "c2", "name": "g", "args": {}},
        {"id": "c3", "name": "f", "args": {"arguments": "[1]"}},
    ]
    assert turns[2]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "f", "response": {"x": 100.0}}},
        {"functionResponse": {"id": "c2", "name": "g", "response": {"output": "words"}}},
        {"functionResponse": {"id": "c3", "name": "f", "response": {"output": [1, 2]}}},
        {"text": "hi"},
    ]


def test_a_custom_tool_s_call_stays_in_the_history() -> None:
    made = {"id": "c1", "type": "custom", "custom": {"name": "grep", "input": "free text"}}
    function = contents(USER, calls(made), result())[1]["parts"][0]["functionCall"]
    assert (function["name"], function["args"]) == ("grep", {"input": "free text"})


def test_prompts_of_tokens_cannot_be_read() -> None:
    (chat,) = COMPLETIONS.decode_request(b'{"model":"m","prompt":[1,2]}')
    with pytest.raises(ProxyError, match="tokens"):
        GEMINI.encode_request(chat, PLAIN, UNKNOWN, Losses())


def test_older_models_know_no_ids() -> None:
    text = json.dumps(contents(USER, calls(call()), result(), family=OLD))
    assert '"id"' not in text
    assert UNSIGNED not in text


def test_a_picture_in_a_result_follows_it() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    turns = contents(USER, calls(call()), result([{"type": "text", "text": "see"}, picture]))
    assert [next(iter(part)) for part in turns[2]["parts"]] == ["functionResponse", "inlineData"]


def test_a_call_s_arguments_are_never_too_strange() -> None:
    for arguments in ('"\\ud83d"', "[" * 5000, '{"a":' * 5000, "NaN", '{"\\ud83d":1}', "{not json"):
        turns = contents(USER, calls(call(arguments=arguments)))
        assert turns[1]["parts"][0]["functionCall"]["args"] == {"arguments": arguments}


def test_signatures_return_each_on_one_part() -> None:
    signed = calls(call("c1", signature="c2lnMQ=="), call("c2"), call("c3", signature="c2lnMQ=="))
    said = {"role": "assistant", "content": "x", "extra_content": {"google": {"thought_signature": "c2lnMg=="}}}
    turns = contents(USER, signed, result("1", "c1"), result("1", "c2"), result("1", "c3"), said, family=NEW)
    assert [part.get("thoughtSignature") for part in turns[1]["parts"]] == ["c2lnMQ==", None, None]
    assert turns[3]["parts"] == [{"text": "x", "thoughtSignature": "c2lnMg=="}]
    assert not encode(messages=[USER, said])[1], "and nothing is lost"


def test_a_lost_signature_has_a_stand_in_where_it_is_checked() -> None:
    """Only what came after the user's last words is checked, and of parallel calls only the first is signed."""
    step = [calls(call("c1"), call("c2", "g")), result("1", "c1"), result("1", "c2")]
    body, losses = encode(NEW, messages=[USER, *step, USER, *step])
    signed = [
        part.get("thoughtSignature") for turn in body["contents"] for part in turn["parts"] if "functionCall" in part
    ]
    assert signed == [None, None, UNSIGNED, None]
    assert losses == {"messages[5].tool_calls[0].extra_content": False}


def test_history_of_other_vendors_is_a_loss() -> None:
    turn = {"role": "assistant", "content": "x", "name": "n", "reasoning_content": "r", "audio": {"id": "a"}}
    _, losses = encode(messages=[USER, turn])
    assert losses == {"messages[1].name": False, "messages[1].audio": True, "messages[1].reasoning_content": False}


@pytest.mark.parametrize(
    ("choice", "told", "names"),
    [
        (None, None, ["f", "g"]),
        ("auto", {"mode": "AUTO"}, ["f", "g"]),
        ("none", {"mode": "NONE"}, ["f", "g"]),
        ("required", {"mode": "ANY"}, ["f", "g"]),
        ({"type": "function", "function": {"name": "g"}}, {"mode": "ANY", "allowedFunctionNames": ["g"]}, ["f", "g"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FUNCTION]}}, {"mode": "AUTO"}, ["f"]),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FUNCTION]}},
            {"mode": "ANY", "allowedFunctionNames": ["f"]},
            ["f", "g"],
        ),
    ],
)
def test_tool_choices(choice: Any, told: dict[str, Any] | None, names: list[str]) -> None:
    body, _ = encode(tools=[FUNCTION, OTHER], tool_choice=choice)
    assert body.get("toolConfig", {}).get("functionCallingConfig") == told
    assert [declared["name"] for declared in body["tools"][0]["functionDeclarations"]] == names


def test_declarations() -> None:
    strict = {"type": "function", "function": FUNCTION["function"] | {"strict": True, "novelty": 1}}  # type: ignore[operator]
    body, losses = encode(tools=[strict], parallel_tool_calls=False)
    assert body["tools"] == [
        {"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]}
    ]
    assert body["toolConfig"]["functionCallingConfig"] == {"mode": "VALIDATED"}
    assert losses == {"parallel_tool_calls": False, "tools[0].function.novelty": False}
    assert "toolConfig" not in encode(tool_choice="auto")[0], "a choice without tools is none"
    body, losses = encode(Family(forced_tools=False), tools=[FUNCTION], tool_choice="required")
    assert (body["toolConfig"]["functionCallingConfig"]["mode"], losses) == ("AUTO", {"tool_choice": False})


def test_knobs() -> None:
    told = config(
        temperature=0,
        top_p=0.5,
        top_k=3,
        frequency_penalty=-1,
        presence_penalty=1,
        max_completion_tokens=9,
        seed=-7,
        n=2,
        stop=["a", "", "b"],
        logprobs=True,
        top_logprobs=2,
    )
    assert told == {
        "temperature": 0,
        "topP": 0.5,
        "topK": 3,
        "frequencyPenalty": -1,
        "presencePenalty": 1,
        "maxOutputTokens": 9,
        "seed": -7,
        "candidateCount": 2,
        "stopSequences": ["a", "b"],
        "responseLogprobs": True,
        "logprobs": 2,
    }


def test_knobs_that_a_model_refuses_are_losses() -> None:
    family = FAMILIES.of("gemini", "gemini-3.8-flash")
    body, losses = encode(
        family,
        temperature=0.5,
        top_p=0.5,
        top_k=3,
        frequency_penalty=1,
        presence_penalty=1,
        max_tokens=10**6,
        seed=2**31,
        stop=list("abcdef"),
    )
    assert body["generationConfig"] == {
        "maxOutputTokens": 65536,
        "stopSequences": list("abcde"),
        "thinkingConfig": {"includeThoughts": True},
    }
    assert [path for path, content in losses.items() if content] == ["stop"]
    names = {"temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "max_completion_tokens", "seed"}
    assert losses.keys() == names | {"stop"}


@pytest.mark.parametrize(
    ("model", "effort", "told", "lost"),
    [
        ("gemini-2.5-pro", "none", {"thinkingBudget": 1024, "includeThoughts": True}, True),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}, False),
        ("gemini-2.5-flash", "max", {"thinkingBudget": 24576, "includeThoughts": True}, True),
        ("gemini-2.5-flash", None, {"includeThoughts": True}, False),
        ("gemini-2.5-flash-lite", None, None, False),
        ("gemini-3.5-flash", "none", {"thinkingLevel": "MINIMAL", "includeThoughts": True}, True),
        ("gemini-3.7-flash", "none", {"thinkingLevel": "LOW", "includeThoughts": True}, True),
        ("gemini-3.7-flash", "xhigh", {"thinkingLevel": "HIGH", "includeThoughts": True}, True),
        ("gemini-3.7-flash", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}, False),
        ("gemini-3.7-flash", "brisk", None, True),
        ("gemini-2.5-flash-image", "high", None, True),
        ("gemini-2.5-flash-image", "none", None, False),
        ("who-knows", None, None, False),
        ("who-knows", "low", {"thinkingLevel": "LOW", "includeThoughts": True}, False),
    ],
)
def test_thinking(model: str, effort: str | None, told: dict[str, Any] | None, lost: bool) -> None:
    """A level from generation 3 on, a budget before, the nearest that there is; never both."""
    body, losses = encode(FAMILIES.of("gemini", model), reasoning_effort=effort)
    assert body.get("generationConfig", {}).get("thinkingConfig") == told
    assert ("reasoning_effort" in losses) is lost


def test_of_two_levels_that_are_as_near_it_is_the_greater() -> None:
    family = Family(thinking="level", efforts=("low", "high"))
    assert config(family, reasoning_effort="medium")["thinkingConfig"]["thinkingLevel"] == "HIGH"


def test_forms_of_answers() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": schema, "strict": True}}
    assert config(response_format=wanted) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"description": "d"} | schema,
    }
    assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
    assert config(response_format={"type": "text"}) == {}


def test_fields_beside_the_chat() -> None:
    google = {"safety_settings": [], "cached_content": "cachedContents/1", "thinking_config": {}}
    body, losses = encode(
        service_tier="default",
        store=False,
        user="u",
        modalities=["text"],
        metadata={},
        logit_bias={"1": 1},
        web_search_options={},
        extra_body={"google": google},
    )
    assert (body["serviceTier"], body["store"]) == ("standard", False)
    assert (body["safetySettings"], body["cachedContent"]) == ([], "cachedContents/1")
    assert losses == {
        "user": False,
        "logit_bias": False,
        "web_search_options": True,
        "extra_body.google.thinking_config": False,
    }
    assert encode(service_tier="scale")[1] == {"service_tier": False}
    assert encode(service_tier="auto") == ({"contents": contents(USER)}, {})


def test_what_a_configuration_drops() -> None:
    quirks = Quirks(drop=("max_completion_tokens", "temperature", "logit_bias", "seed"))
    body, losses = encode(quirks=quirks, max_tokens=5, temperature=1, logit_bias={"1": 1}, top_p=0.5)
    assert body["generationConfig"] == {"topP": 0.5}
    assert losses.keys() == {"max_tokens", "temperature", "logit_bias"}


ROLES = st.sampled_from(["user", "assistant", "system"])
TEXTS = st.text(max_size=5)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages with steps of calls and their results among them, in any order that OpenAI takes."""
    messages: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            messages.append({"role": draw(ROLES), "content": draw(TEXTS)})
            continue
        names = draw(st.lists(st.sampled_from("fg"), min_size=1, max_size=3))
        made = [call(f"c{number}_{i}", name, signature=draw(st.none() | st.just(sign(number, i))))
                for i, name in enumerate(names)]  # fmt: skip
        results = [result(draw(TEXTS), one["id"]) for one in made]
        messages += [USER, calls(*made), *draw(st.permutations(results))]
    return [*messages, USER]


@settings(deadline=None, max_examples=60)
@given(conversations(), st.sampled_from(["gemini-3.8-flash", "gemini-2.5-flash", "gemini-3.1-pro-preview"]))
def test_any_conversation_becomes_one_that_gemini_takes(messages: list[dict[str, Any]], model: str) -> None:
    body, _ = encode(FAMILIES.of("gemini", model), messages=messages, reasoning_effort="low", frequency_penalty=1)
    request = Request("POST", f"/v1/models/{model}:generateContent", (), json.dumps(body).encode())
    assert not refuses(request)


def stream(*chunks: Any) -> bytes:
    return b"".join(sse.frame(json.dumps(chunk).encode()) for chunk in chunks)


def decoded(data: bytes) -> list[Any]:
    decoder = GEMINI.decoder()
    return [*decoder.feed(data), *decoder.close()]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=3), min_size=1, max_size=3))
def test_calls_make_the_round_trip(arguments: list[dict[str, Any]]) -> None:
    """What the model called goes out to the client and comes back to the model as it was, signatures and all."""
    made = [
        {"functionCall": {"name": "f", "args": one}, "thoughtSignature": sign(i)} for i, one in enumerate(arguments)
    ]
    answer = {"candidates": [{"content": {"parts": made, "role": "model"}, "finishReason": "STOP"}], "responseId": "r"}
    (chat,) = CHAT.decode_request(json.dumps({"model": "m", "messages": [USER]}).encode())
    events = GEMINI.decode_body(json.dumps(answer).encode())
    message = json.loads(CHAT.encode_body(events, chat, 1))["choices"][0]["message"]
    parts = contents(USER, message, family=OLD)[1]["parts"]
    assert parts == made


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60) | st.sampled_from([b'data: {"candidates": 3}\n\n', b"data: [1]\n\n", b"[", b"{}\n\n"]))
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    decoded(data)
    decoded(b"data: " + data + b"\n\n")


@settings(deadline=None, max_examples=100)
@given(VALUES, VALUES)
def test_no_value_crashes_the_decoder(value: Any, other: Any) -> None:
    part = {"text": value, "functionCall": {"name": "f", "args": value, "id": other}, "inlineData": other}
    for candidate in (value, {"content": value}, {"content": {"parts": value}}, {"content": {"parts": [value, part]}}):
        chunk = {
            "candidates": [
                candidate | {"index": other, "logprobsResult": value} if isinstance(candidate, dict) else value
            ]
        }
        decoded(stream(chunk | {"usageMetadata": other, "promptFeedback": value, "responseId": other}))
    decoded(stream({"candidates": value, "error": other}))


def test_a_character_cut_between_two_chunks_is_whole() -> None:
    halves = [{"candidates": [{"content": {"parts": [{"text": "@"}]}}]}] * 2
    data = stream(*halves).replace(b"@", rb"\ud83d", 1).replace(b"@", rb"\udc4b", 1)
    assert fold(decoded(data)).choices[0].text == "👋"
    half = {"candidates": [{"content": {"parts": [{"text": "@"}]}, "finishReason": "STOP"}]}
    assert fold(decoded(stream(half).replace(b"@", rb"\ud83d"))).choices[0].text == "\ufffd"


def test_the_signature_of_a_thought_stays_behind() -> None:
    """The thought itself does not return, so there is no part for it to return on."""
    parts = [{"text": "hm", "thought": True, "thoughtSignature": "c2ln"}, {"text": "x"}]
    answer = fold(decoded(stream({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})))
    assert (answer.choices[0].reasoning, answer.choices[0].extra) == ("hm", {})


def test_an_event_that_is_too_long_is_a_fault() -> None:
    [start, failed] = decoded(stream({"candidates": []}) + b"data: " + b"x" * (sse.LIMIT + 1))
    assert isinstance(start, Start)
    assert isinstance(failed, Failed)
    assert failed.kind is ErrorKind.NOT_AN_ANSWER


def test_nothing_follows_a_finish_or_a_failure() -> None:
    text = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}
    events = decoded(stream({"error": {"code": 400, "status": "INVALID_ARGUMENT"}}, text))
    assert events[0].kind is ErrorKind.FAULT, "what was good enough for 200 is not the client's fault now"
    assert [type(event) for event in events] == [Failed]
    assert decoded(b"data:\n\n" + stream(text, text)) == [Start("", ""), Text("x"), Finish("stop")]


def test_pages_and_endless_lines_are_no_errors_of_gemini() -> None:
    assert decoded(b"<html>\n<body>oh</body>\n\n</html>") == []
    [failed] = decoded(b"{" + b"x" * 70_000 + b"\n\n")
    assert failed.kind is ErrorKind.NOT_AN_ANSWER


@pytest.mark.parametrize(
    ("reason", "has_call", "finish"),
    [
        ("STOP", False, "stop"),
        ("STOP", True, "tool_calls"),
        ("MAX_TOKENS", True, "length"),
        ("CONTINUATION", False, "length"),
        *((reason, False, "content_filter") for reason in (
            "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "OTHER", "MODEL_ARMOR",
            "ESCALATION", "IMAGE_SAFETY", "IMAGE_RECITATION", "IMAGE_OTHER", "IMAGE_PROHIBITED_CONTENT", "NO_IMAGE",
        )),
        *((reason, False, None) for reason in (
            "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
            "MALFORMED_RESPONSE",
        )),
    ],
)  # fmt: skip
def test_finish_reasons(reason: str, has_call: bool, finish: str | None) -> None:
    """Every reason of the SDK's list; None is a fault of the upstream."""
    assert reason in types.FinishReason.__members__
    parts = [{"functionCall": {"name": "f"}}] if has_call else [{"text": "x"}]
    events = decoded(stream({"candidates": [{"content": {"parts": parts}, "finishReason": reason}]}))
    told = events[-1].reason if isinstance(events[-1], Finish) else None
    assert told == finish
    if finish is None:
        assert (events[-1].kind, type(events[-1])) == (ErrorKind.FAULT, Failed)


def test_every_finish_reason_of_the_sdk_is_judged() -> None:
    """A reason that the SDK learns must be put into a table; `stop` would hide a block."""
    judged = {"STOP", "FINISH_REASON_UNSPECIFIED"}
    for reason in set(types.FinishReason.__members__) - judged:
        events = decoded(stream({"candidates": [{"finishReason": reason}]}))
        assert not (isinstance(events[-1], Finish) and events[-1].reason == "stop"), reason


def test_a_whole_answer_need_not_say_that_it_ended() -> None:
    events = GEMINI.decode_body(
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"promptTokenCount":1}}'
    )
    assert events == [Start("", ""), Text("x"), Finish("stop"), Tokens(Usage(prompt=1, source="vendor"))]
    assert fold(GEMINI.decode_body(b'{"candidates":[{"content":{"parts":[]}}]}')).choices == {}
    with pytest.raises(UpstreamFailure):
        GEMINI.decode_body(b"<html>")


def test_ids_that_are_missing_are_made() -> None:
    """They differ within the conversation, and are short enough for every vendor."""
    made = [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f", "id": ""}}, {"functionCall": {"id": "x"}}]
    chunk = {"responseId": "a/b" * 20, "candidates": [{"content": {"parts": made}, "finishReason": "STOP"}]}
    tools = fold(decoded(stream(chunk))).choices[0].tools
    first = "call_" + ("ab" * 12) + "_0_0"
    assert tools == {0: FoldedTool(first, "f", "{}"), 1: FoldedTool(first[:-1] + "1", "f", "{}")}
    assert len(first) <= 40


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (None, None),
        ({}, None),
        ({"trafficType": "x"}, None),
        ({"promptTokenCount": -1, "candidatesTokenCount": True}, None),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 20, "totalTokenCount": 35},
            Usage(10, 25, reasoning=20, source="vendor"),
        ),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 25, "thoughtsTokenCount": 20, "totalTokenCount": 35},
            Usage(10, 25, reasoning=20, source="vendor"),
        ),
        (
            {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 4,
                "cachedContentTokenCount": 99,
                "totalTokenCount": 14,
            },
            Usage(14, 0, cached=14, source="vendor"),
        ),
    ],
)
def test_usage(told: Any, usage: Usage | None) -> None:
    """Thoughts are counted once, whether they come beside the candidates' tokens or among them."""
    assert read_usage(told) == usage


def error(**fields: Any) -> dict[str, Any]:
    return {"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"} | fields}


def of_quota(name: str, value: str = "250") -> dict[str, Any]:
    violation = {"quotaId": name, "quotaValue": value}
    details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]
    return error(code=429, status="RESOURCE_EXHAUSTED", details=details)


def waiting(delay: str) -> dict[str, Any]:
    return error(code=429, status="RESOURCE_EXHAUSTED", details=[{"retryDelay": delay}])


LONG = "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error(), ErrorKind.REJECTED),
        (400, [error()], ErrorKind.REJECTED),
        (400, error(details=[{"reason": "API_KEY_INVALID"}]), ErrorKind.AUTH),
        (400, error(message="API key expired. Please renew the API key."), ErrorKind.AUTH),
        (400, error(message=LONG), ErrorKind.CONTEXT),
        (400, error(status="FAILED_PRECONDITION", message="User location is not supported"), ErrorKind.AUTH),
        (400, error(status="FAILED_PRECONDITION", message="Please enable billing"), ErrorKind.MONEY),
        (401, error(status="UNAUTHENTICATED"), ErrorKind.AUTH),
        (402, error(status="FAILED_PRECONDITION"), ErrorKind.MONEY),
        (403, error(status="PERMISSION_DENIED"), ErrorKind.AUTH),
        (403, error(status="PERMISSION_DENIED", message="No permission for models/x."), ErrorKind.FORBIDDEN),
        (404, error(status="NOT_FOUND"), ErrorKind.MODEL_ABSENT),
        (404, error(status=None), ErrorKind.MODEL_ABSENT),
        (404, "<html>", ErrorKind.NOT_AN_ANSWER),
        (429, of_quota("GenerateRequestsPerMinutePerProjectPerModel"), ErrorKind.THROTTLE),
        (429, of_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), ErrorKind.MONEY),
        (429, of_quota("GenerateRequestsPerMinute", "0"), ErrorKind.MONEY),
        (429, waiting("46s"), ErrorKind.THROTTLE),
        (429, waiting("43200s"), ErrorKind.MONEY),
        (429, error(status="RESOURCE_EXHAUSTED", message="* Quota exceeded, limit: 0"), ErrorKind.MONEY),
        (429, error(status="RESOURCE_EXHAUSTED", message="Your prepayment credits are depleted."), ErrorKind.MONEY),
        (429, "busy", ErrorKind.THROTTLE),
        (499, error(status="CANCELLED"), ErrorKind.FAULT),
        (500, error(status="INTERNAL"), ErrorKind.FAULT),
        (503, error(status="UNAVAILABLE"), ErrorKind.OVERLOAD),
        (504, error(status="DEADLINE_EXCEEDED"), ErrorKind.FAULT),
        (500, {"error": "text"}, ErrorKind.FAULT),
        (502, "", ErrorKind.FAULT),
        (418, "", ErrorKind.REJECTED),
        (200, "{}", ErrorKind.NOT_AN_ANSWER),
    ],
)
def test_errors(status: int, body: Any, kind: ErrorKind) -> None:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    assert classify(status, {}, data).kind is kind


def test_what_an_error_tells_besides() -> None:
    assert classify(429, {"retry-after": "3"}, json.dumps(waiting("46.5s")).encode()).retry_after == 46.5
    assert classify(429, {"retry-after": "3"}, b"").retry_after == 3
    key = "AIzaSyA1234567890abcdefghijklmnopqrstuvw"
    failure = classify(400, {}, json.dumps(error(message=f"bad thing, key {key}")).encode())
    assert failure.client_message == "bad thing, key [key]"
    assert key not in failure.detail
    assert classify(429, {}, json.dumps(of_quota("x")).encode()).client_message is None


def checkpointed(text: str, **candidate: Any) -> bytes:
    told = {"index": 0, "content": {"parts": [{"text": text}]}, **candidate}
    return b"data: " + json.dumps({"candidates": [told], "usageMetadata": {"promptTokenCount": 3}}).encode() + b"\n\n"


def test_a_checkpoint_stands_behind_what_it_covers() -> None:
    stream = checkpointed("a", continuationToken="YQ==") + checkpointed("b", finishReason="STOP")
    events = [event for event in GEMINI.pausing().decoder().feed(stream) if not isinstance(event, Tokens)]
    assert events == [Start("", ""), Text("a"), Checkpoint("YQ=="), Text("b"), Finish("stop")]
    assert Checkpoint("YQ==") not in GEMINI.decoder().feed(stream), "nobody asked"


def test_a_pause_is_no_end_for_who_can_ask_for_the_rest() -> None:
    stream = checkpointed("a", continuationToken="YQ==", finishReason="CONTINUATION")
    *_, tokens, checkpoint, failed = GEMINI.pausing().decoder().feed(stream)
    assert isinstance(tokens, Tokens), "what the vendor counted is not lost"
    assert checkpoint == Checkpoint("YQ==")
    assert isinstance(failed, Failed)
    assert failed.kind is ErrorKind.PAUSED
    assert Finish("length") in GEMINI.decoder().feed(stream)


def test_a_pause_without_a_token_is_an_end() -> None:
    stream = checkpointed("a", finishReason="CONTINUATION")
    assert Finish("length") in GEMINI.pausing().decoder().feed(stream)


def test_the_rest_is_asked_for_by_the_same_request_and_its_token() -> None:
    asked = json.loads(GEMINI.from_checkpoint(b'{"contents":[],"store":false}', "YQ=="))
    assert asked == {"contents": [], "store": False, "continuationToken": "YQ=="}
