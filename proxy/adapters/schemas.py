"""Strangers' JSON schemas: values are held against them at a bounded cost, and nothing is fetched.

References lead nowhere outside of a schema. Keywords that cannot be bounded (`UNCHECKED`: patterns above all, whose
matching may take for ever) are passed over. All others are metered: references make schemas that branch without end,
and errors that quote megabytes, so a check has so many steps and no more. A schema's own `$schema` says which keywords
there are; what its parts say of themselves counts for nothing, for a validator made by their word would have no meter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import attrs
import jsonschema
import referencing
from jsonschema.protocols import Validator

from proxy.core.ports import FaultOf
from proxy.wire.lenient import write_json
from proxy.wire.schema_shape import misshapen
from proxy.wire.structured import LONGEST_SCHEMA, UNCHECKED

_STEPS = 100_000  # about 2 µs each
_STEPS_OF_REFERENCE = 4
_REMEMBERED = 128
_CHARACTERS_PER_STEP = 256
_LONGEST_FAULT = 200
_UNRESOLVABLE = (referencing.exceptions.Unresolvable, RecursionError)
_NO_SCHEMA = (AttributeError, TypeError, ValueError)
"""What validators raise where a reference leads to a part that is none; `misshapen` sees to all other parts."""

_Keyword = Callable[[Any, Any, Any, Any], Iterator[jsonschema.ValidationError]]


class _TooMuch(Exception):
    """The check has had its steps."""


class _Meter:
    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _STEPS

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _TooMuch


_meter: ContextVar[_Meter] = ContextVar("meter")


def compile_schema(schema: Mapping[str, Any]) -> FaultOf:
    """A `CompileSchema`; an application sends the same few schemas again and again, so they are remembered."""
    try:
        return _compile(write_json(schema))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@lru_cache(_REMEMBERED)
def _compile(text: str) -> FaultOf:
    if len(text) > LONGEST_SCHEMA:
        raise ValueError(f"it has more than {LONGEST_SCHEMA} characters")
    schema = json.loads(text)
    base = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    if place := misshapen(schema, has_tuples="additionalItems" in base.VALIDATORS):
        raise ValueError(f"{place} is not valid")
    if base is jsonschema.Draft3Validator:
        raise ValueError("draft 3 is too old")
    validator = _metered(base)(schema, registry=referencing.Registry())
    return lambda value: _fault(validator, value)


def satisfies(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether `value` satisfies the whole of a schema: one with a part that is not checked is never satisfied."""
    text = write_json(schema)
    if any(f'"{keyword}"' in text for keyword in UNCHECKED):
        return False
    try:
        return not compile_schema(schema)(value)
    except ValueError:
        return False


def _fault(validator: Validator, value: Any) -> str:
    _meter.set(_Meter())
    try:
        error = next(validator.iter_errors(value), None)
    except (*_UNRESOLVABLE, *_NO_SCHEMA):
        return "the schema refers to nothing, or to itself without end"
    except (_TooMuch, ArithmeticError):
        return "more than can be checked"
    return "" if error is None else f"{error.json_path}: {error.validator}"[:_LONGEST_FAULT]


@lru_cache
def _metered(base: type[Validator]) -> type[Validator]:
    """The same kind of validator, without what cannot be bounded and with a meter on all the rest."""
    keywords = {
        name: _passed_over if name in UNCHECKED else _keyword(name, check) for name, check in base.VALIDATORS.items()
    }
    metered: type[Validator] = jsonschema.validators.extend(base, keywords)  # type: ignore[no-untyped-call]
    # Its own would make of each part a validator of the kind that the part's `$schema` names.
    metered.evolve = attrs.evolve  # type: ignore[method-assign, assignment]
    return metered


def _passed_over(_validator: Any, _wanted: Any, _value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    return iter(())


def _keyword(name: str, check: _Keyword) -> _Keyword:
    cost = _COSTS.get(name, _one)

    def metered(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
        if name == "additionalProperties" and "patternProperties" in schema:
            return  # which properties those are is for the patterns to say
        meter = _meter.get()
        meter.spend(cost(wanted, value))
        for error in check(validator, wanted, value, schema) or ():
            meter.spend(len(error.message) // _CHARACTERS_PER_STEP)
            yield error

    return metered


def _one(_wanted: Any, _value: Any) -> int:
    return 1


def _look_up(_wanted: Any, _value: Any) -> int:
    return _STEPS_OF_REFERENCE


def _each(wanted: Any, _value: Any) -> int:
    return 1 + len(wanted)


def _pairs(_wanted: Any, value: Any) -> int:
    """Things that cannot be sorted are compared with one another."""
    if not isinstance(value, list):
        return 1
    return 1 + (len(value) if all(isinstance(one, str) for one in value) else len(value) ** 2 // 4)


_COSTS: Mapping[str, Callable[[Any, Any], int]] = {
    "$ref": _look_up,
    "enum": _each,
    "required": _each,
    "uniqueItems": _pairs,
}
