"""The manual of the configuration file, written from the field docstrings: `python -m proxy.config.reference`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config.schema import json_schema
from proxy.providers import Provider, discover

Node = Mapping[str, Any]

_INTRODUCTION = """\
# Configuration

<!-- Written by `python -m proxy.config.reference > docs/configuration.md`; change the docstrings, not this file. -->

One file, `routes.yaml`. It is read strictly: an unknown key, a wrong type or a name that leads nowhere is an error,
and all errors of a file are reported at once, each with its line, its path and the nearest known name.

- **YAML 1.2**: `no`, `on` and `yes` are text; only `true` and `false` are booleans. A key may be written once.
  Anchors, aliases, tags and tabs are refused. The file has at most 1 MiB.
- **Variables**: `${NAME}` must exist in the environment, `${NAME:-default}` may be missing. A variable is the whole
  value, and it is read only where this manual says *or a variable*. Secrets are always variables.
- **Durations** `250ms`, `10s`, `5m`, `1h`; **sizes** `64KiB`, `32MiB`; **rates** `10/minute`, `50/hour`;
  **money** `20 USD/month`; **percentages** `10%`.
- **Patterns**: `*` stands for any text, `?` for one character.
- A **target** is `upstream/model`; `upstream/*` keeps the model that was asked for; a bare name is looked up in
  `models`.
- An upstream without a key that it needs is disabled with a warning, so a file works on a machine without any.

`failsoft check` reads the file and says what it makes of it; `failsoft schema` prints its JSON Schema for editors.
"""

_QUANTITIES = {"250ms": "duration", "64KiB": "size", "10/minute": "rate", "20 USD/month": "money", "10%": "percentage"}
_SECONDS = ((3600, "h"), (60, "m"), (1, "s"), (0.001, "ms"))
_BYTES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))


def _with_unit(value: float, units: tuple[tuple[float, str], ...]) -> str:
    for size, unit in units:
        if value >= size and (value / size).is_integer():
            return f"{value / size:.0f}{unit}"
    return f"{value:g}{units[-2][1]}"


def _quantity(node: Node) -> str | None:
    """The word for a text with a unit, by its first example."""
    return _QUANTITIES.get(str(node.get("examples", [""])[0]))


def _words(node: Node) -> str:
    return " ".join(node.get("description", "").split())


def _default(field: Node, node: Node) -> str:
    """The default in the file's own words; nothing for whole sections, which have defaults of their own."""
    value = field.get("default")
    if value is None or isinstance(value, dict) or value == []:
        return ""
    is_duration = "duration" in [_quantity(part) for part in (node, *node.get("anyOf", ()))]
    if is_duration and not isinstance(value, str):
        return f"`{_with_unit(value, _SECONDS)}`"
    if _quantity(node) == "size":
        return f"`{_with_unit(value, _BYTES)}`"
    if _quantity(node) == "percentage":
        return f"`{value:.0%}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _bounds(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    low = f" > {node['exclusiveMinimum']}" if "exclusiveMinimum" in node else f" ≥ {low}" if low is not None else ""
    return f"{low} ≤ {high}" if low and high is not None else low


def _text(node: Node) -> str:
    if (quantity := _quantity(node)) is not None:
        return quantity
    if "examples" in node:
        return " or ".join(f"`{example}`" for example in node["examples"][:2])
    return {"only": "variable", "too": "text or a variable"}.get(node.get("x-variable", ""), "text")


_PLAIN = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "null": "nothing"}


class Manual:
    """Walks a JSON Schema and writes a table for each of its sections."""

    def __init__(self, schema: Node) -> None:
        self._schema = schema

    def _node(self, node: Node) -> Node:
        """The node behind a reference, or the one alternative to null."""
        while True:
            rest = [part for part in node.get("anyOf", ()) if part.get("type") != "null"]
            if "$ref" in node:
                node = self._schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
            elif len(rest) == 1:
                node = rest[0]
            else:
                return node

    @staticmethod
    def _values(node: Node) -> Node | None:
        """What the values of a mapping with free keys are, None if there is no such."""
        found = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
        return next((below for below in found if isinstance(below, dict)), None)

    def _kind(self, node: Node) -> str:
        """What may be written, in words."""
        node = self._node(node)
        if node.get("x-variable") == "too" and "anyOf" in node:
            return f"{self._kind(node['anyOf'][0])} or a variable"
        if "anyOf" in node:
            return " or ".join(dict.fromkeys(self._kind(part) for part in node["anyOf"]))
        if "enum" in node or "const" in node:
            return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
        if node.get("type") == "array":
            return f"list: {self._kind(node['items'])}" if node.get("items") else "list"
        if node.get("type") == "object" or "properties" in node:
            values = self._values(node)
            below = self._node(values) if values else {}
            if "properties" in node or "properties" in below:
                return "section"
            return f"mapping: {self._kind(below)}" if values else "mapping"
        if node.get("type") in _PLAIN:
            return _PLAIN[node["type"]] + _bounds(node)
        return _text(node) if node.get("type") == "string" else "anything"

    def sections(self, path: str, node: Node, seen: tuple[str, ...] = ()) -> Iterator[str]:
        """The table of the section at `path`, then those below it."""
        node = self._node(node)
        if node.get("type") == "array":
            yield from self.sections(f"{path}[]", node["items"], seen)
        elif "properties" in node and node["title"] not in seen:
            yield from self._table(path, node)
            for name, field in node["properties"].items():
                yield from self.sections(f"{path}.{name}", field, (*seen, node["title"]))
        elif (values := self._values(node)) is not None:
            yield from self.sections(f"{path}.<name>", values, seen)

    def _table(self, path: str, node: Node) -> Iterator[str]:
        if not path.isidentifier():
            yield f"### `{path}`\n\n{_words(node)}\n"
        yield "| key | value | default | |\n|---|---|---|---|"
        for name, field in node["properties"].items():
            inner = self._node(field)
            default = "**required**" if name in node.get("required", ()) else _default(field, inner)
            row = (f"`{path}.{name}`", self._kind(field), default, _words(field) or _words(inner))
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        yield ""


def _providers(providers: Mapping[str, Provider]) -> Iterator[str]:
    yield "## Providers\n\nWhat `upstreams.<name>.provider` may be. Dialects this version has not are passed over.\n"
    yield "| provider | address | key | speaks |\n|---|---|---|---|"
    for name, provider in sorted(providers.items()):
        if not provider.offline:
            address = f"`{provider.base_url}`" if provider.base_url else "`url` is required"
            key = f"`{provider.key_env}`" if provider.key_env else "if the server asks for one"
            yield f"| `{name}` | {address} | {key} | {', '.join(f'`{d}`' for d in provider.speaks)} |"
    yield ""


def render() -> str:
    """The whole manual, in Markdown."""
    schema = json_schema()
    manual = Manual(schema)
    lines = [_INTRODUCTION]
    for name, field in schema["properties"].items():
        lines += [f"## `{name}`\n\n{_words(field)}\n", *manual.sections(name, field)]
    lines += _providers(discover())
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    print(render(), end="")
