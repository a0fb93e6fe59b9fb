"""The conditions of `match:`: what a rule may ask of a request, and each condition compiled to a closure."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
from proxy.routing.globs import Glob

T = TypeVar("T")

Feature = Literal["tools", "images", "audio", "files", "json_schema", "logprobs"]
Task = Literal[
    "code",
    "architecture",
    "planning",
    "verification",
    "analysis",
    "extraction",
    "summarization",
    "translation",
    "writing",
    "security",
    "general",
]
Complexity = Literal["simple", "complex"]


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


Some = Annotated[Many[T], Field(min_length=1), BeforeValidator(_listed)]
"""One value or a list of them, of which any may hold."""


@dataclass(frozen=True, slots=True)
class Range:
    """A span of whole numbers, both ends inside; None is open."""

    low: int | None = None
    high: int | None = None

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low}..{self.high}"
        return f">= {self.low}" if self.low is not None else f"<= {self.high}"


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
        return Range(low, high)
    if (comparison := _COMPARISON.fullmatch(text)) is None:
        raise ValueError('expected a comparison such as "> 30000", "<= 600" or "1000..30000"')
    sign, number = comparison[1], int(comparison[2])
    if sign.startswith(">"):
        return Range(low=number + (sign == ">"))
    if number == 0 and sign == "<":
        raise ValueError("no count is below zero")
    return Range(high=number - (sign == "<"))


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
    """Days of the week: `[sat, sun]`. Hours that go over midnight belong to the day they end on as well."""
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
