"""The part of JSON Schema that the vendor's grammar enforces, and what becomes of the rest.

A keyword that the grammar does not know is a 400 at the vendor, so it is taken out and told to the model in the
description instead, as the vendor's own SDK does (`lib/_parse/_transform.py` of version 2.11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.wire.lenient import write_json

_REFUSED: Final = frozenset(
    """minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern
    minItems maxItems uniqueItems contains minContains maxContains prefixItems
    minProperties maxProperties patternProperties propertyNames dependentRequired dependentSchemas
    unevaluatedProperties unevaluatedItems if then else not""".split()
)
_FORMATS: Final = frozenset("date-time time date duration email hostname uri ipv4 ipv6 uuid".split())
_NAMED: Final = frozenset({"properties", "$defs", "definitions"})
_EITHER: Final[Mapping[str, str]] = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}


def restrict(schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The schema that the grammar takes, and the keywords that are only told, each once."""
    told: dict[str, None] = {}
    return _restrict(schema, told), tuple(told)


def _restrict(schema: Any, told: dict[str, None]) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    for name, value in schema.items():
        if _is_refused(name, value):
            notes[name] = value
        elif name in _NAMED and isinstance(value, Mapping):
            kept[name] = {key: _restrict(inner, told) for key, inner in value.items()}
        elif name in _EITHER and isinstance(value, list):
            kept.setdefault(_EITHER[name], []).extend(_restrict(inner, told) for inner in value)
        elif name == "items":
            kept[name] = _restrict(value, told)
        elif name != "additionalProperties":
            kept[name] = value
    if "$ref" in kept:  # nothing may stand beside a reference but definitions
        return {name: value for name, value in kept.items() if name == "$ref" or name in _NAMED}
    if schema.get("type") == "object" or "properties" in kept:
        kept["additionalProperties"] = False
        if schema.get("additionalProperties"):
            notes["additionalProperties"] = schema["additionalProperties"]
    # `if: false` and the like demand nothing.
    notes = {name: value for name, value in notes.items() if value is not False}
    told.update(dict.fromkeys(notes))
    if notes:
        kept["description"] = "\n".join(_description(kept, notes))
    return kept


def _is_refused(name: str, value: Any) -> bool:
    if name == "minItems":
        return value not in (0, 1)
    return name in _REFUSED or (name == "format" and value not in _FORMATS)


def _description(kept: Mapping[str, Any], notes: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(kept.get("description"), str):
        yield kept["description"]
    for name, value in notes.items():
        yield f"{name}: {value if isinstance(value, str) else write_json(value)}"
