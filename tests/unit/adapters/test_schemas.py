"""Strangers' schemas: a verdict at a bounded cost, whatever they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.adapters.schemas import compile_schema, satisfies

PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city"],
    "additionalProperties": False,
}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
TOO_MUCH = "more than can be checked"
NOWHERE = "the schema refers to nothing, or to itself without end"


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"city": "Paris", "people": 2}, ""),
        ({"people": 2}, "$: required"),
        ({"city": "Paris", "people": -1}, "$.people: minimum"),
        ({"city": "Paris", "mayor": "?"}, "$: additionalProperties"),
        ([], "$: type"),
    ],
)
def test_a_value_is_held_against_a_schema(value: Any, fault: str) -> None:
    """What is wrong is told by place and keyword, never in the words of the value."""
    assert compile_schema(PLACE)(value) == fault
    assert satisfies(PLACE, value) == (not fault)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"type": "string"}},
          "items": [{"$ref": "#/definitions/a"}]}, [1]),
        ({"$defs": {"a": {"type": "string"}}, "prefixItems": [{"$ref": "#/$defs/a"}]}, [1]),
    ],
)  # fmt: skip
def test_a_schema_is_read_by_its_own_draft(schema: dict[str, Any], value: Any) -> None:
    assert compile_schema(schema)(value) == "$[0]: type"


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"properties": {"a": 1}}, {"items": [{"type": "string"}]}])
def test_what_is_no_schema_is_told_by_its_place(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^\$"):
        compile_schema(schema)
    assert not satisfies(schema, {})


def branching() -> dict[str, Any]:
    """2^40 branches in two kilobytes."""
    defs: dict[str, Any] = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    return {"$ref": "#/$defs/d0", "$defs": defs | {"d40": {}}}


@pytest.mark.parametrize(
    ("schema", "value", "fault"),
    [
        (branching(), {}, TOO_MUCH),
        ({"$ref": "#"}, {}, NOWHERE),
        ({"$ref": "#/nowhere"}, {}, NOWHERE),
        ({"$ref": "#/enum", "enum": [{}]}, {}, NOWHERE),
        ({"$ref": "#/properties", "properties": {"minLength": {}}}, "a", NOWHERE),
        ({"$ref": "http://["}, {}, NOWHERE),
        ({"$ref": "http://127.0.0.1:9/schema"}, {}, NOWHERE),
        ({"uniqueItems": True}, [{"a": i} for i in range(5000)], TOO_MUCH),
        ({"uniqueItems": True}, [str(i) for i in range(5000)], ""),
        ({"items": {"enum": [f"e{i}" for i in range(500)]}}, ["e499"] * 500, TOO_MUCH),
        ({"multipleOf": 0.5}, 10**400, TOO_MUCH),
        ({"anyOf": [{"type": "string"}] * 500}, {"a": "x" * 1_000_000}, TOO_MUCH),  # each branch quotes the value
    ],
)
def test_no_check_lasts_long(schema: dict[str, Any], value: Any, fault: str) -> None:
    assert compile_schema(schema)(value) == fault


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "(a+)+$"}, "a" * 50 + "!"),
        ({"patternProperties": {"(a+)+$": False}, "additionalProperties": False}, {"a" * 50 + "!": 1}),
        ({"type": "object", "unevaluatedProperties": False}, {"a": 1}),
        ({"properties": {"a": {"$schema": DRAFT_7, "pattern": "(a+)+$"}}}, {"a": "a" * 9 + "!"}),
        ({"$schema": DRAFT_7, "pattern": "(a+)+$", "items": {"$ref": "#"}}, ["a" * 9 + "!"]),
    ],
)
def test_what_cannot_be_bounded_is_passed_over_but_never_satisfied(schema: dict[str, Any], value: Any) -> None:
    assert compile_schema(schema)(value) == ""
    assert not satisfies(schema, value)


def test_a_schema_has_a_length_and_an_age() -> None:
    """An offline rule's value is held to the caller's schema, whose length nobody else has looked at."""
    assert not satisfies({"description": "x" * (32 << 10)}, {})
    with pytest.raises(ValueError, match="too old"):
        compile_schema({"$schema": "http://json-schema.org/draft-03/schema#"})


@pytest.mark.filterwarnings("ignore")  # one that fetches would say so, and fail for that
def test_nothing_is_fetched(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "object"}')
    assert compile_schema({"$ref": file.as_uri()})({}) == NOWHERE


def test_a_property_may_have_any_name() -> None:
    assert compile_schema({"properties": {"pattern": {"type": "string"}}})({"pattern": 1}) == "$.pattern: type"


def test_one_check_does_not_pay_for_another() -> None:
    check = compile_schema({"items": {"type": "integer"}})
    assert {check(list(range(40_000))) for _ in range(4)} == {""}
