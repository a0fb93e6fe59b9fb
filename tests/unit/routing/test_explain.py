import json
from collections.abc import Sequence

from proxy.core.decision import Target
from proxy.routing.explain import as_json, explain, render
from proxy.routing.view import StillView
from tests.unit.routing.given import WELL, facts, route, table

ROUTES = table(
    route("cheap", "cloud/a", match={"plan": "free"}),
    route("local", "local/x", match={"tokens": "> 600"}),
    route("smart-gold", "broken/x", "cloud/b", "other/c", match={"model": "smart", "plan": "gold"}),
    route("rest", "cloud/a"),
    models={"smart": ["cloud/b"]},
)


def notes(target: Target) -> Sequence[str]:
    return ["in-process"] if target.upstream.offline else ["identity", "breaker closed"]


def test_sentences() -> None:
    said = render(explain(ROUTES, facts("smart", plan="gold"), WELL), notes)

    assert said.splitlines() == [
        "asked: smart   plan gold   tokens ≈17   task general (simple)",
        "route smart-gold   matched 3rd of 4: plan gold in [gold] ✓   model smart in [smart] ✓",
        "  1 cloud/b            identity   breaker closed",
        "  2 other/c            identity   breaker closed",
        "  3 offline/stale      in-process",
        "  4 offline/patterns   in-process",
        "  5 offline/rules      in-process",
        "  left out: broken/x (disabled: it has no key)",
        "not taken: 1 cheap (plan gold not in [free]) · 2 local (tokens ≈17 not > 600)",
    ]


def test_an_error_is_explained_too() -> None:
    seen = explain(ROUTES, facts("samrt"), WELL)

    assert render(seen).splitlines()[1:] == [
        "route rest   matched 4th of 4: it takes everything",
        (
            "error 404 model_not_found: The model `samrt` does not exist, or you do not have access to it."
            " Did you mean `smart`?"
        ),
        (
            "not taken: 1 cheap (plan (none) not in [free]) · 2 local (tokens ≈17 not > 600)"
            " · 3 smart-gold (plan (none) not in [gold])"
        ),
    ]
    assert as_json(seen)["error"]["status"] == 404


def test_a_forced_route() -> None:
    said = render(explain(ROUTES, facts(headers={"x-failsoft-route": "cheap"}, is_admin=True), WELL))

    assert "route cheap   asked for by x-failsoft-route" in said


def test_no_route() -> None:
    said = render(explain(table(offline=()), facts(), WELL))

    assert "no route matched" in said
    assert "error 503 no_upstream" in said


def test_json_says_the_same() -> None:
    seen = explain(ROUTES, facts("smart", plan="gold", prompt="code"), WELL)
    data = json.loads(json.dumps(as_json(seen, notes)))

    assert (data["route"], data["task"], data["first"]) == ("smart-gold", "code", "cloud/b")
    assert [(rule["route"], rule["taken"]) for rule in data["rules"]] == [
        ("cheap", False),
        ("local", False),
        ("smart-gold", True),
    ]
    assert data["targets"][0] == {"target": "cloud/b", "params": {}, "notes": ["identity", "breaker closed"]}
    assert data["left_out"] == [{"target": "broken/x", "why": "disabled: it has no key"}]


def test_what_is_named_twice_is_left_out_once() -> None:
    """A model's own targets come first where a route takes everything, and the route may have the same."""
    twice = table(route("rest", "broken/x", "cloud/a"), models={"smart": ["broken/x"]})
    seen = explain(twice, facts("smart"), WELL)

    assert [step.subject for step in seen.skipped] == ["broken/x"]


def test_the_decision_itself_carries_the_reasons() -> None:
    seen = explain(ROUTES, facts("smart", plan="gold"), WELL)

    assert seen.decision is not None
    assert [(step.subject, step.taken) for step in seen.decision.why] == [
        ("cheap", False),
        ("local", False),
        ("smart-gold", True),
        ("broken/x", False),
    ]


def test_who_would_answer() -> None:
    """Nothing is in an assumed cache, so the first level that can answer is the next one."""
    everything = StillView(down=frozenset({"cloud", "other", "local", "third"}))

    assert str(explain(ROUTES, facts(), WELL).first) == "cloud/a"
    assert str(explain(ROUTES, facts(), everything).first) == "offline/patterns"
    assert explain(ROUTES, facts(flags={"offline": "never"}), everything).first is None
