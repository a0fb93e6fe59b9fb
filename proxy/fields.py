"""What every configuration class is made of: the strict base class, and the kinds of values a file may hold.

It stands beside `wire` in the layers, so that a class can live in the file that implements what it configures.

Strict means: an unknown key is an error, `"5"` is no number and `yes` is no boolean. Sequences are tuples: write
`Many[str]`. What a person writes as text with a unit arrives in base units (seconds, bytes, shares of 1).

`${NAME}` is read only in fields whose type says so (`EnvText`, `EnvInt`, `EnvSecret`), only as the whole value, and
never again inside what it yields. The environment comes in by pydantic's validation context, as an `Environment`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)

from proxy.core.quantities import (
    Budget,
    Rate,
    parse_budget,
    parse_duration,
    parse_percent,
    parse_rate,
    parse_size,
)
from proxy.core.secret import Secret

T = TypeVar("T")


class Section(BaseModel):
    """The base of every configuration class: frozen, strict, documented by the strings under its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


Many = Annotated[tuple[T, ...], Strict(False)]
"""A list in the file, a tuple in the program; its members stay strict."""


def _text(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        return parse(value if isinstance(value, str) else "")

    return read


def _schema(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


Duration = Annotated[
    float,
    BeforeValidator(_text(parse_duration)),
    _schema(r"^\d+(\.\d+)? ?(ms|s|m|h|d)$", "250ms", "10s", "5m", "1h"),
]
"""Seconds."""

Size = Annotated[int, BeforeValidator(_text(parse_size)), _schema(r"^\d+(\.\d+)? ?(B|[KMG]i?B)$", "64KiB", "32MiB")]
"""Bytes."""

Percent = Annotated[float, BeforeValidator(_text(parse_percent)), _schema(r"^\d+(\.\d+)? ?%$", "10%")]
"""A share between 0 and 1."""

RatePer = Annotated[
    Rate,
    PlainValidator(_text(parse_rate)),
    PlainSerializer(str, when_used="json"),
    _schema(r"^\d+ ?/ ?(second|minute|hour|day|week|month)$", "10/minute", "50/hour"),
]
"""A count per period."""

Money = Annotated[
    Budget,
    PlainValidator(_text(parse_budget)),
    PlainSerializer(str, when_used="json"),
    _schema(r"^\d+(\.\d+)? ?[A-Z]{3} ?/ ?(day|week|month)$", "20 USD/month"),
]
"""An amount of money per period."""

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables a file may name. `taken` collects the texts that were looked up, by identity."""

    variables: Mapping[str, str] = field(default_factory=dict)
    taken: dict[int, str] = field(default_factory=dict)


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^{}]*))?\}")
_VARIABLE_SCHEMA = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}"


def is_variable(text: str) -> bool:
    """True if the whole text is `${NAME}` or `${NAME:-default}`."""
    return _VARIABLE.fullmatch(text) is not None


def _expand(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or "${" not in value:
        return value
    environment = info.context if isinstance(info.context, Environment) else Environment()
    environment.taken[id(value)] = value
    found = _VARIABLE.fullmatch(value)
    if found is None:
        raise ValueError("a variable must be the whole value: ${NAME} or ${NAME:-default}")
    name, has_default, default = found.groups()
    text = environment.variables.get(name, default if has_default else None)
    if text is None:
        raise ValueError(f"the environment has no {name}; set it, or write ${{{name}:-}} if it may be missing")
    return text


def _expand_int(value: Any, info: ValidationInfo) -> Any:
    text = _expand(value, info)
    if text is value:
        return value
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError("the variable must hold a whole number")
    return int(text)


def to_secret(text: str) -> Secret:
    """What a variable holds, as a secret; `none` is an empty one. Raises ValueError if no header could carry it."""
    text = text.strip()
    if not all(" " <= letter <= "~" for letter in text):
        raise ValueError("the variable holds characters that no HTTP header may have")
    return Secret("" if text == "none" else text)


def _expand_secret(value: Any, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("expected ${NAME}: a variable of the environment")
    if value and value != "none" and "${" not in value:
        raise ValueError("secrets are read from the environment only; write ${NAME}")
    return to_secret(str(_expand(value, info)))


# `x-variable` tells the manual and editors where a variable may stand: `only` it, or it `too`.
EnvText = Annotated[str, BeforeValidator(_expand), WithJsonSchema({"type": "string", "x-variable": "too"})]
"""Text, or a variable that holds it."""

EnvInt = Annotated[
    int,
    BeforeValidator(_expand_int),
    WithJsonSchema(
        {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": f"^{_VARIABLE_SCHEMA}$"}], "x-variable": "too"}
    ),
]
"""A whole number, or a variable that holds it."""

EnvSecret = Annotated[
    Secret,
    PlainValidator(_expand_secret),
    PlainSerializer(repr, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^({_VARIABLE_SCHEMA}|none|)$", "x-variable": "only"}),
]
"""A secret: always a variable, `none` or nothing, never the secret itself. False when it is empty."""


def _expand_location(value: Any, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("expected text, or ${NAME}")
    if re.search(r"://[^/@]*:[^/@]+@", value) and "${" not in value:
        raise ValueError("a password is read from the environment only; write ${NAME} for the whole value")
    return Secret(str(_expand(value, info)))


EnvLocation = Annotated[
    Secret,
    PlainValidator(_expand_location),
    PlainSerializer(repr, when_used="json"),
    WithJsonSchema({"type": "string", "x-variable": "too"}),
]
"""A URL that may hold a password: as text if it has none, else a variable. `reveal()` gives it."""
