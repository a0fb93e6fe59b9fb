"""The language of the configuration file, example by example."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from proxy.config.load import loads
from proxy.config.schema import Config
from tests.unit.config import golden


@pytest.mark.parametrize("name", golden.names())
def test_a_file_means_what_is_written_under_it(name: str) -> None:
    given, expected = golden.read(name)
    assert expected == golden.outcome(given)


@pytest.mark.parametrize("name", golden.names())
def test_no_secret_is_shown(name: str) -> None:
    """Nothing of the environment but its variables' names comes back, in a snapshot or in an error."""
    given, _ = golden.read(name)
    assert golden.CANARY not in golden.outcome(given)


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _classes(part)


def _fields(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, str]]:
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        yield model.__name__, name
        for below in _classes(field.annotation):
            yield from _fields(below, seen)


def _written(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        for name in value.model_fields_set:
            yield type(value).__name__, name
            yield from _written(getattr(value, name))
    elif isinstance(value, dict):
        for below in value.values():
            yield from _written(below)
    elif isinstance(value, tuple):
        for below in value:
            yield from _written(below)


def test_every_key_is_in_a_golden_file() -> None:
    """A key that is added to the language gets an example here, or this fails."""
    given, _ = golden.read("every_key")
    config = loads(given.encode(), golden.FILE, golden.ENVIRON).config
    assert set() == set(_fields(Config, set())) - set(_written(config))
