"""The examples of `docs/routing.md` load, and the `tests:` in them hold."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.config.sections import CaseConfig
from proxy.routing.contents import Contents, read_contents
from proxy.routing.explain import explain
from proxy.routing.facts import Facts
from proxy.routing.matchers import MatchConfig
from proxy.routing.orders import ORDERS
from proxy.routing.view import StillView
from tests.unit.routing.given import facts

PAGE = (Path(__file__).parents[3] / "docs" / "routing.md").read_text()
PREAMBLE, *EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
KEYS = {"OPENAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}


def load(example: str) -> Snapshot:
    return loads((PREAMBLE + example).encode(), "docs/routing.md", KEYS)


def outcome(snapshot: Snapshot, case: CaseConfig) -> dict[str, object]:
    """What came of the case, under the names of what it expects."""
    given = case.given
    request = facts(
        given.model,
        plan=given.plan,
        tenant=given.tenant or "public",
        prompt=given.prompt,
        headers=given.header,
        metadata=given.metadata,
        stream=given.stream,
        endpoint=given.endpoint,
    )

    def read(body: bytes) -> Contents:
        contents = read_contents(body)
        tokens = contents.tokens if given.tokens is None else given.tokens
        return replace(contents, tokens=tokens, features=contents.features | set(given.has))

    at = datetime.fromisoformat(given.at) if given.at else datetime(2026, 1, 5, 12, tzinfo=UTC)
    padded = replace(request.inbound, body=request.inbound.body + b" " * (given.tokens or 0))
    asked = Facts(padded, read, lambda: at, snapshot.classifier)
    seen = explain(snapshot.table, asked, StillView(down=frozenset(given.down)))
    decision, error = seen.decision, seen.error
    offline = seen.first is not None and seen.first.upstream.offline
    return {
        "route": None if decision is None else decision.route,
        "task": seen.task,
        "complexity": seen.complexity,
        "first": str(seen.first),
        "targets": None if decision is None else tuple(map(str, decision.candidates)),
        "level": seen.first.model if offline and seen.first is not None else None,
        "error": None if error is None else error.code or error.kind.label,
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.sub(r"\W+", " ", text)[:40])
def test_an_example_holds(example: str) -> None:
    snapshot = load(example)

    assert snapshot.config.tests
    for case in snapshot.config.tests:
        wanted = case.expect.model_dump(exclude_none=True)
        found = outcome(snapshot, case)
        assert {name: found[name] for name in wanted} == wanted, case.given


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
