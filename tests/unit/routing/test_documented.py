"""The examples of `docs/routing.md` load, and the `tests:` in them hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.cases import run
from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.routing.matchers import MatchConfig
from proxy.routing.orders import ORDERS
from proxy.wire.dialects import discover

DIALECTS = discover()
PAGE = (Path(__file__).parents[3] / "docs" / "routing.md").read_text()
PREAMBLE, *EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
KEYS = {"OPENAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}


def load(example: str) -> Snapshot:
    return loads((PREAMBLE + example).encode(), "docs/routing.md", KEYS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.sub(r"\W+", " ", text)[:40])
def test_an_example_holds(example: str) -> None:
    snapshot = load(example)

    assert snapshot.config.tests
    assert [f"{outcome.name}: {wrong}" for outcome in run(snapshot, DIALECTS) for wrong in outcome.wrong] == []


@pytest.mark.parametrize("name", [field.alias or key for key, field in MatchConfig.model_fields.items()])
def test_every_condition_has_a_heading_and_an_example(name: str) -> None:
    section = re.search(rf"^### `{name}`\n(.*?)^##", PAGE, re.MULTILINE | re.DOTALL)

    assert section, name
    assert f"{name}:" in section[1]


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_has_a_heading_and_an_example(name: str) -> None:
    section = re.search(rf"^### `{name}`\n(.*?)^##", PAGE, re.MULTILINE | re.DOTALL)

    assert section, name
    assert f"order: {name}" in section[1]
