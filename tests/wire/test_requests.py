"""Requests as clients make them, and what upstreams of each dialect are asked instead."""

from __future__ import annotations

import json

import pytest

from proxy.routing.families import Families, load
from tests.wire.requests import FOLDER, MODELS, becomes, names


@pytest.mark.parametrize("name", names())
def test_a_request_becomes_what_was_expected(name: str) -> None:
    assert becomes(name) == json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("model", MODELS.values())
def test_the_models_are_known(model: str) -> None:
    """Else the cases would show what is asked of strangers."""
    assert Families(load()).of("", model) != Families(load()).of("", "a model that nobody knows")
