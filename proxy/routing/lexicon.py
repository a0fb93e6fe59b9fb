"""The words by which tasks are told, from `tasks.json`: tokens, and what each word or phrase may mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, NamedTuple

BREAK = "¶"
_SPACED: Final = (
    ("\n", f" {BREAK} "),
    *((mark, " ") for mark in '()`"'),
    *((mark, f" {mark} ") for mark in "?!¿¡"),
    *((f"{mark} ", f" {mark} ") for mark in ".:,;"),
    ("’", "'"),
)

_PLAIN = str.maketrans("áéíóúü", "aeiouu")
_CHOICE = re.compile(r"\(([^)]*)\)")


class Sense(NamedTuple):
    """What a word or phrase may mean; the marks are pairs of a task and its points."""

    text: str
    starts: float
    is_filler: bool
    maker: float
    ask: tuple[tuple[str, float], ...]
    thing: tuple[tuple[str, float], ...]
    topic: tuple[tuple[str, float], ...]


Senses = tuple[Sense | None, dict[str, list[tuple[list[str], Sense]]]]
"""What a word means alone; by second word, the phrases that it begins: their further words and sense, longest first."""


Point = tuple[float, str, str, str]
"""One piece of evidence: points, task, kind of evidence, the word. A plain tuple, as most are made in a hot loop."""


class Sign(NamedTuple):
    """Points for a text that holds one of `some` pieces and none of `others`."""

    some: tuple[str, ...]
    others: tuple[str, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The data file, compiled.

    `words` are found by the first token; `ceiling` limits the points of all topics of a task together; `tendency` is
    how far a task leans to being complex.
    """

    words: Mapping[str, Senses]
    signs: tuple[Sign, ...]
    ceiling: Mapping[str, float]
    tendency: Mapping[str, float]


def tokenise(text: str) -> list[str]:
    """The lower-case words and, as tokens of their own, the marks that part sentences; `BREAK` ends a line."""
    # A chain of replacements and a split take a third of the time of a regular expression's findall.
    text = f"{text.lower()} "
    for mark, spaced in _SPACED:
        text = text.replace(mark, spaced)
    return text.split()


def _spellings(entry: str) -> Iterator[str]:
    """`stem(a|b)` as `stema` and `stemb`, each with and without its accents; `_` parts the words of a phrase."""
    parts = _CHOICE.split(entry.replace("_", " ")) if "(" in entry else [entry.replace("_", " ")]
    for choice in product(*(part.split("|") if n % 2 else (part,) for n, part in enumerate(parts))):
        yield from accents("".join(choice))


def accents(text: str) -> set[str]:
    """The text as it is and without its accents, which many leave out."""
    return {text} if text.isascii() else {text, text.translate(_PLAIN)}


def compile_lexicon(data: Mapping[str, Any]) -> Lexicon:
    """The content of the data file, made ready for look-ups."""
    signs = tuple(
        Sign(
            tuple(sign["any"]),
            tuple(sign.get("none", ())),
            tuple((weight, task, "sign", name) for task, weight in sign["points"].items()),
        )
        for name, sign in data["signs"].items()
    )
    return Lexicon(_words(data), signs, data["ceiling"], data["tendency"])


def _words(data: Mapping[str, Any]) -> dict[str, Senses]:
    marks: dict[tuple[str, ...], dict[str, dict[str, float]]] = {(BREAK,): {"starts": {"": 1.0}}}

    def put(entries: Iterable[str], kind: str, name: str, weight: float) -> None:
        for entry in " ".join(entries).split():
            for spelling in _spellings(entry):
                marks.setdefault(tuple(tokenise(spelling)), {}).setdefault(kind, {}).setdefault(name, weight)

    for kind, weights in data["grammar"].items():
        for weight, entries in weights.items():
            put(entries, kind, "", float(weight))
    for task, kinds in data["tasks"].items():
        for kind, weights in kinds.items():
            for weight, entries in weights.items():
                put(entries, kind, task, float(weight))
    for weight, entries in data["complex"].items():
        put(entries, "topic", "complex", float(weight))

    lexicon: dict[str, Senses] = {}
    for phrase in sorted(marks, key=len, reverse=True):
        kinds = marks[phrase]
        sense = Sense(
            text=" ".join(phrase),
            starts=kinds.get("starts", {}).get("", 0.0),
            is_filler="filler" in kinds,
            maker=kinds.get("maker", {}).get("", 0.0),
            ask=tuple(kinds.get("ask", {}).items()),
            thing=tuple(kinds.get("thing", {}).items()),
            topic=tuple(kinds.get("topic", {}).items()),
        )
        alone, phrases = lexicon.get(phrase[0], (None, {}))
        if len(phrase) == 1:
            alone = sense
        else:
            phrases.setdefault(phrase[1], []).append((list(phrase[2:]), sense))
        lexicon[phrase[0]] = (alone, phrases)
    return lexicon
