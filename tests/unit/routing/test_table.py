from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.routing.families import FamilyConfig
from proxy.routing.table import NO_ROUTE
from proxy.routing.view import StillView
from tests.unit.routing.given import OFFLINE, WELL, Watched, facts, models_of, places, route, table, target

LAST = places(OFFLINE)
FAMILIES = {"small*": FamilyConfig(context=100), "plain*": FamilyConfig(tools=False)}
TOOLS = {"tools": [{"type": "function"}]}


def refused(kind: ErrorKind, *args: Any) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        args[0].decide(*args[1:])
    assert caught.value.kind is kind
    return caught.value


def test_the_first_rule_that_holds_decides() -> None:
    routes = table(
        route("one", "cloud/a", match={"plan": "free"}),
        route("two", "cloud/b", match={"plan": ["free", "gold"]}),
        route("rest", "cloud/c"),
    )

    assert [routes.decide(facts(plan=plan), WELL).route for plan in ("free", "gold", None)] == ["one", "two", "rest"]


def test_what_a_route_says_is_in_the_decision() -> None:
    routes = table(
        route(
            "r",
            target("cloud/a", params={"seed": 1}),
            deadline="30s",
            retry={"attempts": 2},
            strict_translation=True,
        )
    )
    decision = routes.decide(facts(defaults={"model": "cloud/a", "temperature": 0.3}), WELL)

    assert (decision.deadline, decision.max_attempts, decision.strict_translation) == (30.0, 2, True)
    assert decision.defaults == {"temperature": 0.3}
    assert decision.candidates[0].params == {"seed": 1}


class TestNamedModels:
    """A route without `match` puts the named model first; one with `match` decides outright."""

    ROUTES = table(
        route("free", "cloud/cheap", match={"plan": "free"}),
        route("any-llama", "local/*", match={"model": "llama*"}),
        route("rest", "local/*", "other/b", params={"seed": 7}),
        models={"fast": ["cloud/mini", "other/b"]},
    )

    def decided(self, model: str, plan: str | None = None) -> list[str]:
        return models_of(self.ROUTES.decide(facts(model, plan=plan), WELL).candidates)

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            ("auto", ["local/auto", "other/b"]),
            ("fast", ["cloud/mini", "other/b", "local/fast"]),
            ("cloud/x", ["cloud/x", "local/x", "other/b"]),
            ("mini", ["cloud/mini", "local/mini", "other/b"]),
            ("llama-9", ["local/llama-9"]),
        ],
    )
    def test_candidates(self, model: str, expected: list[str]) -> None:
        assert self.decided(model) == expected

    def test_a_match_decides_outright(self) -> None:
        assert self.decided("fast", "free") == ["cloud/cheap"]

    def test_the_routes_fields_are_set_for_the_named_model_too(self) -> None:
        candidates = self.ROUTES.decide(facts("fast"), WELL).candidates

        assert candidates[0].params == {"seed": 7}

    @pytest.mark.parametrize("plan", [None, "free"])
    def test_an_unknown_name_is_refused_by_every_route_that_does_not_name_it(self, plan: str | None) -> None:
        view = StillView(models={"local": frozenset()})
        error = refused(ErrorKind.MODEL_NOT_FOUND, self.ROUTES, facts("fsat", plan=plan), view)

        assert "`fast`" in error.message

    def test_an_unknown_name_passes_while_an_upstream_that_takes_any_has_told_no_names(self) -> None:
        """It may have been down from the start; it is asked, and knows best."""
        candidates = self.ROUTES.decide(facts("fsat"), WELL).candidates

        assert places(candidates)[0] == "local/fsat"

    @pytest.mark.parametrize("name", ["*", "other/*"])
    def test_the_placeholder_is_no_name(self, name: str) -> None:
        refused(ErrorKind.MODEL_NOT_FOUND, self.ROUTES, facts(name), WELL)

    def test_an_offline_answer_that_is_asked_for_comes_first(self) -> None:
        candidates = self.ROUTES.decide(facts("offline/rules"), WELL).candidates

        assert places(candidates)[0] == "offline/rules"
        assert len(places(candidates)) == len(set(places(candidates)))


def test_without_a_route_the_named_model_stands_alone() -> None:
    routes = table(route("free", "cloud/a", match={"plan": "free"}), models={"fast": ["cloud/mini"]})
    decision = routes.decide(facts("fast"), WELL)

    assert (decision.route, places(decision.candidates)) == (NO_ROUTE, ["cloud/mini", *LAST])


def test_without_a_route_and_a_name_only_the_offline_answers_are_left() -> None:
    routes = table(route("free", "cloud/a", match={"plan": "free"}), offline=())

    refused(ErrorKind.NO_CANDIDATE, routes, facts(), WELL)


class TestKeptModels:
    """`upstream/*` keeps what was asked for, or lets the upstream choose."""

    @pytest.mark.parametrize(
        ("use", "model", "expected"),
        [
            ("other/*", "cloud/x", ["cloud/x", "other/x"]),
            ("third/*", "auto", ["third/third-default"]),
            ("third/*", "cloud/x", ["cloud/x", "third/x"]),
            ("other/*", "auto", ["other/listed-1"]),
            ("local/*", "auto", ["local/auto"]),
        ],
    )
    def test_which_model(self, use: str, model: str, expected: list[str]) -> None:
        view = StillView(models={"other": frozenset({"listed-2", "listed-1"})})

        assert models_of(table(route("r", use)).decide(facts(model), view).candidates) == expected

    def test_an_upstream_without_any_choice_is_left_out(self) -> None:
        decision = table(route("r", "other/*", "cloud/a")).decide(facts(), WELL)

        assert models_of(decision.candidates) == ["cloud/a"]
        assert [(step.subject, step.taken) for step in decision.why] == [("other/*", False)]
        assert "no model was named" in decision.why[0].why

    def test_a_name_that_only_the_rule_knows_loses_its_upstream(self) -> None:
        routes = table(route("r", "other/*", match={"model": "*"}))

        assert models_of(routes.decide(facts("whatever/x"), WELL).candidates) == ["other/whatever/x"]
        assert models_of(routes.decide(facts("cloud/x"), WELL).candidates) == ["other/x"]


class TestPlans:
    ROUTES = table(
        route("named", "cloud/a", match={"model": "secret"}),
        route("rest", "cloud/a"),
        models={"fast": ["cloud/mini"], "smart": ["cloud/big"]},
        plans={"free": ["fast", "cloud/m*"]},
    )

    @pytest.mark.parametrize("model", ["auto", "fast", "cloud/mini", "mini", "cloud/m2"])
    def test_what_it_may_ask_for(self, model: str) -> None:
        assert self.ROUTES.decide(facts(model, plan="free"), WELL).candidates

    @pytest.mark.parametrize("model", ["smart", "big", "cloud/big", "secret"])
    def test_what_it_may_not(self, model: str) -> None:
        refused(ErrorKind.MODEL_NOT_FOUND, self.ROUTES, facts(model, plan="free"), WELL)
        assert self.ROUTES.decide(facts(model, plan="gold"), WELL).candidates


class TestOffline:
    ROUTES = table(route("r", "offline/rules", "cloud/a", "local/b", order="cheapest"))

    def test_offline_answers_come_last_and_once(self) -> None:
        candidates = places(self.ROUTES.decide(facts(), WELL).candidates)

        assert candidates == ["local/b", "cloud/a", "offline/rules", "offline/stale", "offline/patterns"]

    @pytest.mark.parametrize("no", [{"headers": {"x-failsoft-offline": "never"}}, {"flags": {"offline": "never"}}])
    def test_who_refuses_them_gets_none(self, no: dict[str, Any]) -> None:
        decision = self.ROUTES.decide(facts(**no), WELL)

        assert places(decision.candidates) == ["local/b", "cloud/a"]
        assert [(step.subject, step.why) for step in decision.why] == [("offline/rules", "offline answers are refused")]

    def test_a_route_may_refuse_them(self) -> None:
        decision = table(route("r", "cloud/a", offline="never")).decide(facts(), WELL)

        assert places(decision.candidates) == ["cloud/a"]

    def test_when_nothing_else_is_left(self) -> None:
        routes = table(route("r", "broken/x"))

        assert places(routes.decide(facts(), WELL).candidates) == LAST
        refused(ErrorKind.NO_CANDIDATE, routes, facts(flags={"offline": "never"}), WELL)


class TestCapabilities:
    ROUTES = table(route("r", "cloud/small", "cloud/plain", "cloud/able"), families=FAMILIES)

    @pytest.mark.parametrize(
        ("request_facts", "expected"),
        [
            ({}, ["cloud/small", "cloud/plain", "cloud/able"]),
            ({"prompt": "x" * 1000}, ["cloud/plain", "cloud/able"]),
            ({"fields": TOOLS}, ["cloud/small", "cloud/able"]),
            ({"fields": TOOLS, "prompt": "x" * 1000}, ["cloud/able"]),
        ],
    )
    def test_who_cannot_serve_is_left_out(self, request_facts: dict[str, Any], expected: list[str]) -> None:
        decision = self.ROUTES.decide(facts(**request_facts), WELL)

        assert models_of(decision.candidates) == expected
        assert len(decision.why) == 3 - len(expected)

    def test_too_long_for_all_is_the_callers_to_mend(self) -> None:
        """An offline answer would hide what the caller can change."""
        routes = table(route("r", "cloud/small", "broken/x"), families=FAMILIES)
        error = refused(ErrorKind.CONTEXT, routes, facts(prompt="x" * 1000), WELL)

        assert (error.status, error.code) == (400, "context_length_exceeded")
        assert "cloud/small: about" in error.message

    def test_content_that_none_takes(self) -> None:
        routes = table(route("r", "cloud/plain", "cloud/small"), families=FAMILIES)
        error = refused(ErrorKind.BAD_REQUEST, routes, facts(prompt="x" * 1000, fields=TOOLS), WELL)

        assert "takes no tools" in error.message

    def test_an_offline_answer_that_the_route_names_is_no_error(self) -> None:
        routes = table(route("r", "cloud/small", "offline/rules"), families=FAMILIES)

        assert models_of(routes.decide(facts(prompt="x" * 1000), WELL).candidates) == []


def test_disabled_upstreams_are_left_out_and_say_why() -> None:
    decision = table(route("r", "broken/x", "cloud/a")).decide(facts(), WELL)

    assert models_of(decision.candidates) == ["cloud/a"]
    assert [(step.subject, step.why) for step in decision.why] == [("broken/x", "disabled: it has no key")]


def test_what_is_down_or_open_is_the_last_resort() -> None:
    view = StillView(down=frozenset({"cloud"}), opened=frozenset({"other/b"}))
    candidates = table(route("r", "cloud/a", "other/b", "third/c")).decide(facts(), view).candidates

    assert places(candidates) == ["third/c", "cloud/a", "other/b", *LAST]


def test_what_is_in_maintenance_is_left_out_and_says_why() -> None:
    view = StillView(pauses={"cloud": "in maintenance: new disk"})
    decision = table(route("r", "cloud/a", "other/b")).decide(facts(), view)

    assert places(decision.candidates) == ["other/b", *LAST]
    assert [(step.subject, step.why) for step in decision.why] == [("cloud/a", "in maintenance: new disk")]


class TestThrottled:
    """What a cloud turns away goes to one's own machines first, from the place of the throttled one on."""

    @pytest.mark.parametrize(
        ("use", "throttled", "order"),
        [
            ("cloud/a other/b local/c", "cloud/a", "local/c other/b cloud/a"),
            ("other/b cloud/a third/d local/c", "cloud/a", "other/b local/c third/d cloud/a"),
            ("local/c cloud/a other/b local/d", "cloud/a", "local/c local/d other/b cloud/a"),
            ("cloud/a other/b local/c", "other/b", "cloud/a local/c other/b"),
            ("cloud/a other/b local/c", "cloud/a other/b", "local/c cloud/a other/b"),
            ("local/c cloud/a local/d", "local/c", "cloud/a local/d local/c"),
            ("cloud/a other/b", "cloud/a", "other/b cloud/a"),
        ],
    )
    def test_order(self, use: str, throttled: str, order: str) -> None:
        view = StillView(throttled=frozenset(throttled.split()))
        decision = table(route("r", *use.split())).decide(facts(), view)

        assert places(decision.candidates) == [*order.split(), *LAST]

    def test_a_broken_one_changes_nothing_else(self) -> None:
        view = StillView(opened=frozenset({"cloud/a"}))
        decision = table(route("r", "cloud/a", "other/b", "local/c")).decide(facts(), view)

        assert places(decision.candidates) == ["other/b", "local/c", "cloud/a", *LAST]

    def test_a_route_may_keep_its_order(self) -> None:
        view = StillView(throttled=frozenset({"cloud/a"}))
        rules = table(route("r", "cloud/a", "other/b", "local/c", when_throttled="next"))

        assert places(rules.decide(facts(), view).candidates) == ["other/b", "local/c", "cloud/a", *LAST]


class TestForced:
    ROUTES = table(route("free", "cloud/a", match={"plan": "free"}), route("rest", "cloud/b"))

    def test_an_administrator_chooses_the_route(self) -> None:
        decision = self.ROUTES.decide(facts(headers={"x-failsoft-route": "free"}, is_admin=True), WELL)

        assert (decision.route, models_of(decision.candidates)) == ("free", ["cloud/a"])

    def test_nobody_else_does(self) -> None:
        assert self.ROUTES.decide(facts(headers={"x-failsoft-route": "free"}), WELL).route == "rest"

    def test_an_unknown_route(self) -> None:
        forced = facts(headers={"x-failsoft-route": "no"}, is_admin=True)

        refused(ErrorKind.BAD_REQUEST, self.ROUTES, forced, WELL)


def test_a_decision_asks_only_what_its_rules_ask() -> None:
    """Rules below the one that decides cost nothing, and neither does a model that can take anything."""
    watched = Watched()
    routes = table(
        route("free", "cloud/gpt-6-sol", "local/*", match={"plan": "free"}),
        route("code", "cloud/a", match={"task": "code", "tokens": "> 1", "time": {"days": "mon"}}),
        route("rest", "cloud/a"),
    )
    routes.decide(facts(plan="free", watched=watched), WELL)

    assert (watched.read, watched.wall, watched.classified) == (0, 0, 0)
    routes.decide(facts(watched=watched), WELL)
    assert (watched.read, watched.wall) == (1, 1)
