"""Structured output where there is none: the form is asked for in words, and in the native form that comes nearest.

A target may lack a form in three places: its protocol has no words for it, the server refuses it, or the model cannot
be held to it. All three state it as `no_forms`. What then comes back is held to the form by `wire/held.py`.

    asked for      lacking        sent instead
    json_schema    json_schema    words and the schema, and json_object where there is that
    json_schema    open_schema    the same, if the schema has dictionaries: a closed one would keep them empty
    json_object    json_object    words, and a schema that any object satisfies where the protocol takes such schemas
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.core.chat import Chat, Losses, Message, ResponseFormat, TextPart
from proxy.core.ports import CompileSchema, FaultOf
from proxy.wire.lenient import write_json
from proxy.wire.peek import refuse

JSON_SCHEMA: Final = "json_schema"
JSON_OBJECT: Final = "json_object"
FORMS: Final = frozenset({JSON_SCHEMA, JSON_OBJECT})
OPEN_SCHEMA: Final = "open_schema"
"""A schema that leaves room for fields it does not name; a protocol may enforce closed ones only."""

LONGEST_SCHEMA: Final = 32 << 10
"""Characters of a schema that is put into words; it is read, and paid for, as part of the prompt."""

RESPONSE_FORMAT: Final = "response_format"
_SCHEMA: Final = f"{RESPONSE_FORMAT}.json_schema.schema"
_ANY_OBJECT: Final = ResponseFormat(JSON_SCHEMA, "answer", schema={"type": "object"})
_PLAIN_OBJECT: Final = ResponseFormat(JSON_OBJECT)
_ONLY_JSON: Final = "Answer with one JSON object and nothing else: no other words before or after it, no code fence."
_IN_FORM: Final = (
    "Answer with JSON that satisfies the JSON schema below, and with nothing else: "
    "no other words before or after it, no code fence."
)
_ASKED: Final = "emulated: the model is asked for it in words, and its answer is checked"

UNCHECKED: Final = frozenset(
    {"pattern", "patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"}
)
"""Keywords that the model is told and nobody checks: what a stranger writes there can take for ever to check."""
_LITERAL: Final = frozenset({"enum", "const", "default", "examples"})
_SAY_MORE: Final = ("properties", "$ref", "anyOf", "oneOf", "allOf")
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must be, where the vendor does not see to it.

    `openers` are the characters that it may begin with. `fault_of` says what is wrong with a JSON value, nothing if it
    is as it should be.
    """

    openers: str
    fault_of: FaultOf


def form_of(wanted: ResponseFormat | None) -> str | None:
    """The form that is really asked for, None for plain text: without a schema there is nothing but an object."""
    if wanted is None or wanted.kind == "text":
        return None
    return JSON_OBJECT if wanted.schema is None else wanted.kind


def emulate(
    chat: Chat, no_forms: frozenset[str], compile_schema: CompileSchema, losses: Losses
) -> tuple[Chat, Form | None]:
    """The chat as a target without these forms can be asked, and what its answer must be held to.

    None if the target sees to the form itself. Raises ProxyError BAD_REQUEST for a schema that is none or too long.
    """
    wanted, form = chat.response_format, form_of(chat.response_format)
    if wanted is None or form is None or not _is_lacking(form, wanted.schema, no_forms):
        return chat, None
    if form == JSON_OBJECT:
        has_schemas = not no_forms & {JSON_SCHEMA, OPEN_SCHEMA}
        losses.drop(RESPONSE_FORMAT, _ASKED)
        return _told(chat, _ONLY_JSON, _ANY_OBJECT if has_schemas else None), Form("{", _no_fault)
    schema = wanted.schema or {}
    try:
        words, check = _in_words(wanted, schema), compile_schema(schema)
    except (ValueError, RecursionError) as error:
        refuse(f"`{_SCHEMA}` is not a JSON schema: {error}", _SCHEMA)
    losses.drop(RESPONSE_FORMAT, _ASKED)
    for keyword in dict.fromkeys(name for one in _schemas(schema) for name in one if name in UNCHECKED):
        losses.drop(_SCHEMA, f"{keyword} is told to the model, not checked")
    return _told(chat, words, None if JSON_OBJECT in no_forms else _PLAIN_OBJECT), Form("{[", check)


def unchecked(_schema: Mapping[str, Any]) -> FaultOf:
    """A `CompileSchema` for who only wants to know how a request would be sent."""
    return _no_fault


def _no_fault(_value: Any) -> str:
    return ""


def _in_words(wanted: ResponseFormat, schema: Mapping[str, Any]) -> str:
    text = write_json(schema)
    if len(text) > LONGEST_SCHEMA:
        refuse(f"`{_SCHEMA}` is too long for this model: send at most {LONGEST_SCHEMA} characters.", _SCHEMA)
    described = [wanted.description] if wanted.description else []
    return "\n".join([_IN_FORM, *described, text])


def _told(chat: Chat, words: str, native: ResponseFormat | None) -> Chat:
    """The words at the end of the leading system message; many chat templates take only one of those."""
    first = chat.messages[0] if chat.messages else None
    if first is None or first.role not in ("system", "developer"):
        messages = (Message("system", (TextPart(words),)), *chat.messages)
    else:
        messages = (_with_words(first, words), *chat.messages[1:])
    return replace(chat, messages=messages, response_format=native)


def _with_words(message: Message, words: str) -> Message:
    last = message.parts[-1] if message.parts else None
    if isinstance(last, TextPart) and not last.extra:
        return replace(message, parts=(*message.parts[:-1], TextPart(f"{last.text}\n\n{words}")))
    return replace(message, parts=(*message.parts, TextPart(f"\n\n{words}" if message.parts else words)))


def _is_lacking(form: str, schema: Mapping[str, Any] | None, no_forms: frozenset[str]) -> bool:
    """True if the target lacks the form, or takes closed schemas only and in this one something must be open."""
    if form in no_forms:
        return True
    return form == JSON_SCHEMA and OPEN_SCHEMA in no_forms and any(map(_is_open, _schemas(schema)))


def _is_open(schema: Mapping[str, Any]) -> bool:
    """True for objects whose fields have no names beforehand (a dictionary): if closed, they are always empty."""
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    is_closed = schema.get("additionalProperties") is False
    return is_object and not is_closed and not any(schema.get(name) for name in _SAY_MORE)


def _schemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and those in it, however deep."""
    found = [schema]
    for one in found:  # which grows meanwhile
        if isinstance(one, list):
            found += one
        elif isinstance(one, Mapping):
            yield one
            for name, value in one.items():
                if name in _NAMED and isinstance(value, Mapping):
                    found += value.values()
                elif name not in _LITERAL:
                    found.append(value)
