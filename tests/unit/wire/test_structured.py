"""A form that a target lacks is asked for in words, and in the native form that comes nearest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.chat import Chat, Losses, Message, ResponseFormat, TextPart
from proxy.core.decision import Mode, Quirks, Target
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.family import Family
from proxy.wire.crossing import insist
from proxy.wire.dialects import UpstreamDialect
from proxy.wire.dialects.anthropic_messages import DIALECT as MESSAGES
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.structured import JSON_OBJECT, JSON_SCHEMA, LONGEST_SCHEMA, OPEN_SCHEMA, emulate, unchecked
from tests.unit.wire.crossing import put
from tests.unit.wire.test_fit import USER, sent, target

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
EMULATED = "response_format: emulated: the model is asked for it in words, and its answer is checked"
OF_SCHEMA = ResponseFormat(JSON_SCHEMA, "n", "A thing.", SCHEMA, strict=True)
OF_OBJECT = ResponseFormat(JSON_OBJECT)
HI = Message("user", (TextPart("hi"),))


def told(wanted: ResponseFormat | None, no_forms: set[str], *messages: Message) -> tuple[Chat, list[str], bool]:
    """The chat that is sent, the losses, and whether the answer is held to a form."""
    losses = Losses()
    chat = Chat("m", messages or (HI,), response_format=wanted)
    chat, form = emulate(chat, frozenset(no_forms), unchecked, losses)
    return chat, list(map(str, losses.found)), form is not None


@pytest.mark.parametrize(
    ("wanted", "no_forms"),
    [
        (None, {JSON_SCHEMA, JSON_OBJECT}),
        (ResponseFormat("text"), {JSON_SCHEMA, JSON_OBJECT}),
        (OF_SCHEMA, {JSON_OBJECT}),
        (OF_SCHEMA, {JSON_OBJECT, OPEN_SCHEMA}),
        (OF_OBJECT, {JSON_SCHEMA}),
        (ResponseFormat(JSON_SCHEMA, "n"), {JSON_SCHEMA}),  # without a schema it is nothing but an object
    ],
)
def test_what_the_target_has_stays_as_it_is(wanted: ResponseFormat | None, no_forms: set[str]) -> None:
    assert told(wanted, no_forms) == (Chat("m", (HI,), response_format=wanted), [], False)


@pytest.mark.parametrize(
    ("wanted", "no_forms", "native"),
    [
        (OF_SCHEMA, {JSON_SCHEMA}, JSON_OBJECT),
        (OF_SCHEMA, {JSON_SCHEMA, JSON_OBJECT}, None),
        (OF_OBJECT, {JSON_OBJECT}, JSON_SCHEMA),
        (OF_OBJECT, {JSON_OBJECT, OPEN_SCHEMA}, None),
        (OF_OBJECT, {JSON_OBJECT, JSON_SCHEMA}, None),
        (ResponseFormat(JSON_SCHEMA, "n"), {JSON_OBJECT, OPEN_SCHEMA}, None),
    ],
)
def test_words_and_the_nearest_native_form(wanted: ResponseFormat, no_forms: set[str], native: str | None) -> None:
    chat, losses, is_held = told(wanted, no_forms)
    assert (losses, is_held) == ([EMULATED], True)
    assert (chat.response_format.kind if chat.response_format else None) == native
    words = chat.messages[0]
    assert (words.role, chat.messages[1:]) == ("system", (HI,))
    assert "JSON" in words.text
    assert (json.dumps(SCHEMA, separators=(",", ":")) in words.text) == (wanted is OF_SCHEMA)
    assert ("A thing." in words.text) == (wanted is OF_SCHEMA)


@pytest.mark.parametrize(
    ("schema", "is_open"),
    [
        ({"type": "object"}, True),
        ({"type": ["object", "null"], "additionalProperties": {"type": "integer"}}, True),
        ({"properties": {"by_name": {"type": "object", "additionalProperties": True}}}, True),
        ({"$defs": {"d": {"items": [{"type": "object"}]}}, "$ref": "#/$defs/d"}, True),
        ({"type": "object", "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": True}, False),
        ({"type": "object", "anyOf": [{"properties": {"a": {}}}]}, False),
        ({"const": {"type": "object"}}, False),
    ],
)
def test_dictionaries_are_emulated_where_schemas_must_be_closed(schema: dict[str, Any], is_open: bool) -> None:
    """Closed, they would always be empty; in words they are what they are."""
    wanted = ResponseFormat(JSON_SCHEMA, "n", schema=schema)
    assert told(wanted, {JSON_OBJECT, OPEN_SCHEMA})[2] == is_open
    assert not told(wanted, set())[2]


def test_the_words_come_last_in_the_one_system_message() -> None:
    """Many chat templates take one, and take it only at the beginning."""
    brief = Message("developer", (TextPart("Be brief."),))
    first, second = told(OF_OBJECT, {JSON_OBJECT}, brief, HI)[0].messages
    assert (first.role, second) == ("developer", HI)
    [part] = first.parts
    assert isinstance(part, TextPart)
    assert part.text.startswith("Be brief.\n\nAnswer with one JSON object")
    marked = Message("system", (TextPart("Be brief.", {"prompt_cache_breakpoint": {}}),))
    kept, added = told(OF_OBJECT, {JSON_OBJECT}, marked, HI)[0].messages[0].parts
    assert (kept, added) == (marked.parts[0], TextPart(part.text.removeprefix("Be brief.")))
    assert told(OF_OBJECT, {JSON_OBJECT}, Message("system"), HI)[0].messages[0].text.startswith("Answer")


@pytest.mark.parametrize(
    ("schema", "keywords"),
    [
        ({"properties": {"b": {"pattern": "^x$"}}}, ["pattern"]),
        ({"anyOf": [{"pattern": "y"}, {"patternProperties": {"^z": {}}}, {"pattern": "z"}]},
         ["pattern", "patternProperties"]),
        ({"properties": {"pattern": {"type": "string"}}}, []),  # a name, not a keyword
        ({"enum": [{"pattern": 1}]}, []),
    ],
)  # fmt: skip
def test_what_is_told_but_not_checked_is_said(schema: dict[str, Any], keywords: list[str]) -> None:
    losses = told(ResponseFormat(JSON_SCHEMA, "n", schema=schema), {JSON_SCHEMA})[1]
    told_only = "response_format.json_schema.schema: {} is told to the model, not checked"
    assert losses == [EMULATED, *map(told_only.format, keywords)]


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"description": "x" * LONGEST_SCHEMA}, deep(5000)])
def test_a_schema_that_is_none_or_too_long_is_refused_before_anything_is_sent(schema: dict[str, Any]) -> None:
    from proxy.adapters.schemas import compile_schema

    chat = Chat("m", (HI,), response_format=ResponseFormat(JSON_SCHEMA, "n", schema=schema))
    with pytest.raises(ProxyError) as refused:
        emulate(chat, frozenset({JSON_SCHEMA}), compile_schema, Losses())
    assert (refused.value.kind, refused.value.param) == (ErrorKind.BAD_REQUEST, "response_format.json_schema.schema")


# The whole crossing.

AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
NO_SCHEMA = Quirks(no_forms=frozenset({JSON_SCHEMA}))
NO_OBJECT = Quirks(no_forms=frozenset({JSON_OBJECT}))


def asked(wanted: Any, to: Target, spoken: UpstreamDialect = CHAT, **fields: Any) -> Any:
    body = {"model": "x", "messages": [USER], "response_format": wanted, **fields}
    return put(json.dumps(body).encode(), to, spoken=spoken)


def answer(text: str, finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode()


@pytest.mark.parametrize(
    ("wanted", "quirks"), [(AS_SCHEMA, NO_OBJECT), ({"type": "text"}, NO_SCHEMA), (AS_SCHEMA, Quirks())]
)
def test_a_native_form_keeps_the_caller_s_bytes(wanted: Any, quirks: Quirks) -> None:
    crossing = asked(wanted, target(quirks))
    assert (crossing.mode, crossing.losses) == (Mode.IDENTITY, ())


def test_a_route_s_own_wish_is_emulated_too() -> None:
    body = json.dumps({"model": "x", "messages": [USER]}).encode()
    assert put(body, target(NO_OBJECT), {"response_format": {"type": "json_object"}}).losses == (EMULATED,)


def test_a_name_in_escapes_is_seen() -> None:
    body = rb'{"model":"x","messages":[{"role":"user","content":"hi"}],"respons\u0065_format":{"type":"json_object"}}'
    assert put(body, target(NO_OBJECT)).losses == (EMULATED,)


@pytest.mark.parametrize(
    ("wanted", "to", "native"),
    [
        (AS_SCHEMA, target(NO_SCHEMA), {"type": "json_object"}),
        (AS_SCHEMA, target(family=Family(no_forms=frozenset({JSON_SCHEMA}))), {"type": "json_object"}),
        (
            {"type": "json_object"}, target(NO_OBJECT),
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
        ),
    ],
)  # fmt: skip
def test_what_an_openai_shaped_server_is_sent(wanted: Any, to: Target, native: Any) -> None:
    crossing = asked(wanted, to)
    body = sent(crossing)
    assert (crossing.mode, crossing.losses, body["response_format"]) == (Mode.TRANSLATE, (EMULATED,), native)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("wanted", "family"),
    [({"type": "json_object"}, None), (AS_SCHEMA, Family(no_forms=frozenset({JSON_SCHEMA})))],
)
def test_what_the_vendor_without_json_is_sent(wanted: Any, family: Family | None) -> None:
    crossing = asked(wanted, target(Quirks(), family, "anthropic_messages"), MESSAGES, max_tokens=9)
    body = sent(crossing)
    assert crossing.losses == (EMULATED,)
    assert "output_config" not in body
    assert "JSON" in body["system"][0]["text"]


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_a_form_beside_tools() -> None:
    to = target(family=Family(tools_in_form=False))
    assert asked(AS_SCHEMA, to).losses == ()
    assert "response_format" not in sent(asked(AS_SCHEMA, to, tools=[TOOL]))
    assert asked(AS_SCHEMA, target(family=Family()), tools=[TOOL]).mode is Mode.IDENTITY


def test_a_whole_answer_that_fits() -> None:
    crossing = asked(AS_SCHEMA, target(NO_SCHEMA))
    body = crossing.answer([answer('```json\n{"a": "b"}\n```')]).body
    assert json.loads(body)["choices"][0]["message"]["content"] == '{"a": "b"}\n'


@pytest.mark.parametrize("text", ["Sure.", '{"b":1}', "{"])
def test_a_whole_answer_that_does_not_fit(text: str) -> None:
    with pytest.raises(UpstreamFailure) as failure:
        asked(AS_SCHEMA, target(NO_SCHEMA)).answer([answer(text)])
    assert failure.value.kind is ErrorKind.UNFIT
    crossing = asked(AS_SCHEMA, target(NO_SCHEMA))
    assert crossing.answer([answer(text, "length")]).finish == "length"


@pytest.mark.parametrize(("text", "begun"), [("Sure.", False), ('{"b":1}', True)])
def test_a_stream_that_does_not_fit(text: str, begun: bool) -> None:
    """Words never reach the client, so another target may still answer; after an object it is an error."""
    passage = asked(AS_SCHEMA, target(NO_SCHEMA), stream=True).passage(0)
    chunks = [{"delta": {"content": text}}, {"delta": {}, "finish_reason": "stop"}]
    frames = [f"data: {json.dumps({'choices': [{'index': 0} | one]})}\n\n".encode() for one in chunks]
    out = passage.feed(b"".join([*frames, b"data: [DONE]\n\n"]))
    assert (passage.failure, passage.begun, passage.ended) == (ErrorKind.UNFIT, begun, False)
    assert (json.dumps(text)[1:-1].encode() in out) == begun
    assert b"[DONE]" not in out
    assert b'"stop"' not in out


def test_a_strict_route_takes_no_emulation() -> None:
    with pytest.raises(ProxyError) as refused:
        insist(asked(AS_SCHEMA, target(NO_SCHEMA)))
    assert refused.value.param == "response_format"
