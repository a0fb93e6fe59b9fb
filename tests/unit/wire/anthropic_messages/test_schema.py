"""What is left of a JSON schema, and what is told instead."""

from __future__ import annotations

import pytest
from anthropic.lib._parse._transform import transform_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.dialects.anthropic_messages.schema import restrict

STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "kept", "told"),
    [
        (STRING, STRING, ()),
        ({"type": "object"}, {"type": "object", "additionalProperties": False}, ()),
        (
            {"type": "integer", "minimum": 1, "maximum": 9, "description": "n"},
            {"type": "integer", "description": "n\nminimum: 1\nmaximum: 9"},
            ("minimum", "maximum"),
        ),
        ({"type": "array", "items": STRING, "minItems": 1}, {"type": "array", "items": STRING, "minItems": 1}, ()),
        ({"type": "array", "minItems": 2}, {"type": "array", "description": "minItems: 2"}, ("minItems",)),
        ({"type": "array", "uniqueItems": False}, {"type": "array"}, ()),
        ({"oneOf": [STRING, {"type": "null"}]}, {"anyOf": [STRING, {"type": "null"}]}, ()),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}, ()),
        ({"type": "string", "format": "odd"}, {"type": "string", "description": "format: odd"}, ("format",)),
        ({"not": {"const": 1}}, {"description": 'not: {"const":1}'}, ("not",)),
        ({"$ref": "#/$defs/a", "description": "x"}, {"$ref": "#/$defs/a"}, ()),
        (
            {"type": "object", "additionalProperties": STRING},
            {"type": "object", "additionalProperties": False, "description": 'additionalProperties: {"type":"string"}'},
            ("additionalProperties",),
        ),
        (
            {"$defs": {"a": {"type": "string", "pattern": "x"}}, "$ref": "#/$defs/a"},
            {"$defs": {"a": {"type": "string", "description": "pattern: x"}}, "$ref": "#/$defs/a"},
            ("pattern",),
        ),
        ({"properties": {"minimum": STRING}}, {"properties": {"minimum": STRING}, "additionalProperties": False}, ()),
    ],
)
def test_the_subset(schema, kept, told):
    assert restrict(schema) == (kept, told)


LEAVES = st.sampled_from(
    [
        {"type": "string", "maxLength": 3, "format": "email"},
        {"type": "integer", "multipleOf": 2},
        {"type": "boolean"},
        {"enum": ["a", 1]},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda one: {"type": "array", "items": one, "maxItems": 4}),
        st.lists(inner, min_size=1, max_size=2).map(lambda some: {"oneOf": some}),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=2).map(
            lambda some: {"type": "object", "properties": some, "minProperties": 1}
        ),
    ),
    max_leaves=6,
)


def bare(schema):
    """Without the descriptions, in which the two differ in wording."""
    if isinstance(schema, dict):
        return {name: bare(value) for name, value in schema.items() if name != "description"}
    return [bare(one) for one in schema] if isinstance(schema, list) else schema


@given(SCHEMAS)
@settings(max_examples=100, deadline=None)
def test_it_is_the_subset_of_the_vendor_s_own_sdk(schema):
    assert bare(restrict(schema)[0]) == bare(transform_schema(schema))
