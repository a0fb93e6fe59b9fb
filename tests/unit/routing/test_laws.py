"""Laws of routing, over random tables and requests."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, ProxyError
from proxy.routing.explain import explain
from proxy.routing.facts import Facts
from proxy.routing.families import FamilyConfig
from proxy.routing.routes import BoundRoute
from proxy.routing.table import RouteTable, Trace
from proxy.routing.view import StillView
from tests.unit.routing.given import UPSTREAMS, facts, route, table

PLANS = ("free", "gold", "team-1", "team-2")
MODELS = ("auto", "fast", "cloud/a", "a", "other/*", "unknown", "local/x", "broken/lost", "offline/rules", "small")
USES = ("cloud/a", "cloud/small", "other/b", "third/*", "local/*", "broken/lost", "offline/rules", "other/*")
ORDERS = ("listed", "cheapest", "fastest", "least_busy", "weighted")
FAMILIES = {"small": FamilyConfig(context=50, tools=False)}
ALIASES = {"fast": ["cloud/a", "other/b"]}

some = lambda values: st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)  # noqa: E731
plain = st.fixed_dictionaries(
    {},
    optional={
        "plan": some(PLANS),
        "model": some((*MODELS, "*a*", "un*")),
        "tenant": some(("acme", "a*", "b*")),
        "task": some(("code", "security", "general")),
        "header": st.fixed_dictionaries({"x-team": some(("labs", "l*", "sales"))}),
        "metadata": st.fixed_dictionaries({"env": some(("prod", "test"))}),
        "tokens": st.sampled_from(("> 50", "<= 50")),
        "has": some(("tools", "images")),
        "stream": st.booleans(),
        "time": st.sampled_from(({"days": "mon"}, {"hours": "00:00-06:00"})),
    },
).filter(bool)
matches = plain | plain.map(lambda match: {"not": match}) | st.none()
uses = st.lists(st.sampled_from(USES), min_size=1, max_size=4)
specs = st.tuples(matches, uses, st.sampled_from(ORDERS))
spec_lists = st.lists(specs, max_size=14)

requests = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "plan": st.sampled_from((*PLANS, None)),
        "tenant": st.sampled_from(("acme", "bond")),
        "prompt": st.sampled_from(("Hello", "code", "security", "x" * 400)),
        "headers": st.sampled_from(
            ({}, {"x-team": "labs"}, {"x-team": "law"}, {"x-failsoft-offline": "never"}, {"x-failsoft-route": "r1"})
        ),
        "metadata": st.sampled_from(({}, {"env": "prod"})),
        "stream": st.booleans(),
        "fields": st.sampled_from(({}, {"tools": [{"type": "function"}]})),
        "user": st.sampled_from((None, "ann", "bob")),
        "is_admin": st.booleans(),
    }
)
names = st.frozensets(st.sampled_from(sorted(UPSTREAMS)), max_size=3)
views = st.builds(
    StillView,
    models=st.dictionaries(st.sampled_from(("cloud", "other")), st.frozensets(st.sampled_from(("a", "b", "unknown")))),
    down=names,
    first_tokens=st.dictionaries(st.sampled_from(("cloud/a", "other/b")), st.floats(0, 5)),
    busy=st.dictionaries(st.sampled_from(("cloud", "other")), st.integers(0, 5)),
)

REFUSALS = {ErrorKind.MODEL_NOT_FOUND, ErrorKind.NO_CANDIDATE, ErrorKind.CONTEXT, ErrorKind.BAD_REQUEST}
Spec = tuple[dict[str, Any] | None, list[str], str]
laws = settings(deadline=None, max_examples=100)


def build(specs: list[Spec], start: int = 0) -> list[BoundRoute]:
    return [
        route(f"r{number}", *use, match=match, order=order) for number, (match, use, order) in enumerate(specs, start)
    ]


def made(routes: list[BoundRoute]) -> RouteTable:
    return table(*routes, models=ALIASES, families=FAMILIES, plans={"free": ["fast", "cloud/*"]})


def outcome(routes: RouteTable, asked: Facts, view: StillView) -> tuple[str, tuple[str, ...]] | tuple[ErrorKind, str]:
    try:
        decision = routes.decide(asked, view)
    except ProxyError as error:
        return error.kind, error.message
    return decision.route, tuple(map(str, decision.candidates))


def taken(routes: list[BoundRoute], asked: Facts, view: StillView) -> str | None:
    """The rule that held, whatever came of it."""
    trace = Trace()
    try:
        made(routes).decide(asked, view, trace)
    except ProxyError:
        pass
    return next((tried.name for tried in trace.tried if tried.taken), None)


@laws
@given(specs=spec_lists, request=requests, view=views)
def test_watching_changes_nothing(specs: list[Spec], request: dict[str, Any], view: StillView) -> None:
    """The explanation is the decision: same route, same targets, same error. The index never changes an answer."""
    routes = made(build(specs))
    seen = explain(routes, facts(**request), view)
    if seen.decision is None:
        assert seen.error is not None
        told: object = (seen.error.kind, seen.error.message)
    else:
        told = (seen.decision.route, tuple(map(str, seen.decision.candidates)))

    assert outcome(routes, facts(**request), view) == told


@laws
@given(specs=spec_lists, added=specs, request=requests, view=views)
def test_a_rule_below_changes_no_match(
    specs: list[Spec], added: Spec, request: dict[str, Any], view: StillView
) -> None:
    before, after = build(specs), [*build(specs), *build([added], len(specs))]
    matched = taken(before, facts(**request), view)
    if matched is not None:
        assert taken(after, facts(**request), view) == matched


@laws
@given(specs=spec_lists.filter(bool), data=st.data(), request=requests, view=views)
def test_deleting_a_rule_that_did_not_match_changes_no_match(
    specs: list[Spec], data: st.DataObject, request: dict[str, Any], view: StillView
) -> None:
    routes = build(specs)
    matched = taken(routes, facts(**request), view)
    rest = [one for one in routes if one.name != matched]
    if rest and "x-failsoft-route" not in request["headers"]:
        gone = data.draw(st.sampled_from(rest))
        assert taken([one for one in routes if one is not gone], facts(**request), view) == matched


@laws
@given(specs=spec_lists, request=requests, view=views)
def test_candidates_are_sound(specs: list[Spec], request: dict[str, Any], view: StillView) -> None:
    """Never empty, never twice, never disabled, never `*`; offline answers last and only for who takes them."""
    asked = facts(**request)
    seen = explain(made(build(specs)), asked, view)
    if seen.decision is None:
        assert seen.error is not None
        assert seen.error.kind in REFUSALS
        return
    candidates = seen.decision.candidates
    offline = [one.upstream.offline for one in candidates]

    assert candidates
    assert len({str(one) for one in candidates}) == len(candidates)
    assert all(one.upstream.disabled is None and "*" not in one.model for one in candidates)
    assert asked.model == "offline/rules" or offline == sorted(offline)
    assert not (asked.inbound.refuses_offline and any(offline))


@laws
@given(uses=uses, user=st.text(min_size=1, max_size=9), ids=st.lists(st.text(min_size=1), min_size=2, max_size=2))
def test_the_same_user_has_the_same_target(uses: list[str], user: str, ids: list[str]) -> None:
    routes = made([route("r", *uses, order="weighted")])
    one, two = (outcome(routes, facts(user=user, request_id=name), StillView()) for name in ids)

    assert one == two
