"""The JSON Schema that editors get: that of the decoded sections, and the short forms that a file may use for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.config.schema import json_schema

_SHORT: Mapping[str, Mapping[str, Any]] = {
    "TargetConfig": {"type": "string", "description": "The same as `{to: text}`."},
    "ModelConfig": {
        "type": "array",
        "items": {"$ref": "#/$defs/TargetConfig"},
        "description": "The same as `{use: list}`.",
    },
    "HedgeConfig": {"type": "boolean", "description": "`true` is the same as an empty section, `false` as none."},
}
"""Sections that may be written as something simpler."""

_SINGLE = ("MatchConfig", "TimeConfig")
"""Sections in which one value may stand for a list of one."""


def editor_schema() -> dict[str, Any]:
    """The schema of everything that loads; a file that it refuses would be refused, too."""
    schema = json_schema()
    named = schema["$defs"]
    for name in _SINGLE:
        named[name]["properties"] = _with_singles(named[name]["properties"])
    models = schema["properties"]["models"]
    for name, short in _SHORT.items():
        if name in named:
            named[name] = {"anyOf": [short, named[name]]}
    for pattern, inline in models.get("patternProperties", {}).items():
        if inline.get("title") == "ModelConfig":
            models["patternProperties"][pattern] = {"anyOf": [_SHORT["ModelConfig"], inline]}
    return schema


def _with_singles(node: Any) -> Any:
    """`node` with every list of something also as something."""
    if isinstance(node, list):
        return [_with_singles(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: _with_singles(value) for key, value in node.items()}
    if inner.get("type") != "array":
        return inner
    told = {key: inner.pop(key) for key in ("title", "description", "default") if key in inner}
    return {**told, "anyOf": [inner["items"], inner]}
