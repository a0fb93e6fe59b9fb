"""Finds the first rule that holds without asking every rule: bit masks over the facts that many rules name.

Bit n stands for rule n. An axis is one cheap fact (plan, model, a header, …); for a value of it, its mask holds the
rules that may hold with that value: those that name it, those that ask by pattern, those that do not ask. What
survives all axes is asked in full, lowest bit first; a condition that fails strikes out every rule that shares it. So
the index can only save questions, never change an answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from proxy.routing.facts import Facts
from proxy.routing.globs import Matches, compile_globs, is_literal
from proxy.routing.matchers import Condition, Holds, MatchConfig

_WORTH = 8  # rules that must ask about a fact before an axis for it pays
_MOST_AXES = 16
_REMEMBERED = 1024
_LONGEST = 256

Read = Callable[[Facts], str | None]
MaskOf = Callable[[Facts], int]


@dataclass(slots=True)
class Axis:
    """One fact. `named` maps values to the rules that want them; `patterns` are asked once per value, then known."""

    read: Read
    asking: int = 0
    named: dict[str, int] = field(default_factory=dict)
    patterns: list[tuple[int, Matches]] = field(default_factory=list)

    def ask(self, bit: int, wanted: Sequence[str]) -> None:
        """Rule `bit` wants one of these values or patterns."""
        self.asking |= bit
        for value in wanted:
            if is_literal(value):
                self.named[value] = self.named.get(value, 0) | bit
        if globs := [value for value in wanted if not is_literal(value)]:
            self.patterns.append((bit, compile_globs(globs)))

    def freeze(self, everything: int) -> MaskOf:
        """The finished look-up: facts to the mask of rules that may hold."""
        silent = everything & ~self.asking
        named, patterns, read = self.named, tuple(self.patterns), self.read

        def search(value: str) -> int:
            fitting = sum(bit for bit, fits in patterns if fits(value))
            return silent | named.get(value, 0) | fitting

        known = lru_cache(_REMEMBERED)(search) if patterns else search

        def mask(facts: Facts) -> int:
            value = read(facts)
            if value is None:
                return silent
            return known(value) if len(value) <= _LONGEST else search(value)

        return mask


def _read_header(name: str) -> Read:
    return lambda facts: facts.headers.get(name)


def _read_metadata(name: str) -> Read:
    return lambda facts: facts.metadata.get(name)


_PLAIN: Mapping[str, Read] = {
    "plan": lambda facts: facts.plan,
    "tenant": lambda facts: facts.tenant,
    "model": lambda facts: facts.model,
    "endpoint": lambda facts: facts.endpoint,
}


def _questions(match: MatchConfig | None) -> Iterator[tuple[str, Read, Sequence[str]]]:
    """The conditions of a rule that an axis can answer: axis, how to read it, wanted values."""
    if match is None:
        return
    for name, read in _PLAIN.items():
        if (wanted := getattr(match, name)) is not None:
            yield name, read, wanted
    for name, values in (match.header or {}).items():
        yield f"header {name}", _read_header(name), values
    for name, values in (match.metadata or {}).items():
        yield f"metadata {name}", _read_metadata(name), values


@dataclass(frozen=True, slots=True)
class _Question:
    """A condition of a rule, and the mask of the rules that do not share it."""

    holds: Holds
    others: int


class Index:
    """Rules in order, given by their conditions: as written, and compiled."""

    __slots__ = ("_everything", "_masks", "_questions")

    def __init__(self, rules: Sequence[tuple[MatchConfig | None, Sequence[Condition]]]) -> None:
        axes: dict[str, Axis] = {}
        sharing: dict[str, int] = defaultdict(int)
        for number, (match, conditions) in enumerate(rules):
            for name, read, wanted in _questions(match):
                axes.setdefault(name, Axis(read)).ask(1 << number, wanted)
            for condition in conditions:
                sharing[condition.key] |= 1 << number
        asked = {name: axis.asking.bit_count() for name, axis in axes.items()}
        worth = sorted((name for name in axes if asked[name] >= _WORTH), key=lambda name: -asked[name])
        self._everything = (1 << len(rules)) - 1
        self._masks = tuple(axes[name].freeze(self._everything) for name in worth[:_MOST_AXES])
        self._questions = tuple(
            tuple(_Question(one.holds, self._everything ^ sharing[one.key]) for one in conditions)
            for _, conditions in rules
        )

    def first(self, facts: Facts) -> int | None:
        """The number of the first rule that holds."""
        left = self._everything
        for mask in self._masks:
            left &= mask(facts)
        while left:
            number = (left & -left).bit_length() - 1
            for question in self._questions[number]:
                if not question.holds(facts):
                    left &= question.others
                    break
            else:
                return number
        return None
