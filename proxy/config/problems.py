"""What is wrong with a configuration file, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]

Complaint = tuple[Path, str]
"""A mistake before its line is known: where, and what."""

MANY = 1_000
"""A file with more mistakes of a kind than this is not read for the rest of them."""

_SHOWN = 100
_SEARCHED = 300


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: the line (from 1), the path of the value (`routes[2].match.plan`), and what to do about it."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}: {where}{self.message}"


class ConfigError(Exception):
    """The file cannot be used; `problems` holds every reason, in the order of the lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        shown = [str(problem) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            shown.append(f"… and {len(self.problems) - _SHOWN} more")
        super().__init__("\n".join(shown))


def spell(path: Iterable[str | int]) -> str:
    """`("routes", 2, "match")` → `routes[2].match`; keys that would be misread are quoted. No control characters."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "a").replace("-", "a").isalnum():
            text += f".{step}" if text else step
        else:
            text += f"[{step[:80]!r}]"
    return text


def suggest(word: object, names: Iterable[str]) -> str:
    """The end of a sentence: the known name nearest to `word`, else all of them if they are few."""
    known = sorted(set(names))
    if isinstance(word, str) and len(known) <= _SEARCHED:
        by_case = {name.casefold(): name for name in known}
        close = difflib.get_close_matches(word[:80].casefold(), by_case, n=1, cutoff=0.6)
        if close:
            return f"; did you mean `{by_case[close[0]]}`?"
    if 0 < len(known) <= 12:
        return "; known: " + ", ".join(known)
    return ""
