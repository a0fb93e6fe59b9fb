"""The conditions of `match:`: what a rule may ask of a request, and each condition compiled to a closure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from proxy.fields import Many, Section
from proxy.routing.facts import Facts
from proxy.routing.globs import Glob, compile_globs
from proxy.routing.tasks import Complexity, Task

T = TypeVar("T")

Feature = Literal["tools", "images", "audio", "files", "json_schema", "logprobs"]


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


Some = Annotated[Many[T], Field(min_length=1), BeforeValidator(_listed)]
"""One value or a list of them, of which any may hold."""


@dataclass(frozen=True, slots=True)
class Range:
    """A span of whole numbers, both ends inside; None is open. `written` is how the file has it."""

    low: int | None = None
    high: int | None = None
    written: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.written


_COMPARISON = re.compile(r"(>=|<=|>|<) ?(\d{1,12})")
_SPAN = re.compile(r"(\d{1,12}) ?\.\. ?(\d{1,12})")


def parse_range(value: Any) -> Range:
    """`> 30000`, `>= 1000`, `< 600`, `<= 600` or `1000..30000` → Range; raises ValueError."""
    if isinstance(value, Range):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if span := _SPAN.fullmatch(text):
        low, high = int(span[1]), int(span[2])
        if low > high:
            raise ValueError("the range is empty: its first number is larger than its second")
        return Range(low, high, text)
    if (comparison := _COMPARISON.fullmatch(text)) is None:
        raise ValueError('expected a comparison such as "> 30000", "<= 600" or "1000..30000"')
    sign, number = comparison[1], int(comparison[2])
    if sign.startswith(">"):
        return Range(low=number + (sign == ">"), written=text)
    if number == 0 and sign == "<":
        raise ValueError("no count is below zero")
    return Range(high=number - (sign == "<"), written=text)


Tokens = Annotated[
    Range,
    PlainValidator(parse_range),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^((>=|<=|>|<) ?\d+|\d+ ?\.\. ?\d+)$",
            "examples": ["> 30000", "<= 600", "1000..30000"],
        }
    ),
]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?- ?(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")


def parse_hours(text: str) -> tuple[int, int]:
    """`09:00-17:30` → (540, 1050), minutes of the day, the end outside; `22:00-06:00` goes over midnight."""
    if (found := _HOURS.fullmatch(text)) is None:
        raise ValueError("expected hours such as 09:00-17:00 or 22:00-06:00")
    start = int(found[1]) * 60 + int(found[2])
    end = 1440 if found[3] is None else int(found[3]) * 60 + int(found[4])
    if start == end:
        raise ValueError("the hours are empty; for the whole day write 00:00-24:00")
    return start, end


def _checked_hours(text: str) -> str:
    parse_hours(text)
    return text


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("no such time zone; write one like UTC or Europe/Madrid") from None
    return name


class TimeConfig(Section):
    """When a rule holds, by the wall clock of a place."""

    hours: Annotated[Some[Annotated[str, AfterValidator(_checked_hours)]] | None, Field(examples=["09:00-17:00"])] = (
        None
    )
    """Hours of the day, `09:00-17:00`; the end is outside. `22:00-06:00` goes over midnight."""
    days: Some[Day] | None = None
    """Days of the week: `[sat, sun]`. Hours that go over midnight belong to the day on which they begin."""
    zone: Annotated[str, AfterValidator(_checked_zone)] = "UTC"
    """The time zone's name in the IANA data base: `Europe/Madrid`."""

    @model_validator(mode="after")
    def _says_something(self) -> TimeConfig:
        if self.hours is None and self.days is None:
            raise ValueError("write `hours`, `days` or both")
        return self


def _lower_names(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name.lower() if isinstance(name, str) else name: wanted for name, wanted in value.items()}


class MatchConfig(Section):
    """The conditions under which a route decides: all of them must hold; of a list of values any may."""

    model: Some[Glob] | None = None
    """The model the caller asked for, as written in the request; takes patterns: `gpt-*`."""
    task: Some[Task] | None = None
    """What the request is about, as the caller says (`x-failsoft-task`, `metadata.task`) or as its words show."""
    complexity: Some[Complexity] | None = None
    """How demanding the request looks."""
    plan: Some[str] | None = None
    """The tenant's plan."""
    tenant: Some[Glob] | None = None
    """The tenant's name; takes patterns."""
    header: Annotated[dict[str, Some[Glob]], Field(min_length=1), BeforeValidator(_lower_names)] | None = None
    """Request headers that must all be there with these values; takes patterns, `"*"` is any value."""
    metadata: Annotated[dict[str, Some[Glob]], Field(min_length=1)] | None = None
    """Entries of the request's `metadata` that must all be there with these values; takes patterns."""
    tokens: Tokens | None = None
    """The estimated length of the prompt in tokens: `"> 30000"`, `"<= 600"` or `"1000..30000"`."""
    has: Some[Feature] | None = None
    """What the request brings or asks for."""
    stream: bool | None = None
    """Whether the answer is to be streamed."""
    endpoint: Some[Glob] | None = None
    """The path that was called, such as `/v1/completions`; takes patterns."""
    time: TimeConfig | None = None
    """Hours and days, by the wall clock of a place."""
    not_: Annotated[MatchConfig | None, Field(alias="not")] = None
    """Conditions that must not all hold at once."""

    @model_validator(mode="after")
    def _says_something(self) -> MatchConfig:
        if not self.model_fields_set or all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError("write at least one condition; a route for everything has no `match` at all")
        return self


Holds = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """One compiled condition: the test, and the sentence that tells how it came out for a request.

    Conditions with the same `key` have the same answer for the same request.
    """

    holds: Holds
    say: Callable[[Facts, bool], str]
    key: str = ""


def _condition(subject: str, wanted: str, holds: Holds, have: Callable[[Facts], str]) -> Condition:
    """Says `plan gold in [gold, premium]` or `tokens ≈812 not > 30000`."""

    def say(facts: Facts, held: bool) -> str:
        return f"{subject} {have(facts)} {'' if held else 'not '}{wanted}"

    return Condition(holds, say)


def compile_match(match: MatchConfig) -> tuple[Condition, ...]:
    """The conditions of a rule, those that cost least first."""
    return tuple(_compiled(match))


def all_of(conditions: tuple[Condition, ...]) -> Holds:
    """One test for several conditions."""
    tests = tuple(condition.holds for condition in conditions)
    return tests[0] if len(tests) == 1 else lambda facts: all(test(facts) for test in tests)


def _compiled(match: MatchConfig) -> Iterator[Condition]:
    for name, build in _BUILDERS.items():
        value = getattr(match, name)
        if value is not None:
            for number, condition in enumerate(build(value)):
                yield replace(condition, key=f"{name} {number} {value!r}")


def _one_of(values: tuple[str, ...]) -> str:
    return f"in [{', '.join(values)}]"


def _on_stream(wanted: bool) -> Iterator[Condition]:
    holds: Holds = (lambda facts: facts.stream) if wanted else (lambda facts: not facts.stream)
    yield _condition("stream", f"= {wanted}".lower(), holds, lambda facts: str(facts.stream).lower())


def _on_plan(plans: tuple[str, ...]) -> Iterator[Condition]:
    named = frozenset(plans)
    yield _condition("plan", _one_of(plans), lambda facts: facts.plan in named, lambda facts: facts.plan or "(none)")


def _on_endpoint(paths: tuple[str, ...]) -> Iterator[Condition]:
    fits = compile_globs(paths)
    yield _condition("endpoint", _one_of(paths), lambda facts: fits(facts.endpoint), lambda facts: facts.endpoint)


def _on_model(names: tuple[str, ...]) -> Iterator[Condition]:
    fits = compile_globs(names)
    yield _condition("model", _one_of(names), lambda facts: fits(facts.model), lambda facts: facts.model)


def _on_tenant(names: tuple[str, ...]) -> Iterator[Condition]:
    fits = compile_globs(names)
    yield _condition("tenant", _one_of(names), lambda facts: fits(facts.tenant), lambda facts: facts.tenant)


def _on_header(wanted: dict[str, tuple[str, ...]]) -> Iterator[Condition]:
    for name, values in wanted.items():
        yield _entry("header", name, values)


def _on_metadata(wanted: dict[str, tuple[str, ...]]) -> Iterator[Condition]:
    for name, values in wanted.items():
        yield _entry("metadata", name, values)


def _entry(kind: Literal["header", "metadata"], name: str, values: tuple[str, ...]) -> Condition:
    fits = compile_globs(values)

    def value(facts: Facts) -> str | None:
        return (facts.headers if kind == "header" else facts.metadata).get(name)

    def holds(facts: Facts) -> bool:
        found = value(facts)
        return found is not None and fits(found)

    def have(facts: Facts) -> str:
        found = value(facts)
        return "(absent)" if found is None else found

    return _condition(f"{kind} {name}", _one_of(values), holds, have)


def _on_time(wanted: TimeConfig) -> Iterator[Condition]:
    zone = ZoneInfo(wanted.zone)
    spans = tuple(map(parse_hours, wanted.hours or ("00:00-24:00",)))
    days = frozenset(map(DAYS.index, wanted.days or DAYS))

    def holds(facts: Facts) -> bool:
        now = facts.now.astimezone(zone)
        minute = now.hour * 60 + now.minute
        return any(_covers(span, days, now.weekday(), minute) for span in spans)

    def have(facts: Facts) -> str:
        now = facts.now.astimezone(zone)
        return f"{DAYS[now.weekday()]} {now:%H:%M} {wanted.zone}"

    said = [*(wanted.hours or ()), *(wanted.days or ())]
    yield _condition("time", _one_of(tuple(said)), holds, have)


def _covers(span: tuple[int, int], days: frozenset[int], day: int, minute: int) -> bool:
    """True if a minute of a weekday lies in the span; a span over midnight belongs to the day on which it begins."""
    start, end = span
    if start < end:
        return day in days and start <= minute < end
    return (day in days and minute >= start) or ((day - 1) % 7 in days and minute < end)


def _on_tokens(span: Range) -> Iterator[Condition]:
    wanted = f"in {span}" if span.low is not None and span.high is not None else str(span)
    low, high = span.low or 0, math.inf if span.high is None else span.high
    yield _condition("tokens", wanted, lambda facts: low <= facts.tokens <= high, lambda facts: f"≈{facts.tokens}")


def _on_features(features: tuple[str, ...]) -> Iterator[Condition]:
    wanted = frozenset(features)
    yield _condition(
        "has",
        _one_of(features),
        lambda facts: not wanted.isdisjoint(facts.features),
        lambda facts: ", ".join(sorted(facts.features)) or "nothing special",
    )


def _on_task(tasks: tuple[str, ...]) -> Iterator[Condition]:
    wanted = frozenset(tasks)
    yield _condition("task", _one_of(tasks), lambda facts: facts.task in wanted, lambda facts: facts.task)


def _on_complexity(kinds: tuple[str, ...]) -> Iterator[Condition]:
    wanted = frozenset(kinds)
    yield _condition(
        "complexity",
        _one_of(kinds),
        lambda facts: facts.complexity in wanted,
        lambda facts: facts.complexity,
    )


def _on_not(inner: MatchConfig) -> Iterator[Condition]:
    conditions = compile_match(inner)

    all_hold = all_of(conditions)

    def say(facts: Facts, held: bool) -> str:
        found = " and ".join(condition.say(facts, condition.holds(facts)) for condition in conditions)
        return found if held else f"{found}, which is excluded"

    yield Condition(lambda facts: not all_hold(facts), say)


_BUILDERS: dict[str, Callable[[Any], Iterator[Condition]]] = {
    "stream": _on_stream,
    "plan": _on_plan,
    "endpoint": _on_endpoint,
    "model": _on_model,
    "tenant": _on_tenant,
    "header": _on_header,
    "metadata": _on_metadata,
    "time": _on_time,
    "tokens": _on_tokens,
    "has": _on_features,
    "task": _on_task,
    "complexity": _on_complexity,
    "not_": _on_not,
}
"""Every field of `MatchConfig`, the cheapest question first."""
