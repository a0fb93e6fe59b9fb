"""Whether a JSON value can be a JSON schema: that each keyword has a value of its kind, at every depth.

The metaschemas say the same and more; but to be held against them takes a schema of 30 kB more than a second, and this
a millisecond or two. It is what a validator relies on: past it, checking a value raises nothing unforeseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})

_Inner = Iterable[tuple[str, Any]]
"""The schemas within a keyword's value, and where."""

_Read = Callable[[Any], _Inner | None]
"""Of a keyword's value; None if it cannot be one."""


def misshapen(schema: Any, *, has_tuples: bool = False) -> str:
    """The place of the first thing that cannot stand there, as a JSON path; empty if there is none.

    In older drafts `items` `has_tuples`: it may be a list.
    """
    found: list[tuple[int, str, Any]] = [(-1, "$", schema)]
    for number, (_, _, one) in enumerate(found):  # which grows meanwhile
        if isinstance(one, bool):
            continue
        if not isinstance(one, Mapping):
            return _path(found, number)
        for name, value in one.items():
            read = _KEYWORDS.get(name)
            inner = () if read is None else read(value)
            if inner is None or (name == "items" and isinstance(value, list) and not has_tuples):
                return f"{_path(found, number)}.{name}"
            found += [(number, f".{name}{place}", within) for place, within in inner]
    return ""


def _path(found: list[tuple[int, str, Any]], number: int) -> str:
    places = []
    while number >= 0:
        number, place, _ = found[number]
        places.append(place)
    return "".join(reversed(places))


def _schema(value: Any) -> _Inner:
    return [("", value)]


def _list(value: Any) -> _Inner | None:
    return [(f"[{number}]", one) for number, one in enumerate(value)] if isinstance(value, list) and value else None


def _schema_or_list(value: Any) -> _Inner | None:
    return _list(value) if isinstance(value, list) else _schema(value)


def _named(value: Any) -> _Inner | None:
    return [(f".{name}", one) for name, one in value.items()] if isinstance(value, Mapping) else None


def _schemas_or_names(value: Any) -> _Inner | None:
    """`dependencies` of older drafts."""
    named = _named(value)
    if named is None or any(isinstance(one, list) and _names(one) is None for _, one in named):
        return None
    return [(place, one) for place, one in named if not isinstance(one, list)]


def _names(value: Any) -> _Inner | None:
    return () if isinstance(value, list) and all(isinstance(one, str) for one in value) else None


def _names_by_name(value: Any) -> _Inner | None:
    return () if isinstance(value, Mapping) and all(_names(one) is not None for one in value.values()) else None


def _type(value: Any) -> _Inner | None:
    kinds = value if isinstance(value, list) and value else [value]
    return () if all(isinstance(kind, str) and kind in _TYPES for kind in kinds) else None


def _is(test: Callable[[Any], bool]) -> _Read:
    return lambda value: () if test(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and (isinstance(value, int) or value.is_integer())


_text = _is(lambda value: isinstance(value, str))
_count = _is(_is_count)
_number = _is(_is_number)
_limit = _is(lambda value: isinstance(value, bool) or _is_number(value))  # a boolean in draft 4

_KEYWORDS: Final[Mapping[str, _Read]] = {
    **dict.fromkeys(("$ref", "$id", "$schema", "$anchor", "$dynamicRef", "$dynamicAnchor", "pattern", "format"), _text),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _count),
    **dict.fromkeys(("minContains", "maxContains"), _count),
    **dict.fromkeys(("minimum", "maximum"), _number),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), _limit),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _list),
    **dict.fromkeys(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"), _named),
    **dict.fromkeys(("not", "if", "then", "else", "contains", "propertyNames", "additionalItems"), _schema),
    **dict.fromkeys(("additionalProperties", "unevaluatedItems", "unevaluatedProperties"), _schema),
    "items": _schema_or_list,
    "dependencies": _schemas_or_names,
    "dependentRequired": _names_by_name,
    "multipleOf": _is(lambda value: _is_number(value) and value > 0),
    "uniqueItems": _is(lambda value: isinstance(value, bool)),
    "enum": _is(lambda value: isinstance(value, list)),
    "required": _names,
    "type": _type,
}
