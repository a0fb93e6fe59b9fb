"""Strict YAML: text to plain values, with the line of every path.

The rules are YAML 1.2's core schema (`no`, `on` and `yes` are text, `0x1F` is a number, `1:30` is text) and then some:
one document, no anchors, aliases, tags or duplicate keys, mapping keys are text as written. The size of the file, its
depth and the number of its values are bounded, and the walk is over the parser's flat events, so that no input costs
more than its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from proxy.config.problems import ConfigError, Path, Problem, spell

MAX_BYTES = 2**20
MAX_DEPTH = 24
MAX_VALUES = 100_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_BASED = re.compile(r"0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: `value` is its root mapping, `lines` has the line (from 1) of every path in it."""

    file: str
    value: Mapping[str, Any]
    lines: Mapping[Path, int]

    def settle(self, path: Iterable[str | int]) -> Path:
        """The part of `path` that is in the file; steps that are not (names of types, defaults) are left out."""
        found: Path = ()
        for step in path:
            if (*found, step) in self.lines:
                found = (*found, step)
        return found

    def problem(self, path: Iterable[str | int], message: str) -> Problem:
        """A problem at `path`, on the line of its nearest ancestor that is in the file.

        The path is shown as the file has it: where a list was written short (`plan: gold`, `fast: [a/b]`), the steps
        of the long form are left out. A key that is missing is shown all the same.
        """
        steps = tuple(path)
        settled = self.settle(steps)
        is_written = steps[-1:] == settled[-1:] or isinstance(steps[-1], int)
        return Problem(self.file, self.lines.get(settled, 1), spell(settled if is_written else steps), message)


def resolve(text: str) -> Any:
    """The value of a plain scalar in YAML 1.2's core schema. Raises ValueError where a number is none we can hold."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, base=0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if abs(number) == float("inf"):
            raise ValueError("this number is too large")
        return number
    if text.lower() in (".inf", "+.inf", "-.inf", ".nan"):
        raise ValueError("expected a finite number")
    return text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


@dataclass(slots=True)
class _Walk:
    """One pass over the events of a file; problems that leave the rest readable are collected."""

    file: str
    events: Iterator[Any]
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def complain(self, event: Any, path: Path, message: str) -> None:
        self.problems.append(Problem(self.file, _line(event), spell(path), message))

    def stop(self, event: Any, message: str) -> ConfigError:
        return ConfigError([Problem(self.file, _line(event), "", message)])

    def value(self, event: Any, path: Path) -> Any:
        """The value that begins with `event`; its line is that of its key, if it has one."""
        if len(path) > MAX_DEPTH:
            raise self.stop(event, f"values are nested more than {MAX_DEPTH} levels deep")
        if len(self.lines) >= MAX_VALUES:
            raise self.stop(event, f"the file holds more than {MAX_VALUES} values")
        self.lines.setdefault(path, _line(event))
        if isinstance(event, yaml.AliasEvent):
            self.complain(event, path, "aliases (*name) are not allowed; write the value again")
            return None
        if event.anchor is not None:
            self.complain(event, path, "anchors (&name) are not allowed; write the value where it is needed")
        if event.tag is not None:
            self.complain(event, path, "tags (!name) are not allowed")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path)
        return self.sequence(path) if isinstance(event, yaml.SequenceStartEvent) else self.mapping(path)

    def scalar(self, event: Any, path: Path) -> Any:
        if event.style:
            return event.value
        try:
            return resolve(event.value)
        except ValueError as error:
            self.complain(event, path, str(error))
            return None

    def sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self.value(event, (*path, len(found))))
        return found

    def mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self.stop(event, "a key must be plain text")
            key, below = event.value, (*path, event.value)
            if key in found:
                first = self.lines[below]
                self.complain(event, below, f"this key is written twice; the first is on line {first}")
            if event.anchor is not None or event.tag is not None:
                self.complain(event, below, "anchors and tags are not allowed")
            self.lines.setdefault(below, _line(event))
            found[key] = self.value(next(self.events), below)
        return found


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError([Problem(file, 1, "", f"the file is larger than {MAX_BYTES // 2**20} MiB")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, "", "the file is not UTF-8 text")]) from None


def _syntax(error: yaml.YAMLError, text: str, file: str) -> ConfigError:
    mark: Any = getattr(error, "problem_mark", None)
    line: int = mark.line + 1 if mark is not None else text.count("\n", 0, getattr(error, "position", 0)) + 1
    rows = text.splitlines()
    row = rows[line - 1] if line <= len(rows) else ""
    if "\t" in row[: len(row) - len(row.lstrip())]:
        return ConfigError([Problem(file, line, "", "a tab in the indentation; use spaces")])
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
    return ConfigError([Problem(file, line, "", f"this is not YAML: {what}")])


def parse(data: bytes, file: str) -> tuple[Document, list[Problem]]:
    """Read a file's bytes.

    Returns what can be read of it and the problems that still let one read on; raises ConfigError for the others.
    """
    text = _decode(data, file)
    try:
        return _walk(text, file)
    except yaml.YAMLError as error:
        raise _syntax(error, text, file) from None


def _walk(text: str, file: str) -> tuple[Document, list[Problem]]:
    events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
    walk = _Walk(file, events)
    root: Any = {}
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if walk.lines:
                raise walk.stop(event, "the file holds more than one document")
            root = walk.value(next(events), ())
    if root is None:
        root = {}
    if not isinstance(root, dict):
        raise ConfigError([Problem(file, walk.lines[()], "", "expected a mapping of sections (server:, …)")])
    return Document(file, root, walk.lines), walk.problems
