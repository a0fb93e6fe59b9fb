"""What a question assumes of who asks and of the world."""

from datetime import UTC, datetime

import pytest

from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.config.question import Assumed, Question, assume, facts_of
from proxy.core.decision import Target
from proxy.core.errors import ErrorKind, ProxyError
from proxy.routing.facts import Facts
from proxy.routing.view import RESTING, THROTTLED, StillView
from proxy.synth.answer import LEVELS
from proxy.wire.dialects import discover

SNAPSHOT = loads(
    b"""
upstreams: {home: {provider: lmstudio}, away: {provider: ollama}}
plans: {gold: {}, free: {}}
tenants: {acme: {plan: gold}, left: {enabled: false}}
""",
    "f",
    {},
)
BODY = b'{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'
NOW = datetime(2026, 1, 5, tzinfo=UTC)


def facts(question: Question, snapshot: Snapshot = SNAPSHOT) -> Facts:
    return facts_of(question, snapshot, discover(), lambda: NOW)


def target(place: str) -> Target:
    name, _, model = place.partition("/")
    return Target(SNAPSHOT.upstreams[name], model)


def test_who_asks() -> None:
    assert (facts(Question(BODY)).tenant, facts(Question(BODY)).plan) == ("nobody", None)
    assert (facts(Question(BODY, tenant="acme")).tenant, facts(Question(BODY, tenant="acme")).plan) == ("acme", "gold")
    assert facts(Question(BODY, tenant="acme", plan="free")).plan == "free"
    assert facts(Question(BODY, tenant="made at run time", plan="free")).tenant == "made at run time"
    assert facts(Question(BODY), loads(b"{}", "f", {})).tenant == "public"


def test_the_length_of_a_prompt_can_be_stated() -> None:
    stated = facts(Question(BODY, tokens=1_000_000))

    assert stated.tokens == 1_000_000
    assert len(stated.inbound.body) * 60 > 1_000_000
    assert stated.contents.last_user == "Hello"


@pytest.mark.parametrize(
    ("question", "kind", "told"),
    [
        (Question(BODY, endpoint="/v1/nothing"), ErrorKind.UNKNOWN_PATH, ""),
        (Question(b"[]"), ErrorKind.BAD_REQUEST, ""),
        (Question(b'{"model": "m"}'), ErrorKind.BAD_REQUEST, "messages"),
        (Question(BODY, tenant="acm"), ErrorKind.BAD_REQUEST, "no tenant `acm`; did you mean `acme`?"),
        (Question(BODY, plan="golden"), ErrorKind.BAD_REQUEST, "no plan `golden`; did you mean `gold`?"),
        (Question(BODY, tenant="left"), ErrorKind.UNKNOWN_KEY, ""),
    ],
)
def test_what_cannot_be_asked(question: Question, kind: ErrorKind, told: str) -> None:
    with pytest.raises(ProxyError) as refused:
        facts(question)

    assert refused.value.kind is kind
    assert told in refused.value.message


def test_what_is_assumed_and_what_is_as_it_is() -> None:
    still = StillView(down=frozenset({"away"}), first_tokens={"home/a": 0.5}, busy={"home": 3})
    states = {"home": "down", "away": "up", "home/a": "open", "home/b": "closed", "home/c": "throttled"}
    view = assume(still, states, SNAPSHOT.upstreams)

    assert (view.is_down("home"), view.is_down("away"), view.is_down("other")) == (True, False, False)
    assert [view.is_open(target(f"home/{model}")) for model in "abcd"] == [True, False, True, False]
    assert [view.rest(target(f"home/{model}")) for model in "abcd"] == [RESTING, None, THROTTLED, None]
    assert (view.first_token(target("home/a")), view.requests_at("home")) == (0.5, 3)


def test_what_an_upstream_lists_can_be_assumed() -> None:
    view = assume(StillView(), {"home": "lists:a,b down"}, SNAPSHOT.upstreams)

    assert (view.listed("home"), view.listed("away"), view.is_down("home")) == ({"a", "b"}, None, True)


def test_levels_that_are_not_built_in_never_answer() -> None:
    view = Assumed(StillView(opened=frozenset()))
    ready = [level for level in ("stale", "patterns", "rules") if not view.is_open(target(f"offline/{level}"))]

    assert ready == [level for level in ("stale", "patterns", "rules") if level in LEVELS]


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ({"hom": "down"}, "no upstream `hom`; did you mean `home`?"),
        ({"home": "open"}, "`down`, `up` or `lists:MODEL"),
        ({"home/a": "down"}, "`open`, `throttled` or `closed`"),
    ],
)
def test_states_that_there_are_not(states: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=r"assumed|no upstream") as refused:
        assume(StillView(), states, SNAPSHOT.upstreams)

    assert told in str(refused.value)
