"""What can be a JSON schema, against the metaschemas themselves."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.schema_shape import misshapen

schemas = st.deferred(lambda: st.booleans() | objects)
some = st.lists(schemas, min_size=1, max_size=3)
by_name = st.dictionaries(st.sampled_from("abc"), schemas, max_size=2)
limit = st.floats(-9, 9) | st.integers()
names = st.lists(st.sampled_from("abc"), unique=True)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "$defs": by_name,
    "additionalProperties": schemas,
    "anyOf": some,
    "dependentRequired": st.dictionaries(st.sampled_from("abc"), names, max_size=2),
    "enum": st.lists(st.integers() | st.text(max_size=2), max_size=3),
    "exclusiveMinimum": limit,
    "format": st.text(max_size=3),
    "items": schemas,
    "maxLength": st.integers(0, 9) | st.just(2.0),
    "minimum": limit,
    "multipleOf": st.floats(0.1, 9) | st.integers(1),
    "not": schemas,
    "prefixItems": some,
    "properties": by_name,
    "required": names,
    "type": st.sampled_from(["string", "null", ["object", "null"]]),
    "uniqueItems": st.booleans(),
    "x-own": st.integers() | st.text(max_size=3),
}
objects = st.fixed_dictionaries({}, optional=GOOD)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.just(0.5) | st.sampled_from(["string", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*GOOD]), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(objects)
def test_what_the_metaschema_takes_is_taken(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert misshapen(schema) == ""


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD]), anything, max_size=3), anything)
def test_what_is_taken_can_be_checked_against(schema: Any, value: Any) -> None:
    """Whatever stands there: no value makes the validator trip over it."""
    if misshapen(schema) == "":
        list(jsonschema.Draft202012Validator(schema).iter_errors(value))


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (1, "$"),
        ({"type": "nothing"}, "$.type"),
        ({"type": []}, "$.type"),
        ({"properties": {"a": {"items": {"minimum": "1"}}}}, "$.properties.a.items.minimum"),
        ({"anyOf": [{}, {"not": 3}]}, "$.anyOf[1].not"),
        ({"anyOf": []}, "$.anyOf"),
        ({"required": True}, "$.required"),
        ({"multipleOf": 0}, "$.multipleOf"),
        ({"minLength": -1}, "$.minLength"),
        ({"maxItems": float("inf")}, "$.maxItems"),
        ({"dependentRequired": {"a": "b"}}, "$.dependentRequired"),
        ({"dependencies": {"a": [1]}}, "$.dependencies"),
        ({"dependencies": {"a": ["b"], "c": {"$ref": 1}}}, "$.dependencies.c.$ref"),
        ({"items": [{}]}, "$.items"),
    ],
)
def test_the_first_fault_is_told_by_its_place(schema: Any, place: str) -> None:
    assert misshapen(schema) == place


def test_older_drafts_have_lists_of_items() -> None:
    assert misshapen({"items": [{"type": "string"}]}, has_tuples=True) == ""
    assert misshapen({"items": [{"type": 1}]}, has_tuples=True) == "$.items[0].type"
