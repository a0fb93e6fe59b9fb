"""The `routes.yaml` that comes with the program: useful as it is, and proved by its own tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.config.cases import run
from proxy.config.check import check
from proxy.config.document import parse
from proxy.config.load import loads
from proxy.config.problems import ConfigError
from proxy.wire.dialects import discover

FILE = Path(__file__).parents[3] / "routes.yaml"
DOCUMENT: Mapping[str, Any] = parse(FILE.read_bytes(), "routes.yaml")[0].value
ROUTES: Sequence[Mapping[str, Any]] = DOCUMENT["routes"]
DIALECTS = discover()
ALL_KEYS = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DEEPSEEK_API_KEY", "GEMINI_API_KEY"), "a-key")


def failures(routes: Sequence[Mapping[str, Any]], environ: Mapping[str, str] | None = None) -> list[str]:
    """The names of the cases that fail where the file has these routes instead of its own."""
    text = msgspec.json.encode({**DOCUMENT, "routes": routes})
    return [outcome.name for outcome in run(loads(text, "routes.yaml", environ or {}), DIALECTS) if outcome.wrong]


@pytest.mark.parametrize("environ", [{}, ALL_KEYS], ids=["no key", "all keys"])
def test_its_own_tests_pass_on_every_machine(environ: Mapping[str, str]) -> None:
    assert failures(ROUTES, environ) == []


def test_check_has_no_warning_with_all_keys_set() -> None:
    findings = check(loads(FILE.read_bytes(), "routes.yaml", ALL_KEYS))

    assert [str(finding) for finding in findings if finding.level != "hint"] == []


def test_without_any_key_everything_goes_home_or_is_answered_by_the_proxy() -> None:
    snapshot = loads(FILE.read_bytes(), "routes.yaml", {})

    assert {name for name, upstream in snapshot.upstreams.items() if upstream.disabled is None} == {
        "lmstudio",
        "offline",
    }
    assert all(any(target.upstream.name == "lmstudio" for target in route.targets) for route in snapshot.routes)
    assert snapshot.anonymous is not None


def moved(number: int, to: int) -> Sequence[Mapping[str, Any]]:
    others = [route for route in ROUTES if route is not ROUTES[number]]
    return [*others[:to], ROUTES[number], *others[to:]]


MOVES = [(number, to) for number in range(len(ROUTES)) for to in (0, number + 1, len(ROUTES) - 1) if to != number]


@pytest.mark.parametrize(("number", "to"), [move for move in MOVES if move[1] < len(ROUTES)])
def test_no_route_can_be_moved_unnoticed(number: int, to: int) -> None:
    """Every two that follow each other have a case that fits both; any other order turns one such pair round."""
    assert failures(moved(number, to))


@pytest.mark.parametrize("number", range(len(ROUTES)))
def test_no_route_can_lose_its_effect_unnoticed(number: int) -> None:
    never = {**ROUTES[number], "match": {"header": {"x-never": "sent"}}}

    assert failures([never if index == number else route for index, route in enumerate(ROUTES)])


@pytest.mark.parametrize("number", range(len(ROUTES)))
def test_no_route_can_be_deleted_unnoticed(number: int) -> None:
    """A case that expects it is then a mistake of the file."""
    with pytest.raises(ConfigError) as refused:
        failures([route for index, route in enumerate(ROUTES) if index != number])

    assert all(".expect.route" in problem.path for problem in refused.value.problems)
