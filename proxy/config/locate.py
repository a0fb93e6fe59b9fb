"""From pydantic's errors to problems a person can mend: the line, the path, plain words, the nearest known name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from proxy.config.document import Document
from proxy.config.problems import Path, Problem, suggest

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping (key: value)",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "string_type": "text",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_long": "no more than {max_length} in the list",
    "too_short": "at least {min_length} in the list",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
}
_FOUND = {
    bool: "true or false",
    dict: "a mapping",
    float: "a number",
    int: "a whole number",
    list: "a list",
    str: "text",
    type(None): "nothing",
}
_NOT_BOOLEAN = frozenset({"yes", "no", "on", "off", "y", "n"})


def _wrong_type(error: Mapping[str, Any]) -> str:
    value = error["input"]
    text = f"expected {_EXPECTED[error['type']]}, found {_FOUND.get(type(value), 'something else')}"
    if error["type"] == "bool_type" and isinstance(value, str) and value.lower() in _NOT_BOOLEAN:
        text += f" (`{value}` is a word here)"
    return text


def _wrong_choice(error: Mapping[str, Any]) -> str:
    choices = str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    hint = suggest(error["input"], choices)
    wanted = f"expected one of {', '.join(choices)}" if len(choices) > 1 else f"expected {choices[0]}"
    return wanted + (hint if "did you mean" in hint else "")


def _words(error: Mapping[str, Any]) -> str:
    """What to tell a person; never the value itself, which may be a secret in the wrong place."""
    kind = error["type"]
    if kind in _EXPECTED:
        return _wrong_type(error)
    if kind in _BOUNDS:
        return "expected " + _BOUNDS[kind].format_map(error["ctx"])
    if kind in ("literal_error", "enum"):
        return _wrong_choice(error)
    if kind == "string_pattern_mismatch":
        return f"expected text of the form {error['ctx']['pattern']}"
    if kind in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"])
    return str(error["msg"])


def _children(node: Mapping[str, Any], step: str | int) -> Iterable[Any]:
    if isinstance(step, int):
        yield from node.get("prefixItems", ())
        yield node.get("items")
    elif step in node.get("properties", {}):
        yield node["properties"][step]
    else:
        yield node.get("additionalProperties")
        yield from node.get("patternProperties", {}).values()


def _branches(schema: Mapping[str, Any], node: Any) -> list[Mapping[str, Any]]:
    """`node` itself or, behind references and unions, the alternatives it stands for."""
    if not isinstance(node, Mapping):
        return []
    if "$ref" in node:
        return _branches(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
    unions: Sequence[Any] = [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]
    return [node, *(found for part in unions for found in _branches(schema, part))]


def known_keys(schema: Mapping[str, Any], path: Path) -> set[str]:
    """The keys that a JSON Schema allows in the mapping at `path`."""
    nodes = _branches(schema, schema)
    for step in path:
        nodes = [found for node in nodes for child in _children(node, step) for found in _branches(schema, child)]
    return {key for node in nodes for key in node.get("properties", ())}


def _is_echo(error: Mapping[str, Any]) -> bool:
    """True for a list that is too short only because its members failed, each with an error of its own."""
    return error["type"] == "too_short" and bool(error["input"])


def _either(messages: Sequence[str]) -> str:
    """What the alternatives say, as one sentence: `expected auto or at least 1; did you mean …`."""
    parts = [message.removeprefix("expected ").partition("; ") for message in messages]
    if len(parts) == 1 or not all(message.startswith("expected ") for message in messages):
        return "; or ".join(messages)
    wanted = " or ".join(what for what, _, _ in parts)
    hints = [hint for _, _, hint in parts if hint]
    return "; ".join([f"expected {wanted}", *hints])


def problems_of(error: ValidationError, document: Document, schema: Callable[[], Mapping[str, Any]]) -> list[Problem]:
    """Every error of a failed validation as a problem of the file.

    The alternatives of a union fail one by one at the same place; they become one problem. `schema` gives the JSON
    Schema of the file; it is asked only when there is a name to suggest.
    """
    at: dict[Path, list[str]] = {}
    known: Mapping[str, Any] | None = None
    for found in error.errors(include_url=False):
        if _is_echo(found):
            continue
        place = document.settle(found["loc"])
        if found["type"] == "extra_forbidden":
            known = schema() if known is None else known
            message = "unknown key" + suggest(place[-1] if place else "", known_keys(known, place[:-1]))
        elif found["type"] == "missing":
            place = (*place, str(found["loc"][-1]))
            message = "this key is required"
        else:
            message = _words(found)
        at.setdefault(place, [])
        if message not in at[place]:
            at[place].append(message)
    return [document.problem(place, _either(messages)) for place, messages in at.items()]
