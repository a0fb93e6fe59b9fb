from proxy.routing.index import Index
from proxy.routing.matchers import MatchConfig, compile_match
from tests.unit.routing.given import Watched, facts


def rules(*matches: dict[str, object]) -> Index:
    made = [MatchConfig.model_validate(match) for match in matches]
    return Index([(match, compile_match(match)) for match in made])


def test_the_first_of_many() -> None:
    """Enough rules for every axis: literals, patterns, silence, and values that are absent or very long."""
    index = rules(
        *({"tenant": f"t{n}"} for n in range(20)),
        *({"model": [f"m{n}-*", f"exact-{n}"]} for n in range(20)),
        *({"header": {"x-team": f"team{n}"}} for n in range(20)),
        *({"metadata": {"env": f"e{n}*"}} for n in range(20)),
        *({"plan": "free", "endpoint": f"/v{n}"} for n in range(20)),
        {"stream": False},
    )

    assert index.first(facts(tenant="t7")) == 7
    assert index.first(facts("m3-x")) == 23
    assert index.first(facts("exact-3")) == 23
    assert index.first(facts("m3-" + "x" * 5000)) == 23
    assert index.first(facts(headers={"x-team": "team9"})) == 49
    assert index.first(facts(metadata={"env": "e19z"})) == 61  # e1* comes before e19*
    assert index.first(facts(plan="free", endpoint="/v5")) == 85
    assert index.first(facts()) == 100
    assert index.first(facts(stream=True)) is None


def test_rules_that_cannot_hold_are_not_asked() -> None:
    watched = Watched()
    index = rules(*({"tenant": f"t{n}", "task": "code"} for n in range(20)))

    assert index.first(facts(tenant="nobody", watched=watched)) is None
    assert watched.classified == 0


def test_no_rules() -> None:
    assert rules().first(facts()) is None


def test_a_condition_that_failed_is_not_asked_again() -> None:
    looked = 0

    class Watching(dict[str, str]):
        def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
            nonlocal looked
            looked += key == "x-a"
            return super().get(key, default)

    index = rules(*({"not": {"header": {"x-a": "1"}}, "stream": False} for _ in range(50)), {"plan": "gold"})

    assert index.first(facts(plan="gold", headers=Watching({"x-a": "1"}))) == 50
    assert looked == 1
