"""A log of real records replayed over two versions of a file."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from proxy.adapters.logs import line_of
from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.config.replay import compare, recorded
from proxy.core.usage import Usage, UsageRecord

HEAD = """
upstreams:
  home: {provider: lmstudio}
  cloud: {provider: openai, keys: ["${KEY:-}"]}
plans: {gold: {}, free: {}}
tenants: {acme: {plan: gold}}
prices: {big: {input: 1, output: 10}, small: {input: 0.1, output: 1}}
routes:
"""


def file(*routes: str) -> Snapshot:
    return loads((HEAD + "".join(f"  - {route}\n" for route in routes)).encode(), "f", {})


def line(asked: str = "auto", prompt: int = 1000, completion: int = 100, **facts: Any) -> str:
    """What the program writes about such a request."""
    record = UsageRecord(
        id="req_1",
        correlation_id="c",
        at=datetime(2026, 1, 5, 12, tzinfo=UTC),
        tenant="acme",
        endpoint="/v1/chat/completions",
        stream=False,
        asked_model=asked,
        route="r",
        upstream="u",
        model="m",
        mode="identity",
        attempts=(),
        status=200,
        ended="stop",
        usage=Usage(prompt, completion, source="vendor"),
        seconds=0.1,
        first_token=None,
        facts=facts,
    )
    return msgspec.json.encode(line_of(record)).decode()


BIG = "{name: all, use: [cloud/big]}"
SMALL = "{name: all, use: [cloud/small]}"


def test_what_moves_and_what_it_costs() -> None:
    new = file("{name: long, match: {tokens: '> 500'}, use: [cloud/small]}", BIG)
    comparison = compare(file(BIG), new, [line(), line(prompt=100), line(prompt=9000, tokens=100)])

    assert (comparison.replayed, comparison.routes_changed, comparison.targets_changed) == (3, 1, 1)
    assert comparison.moves == {("all", "cloud/big", "long", "cloud/small"): 1}
    assert comparison.old_cost - comparison.new_cost == pytest.approx((1000 * 0.9 + 100 * 9) / 1e6)


def test_another_target_under_the_same_route() -> None:
    comparison = compare(file(BIG), file(SMALL), [line()] * 4)

    assert (comparison.routes_changed, comparison.targets_changed, comparison.priced) == (0, 4, 4)


def test_what_was_recorded_is_believed() -> None:
    new = file("{name: code, match: {task: code, plan: gold, has: [tools]}, use: [home/x]}", BIG)
    lines = [line(task="code", has=["tools"]), line(task="writing", has=["tools"]), line(task="code", has=[])]

    assert compare(file(BIG), new, lines).moves.total() == 1


def test_the_plan_of_a_tenant_that_the_file_does_not_know() -> None:
    new = file("{name: free, match: {plan: free}, use: [home/x]}", BIG)
    stranger = line(plan="free").replace('"acme"', '"made at run time"')

    assert compare(file(BIG), new, [stranger]).routes_changed == 1


def test_a_fact_that_was_not_recorded_leaves_the_request_out() -> None:
    new = file("{name: code, match: {not: {complexity: simple}}, use: [home/x]}", BIG)
    comparison = compare(file(BIG), new, [line(task="code"), line(complexity="simple")])

    assert comparison.replayed == 1
    assert comparison.skipped == {"`complexity` was not recorded": 1}


def test_what_is_never_logged_is_said() -> None:
    new = file(
        "{name: a, match: {header: {x: y}, metadata: {z: w}}, use: [home/x]}",
        "{name: b, use: [home/a, home/b], order: weighted}",
    )
    told = " ".join(compare(file("{name: c, use: [home/a], order: fastest}"), new, []).caveats)

    assert all(word in told for word in ("`header`", "`metadata`", "`weighted`", "`fastest`"))


def test_an_error_is_a_place_too() -> None:
    comparison = compare(file(BIG), file("{name: all, match: {model: '*'}, use: [home/*]}"), [line("unknown")])

    assert comparison.moves == {("-", "error model_not_found", "all", "home/unknown"): 1}


def test_a_price_that_is_not_known_is_not_guessed() -> None:
    comparison = compare(file(BIG), file("{name: all, use: [cloud/odd]}"), [line()])

    assert (comparison.replayed, comparison.priced, comparison.old_cost) == (1, 0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "null",
        '{"event": "message", "time": "x"}',
        line().replace('"request"', '"message"'),
        line(asked=""),
        line(prompt=-5),
        line().replace('"prompt":1000', '"prompt":1e999'),
        line().replace("2026-01-05T", "noon"),
        "[" * 100_000,
    ],
)
def test_lines_that_are_no_requests_are_counted(text: str) -> None:
    assert recorded(text) is None
    assert compare(file(BIG), file(SMALL), [text]).skipped.total() == 1
