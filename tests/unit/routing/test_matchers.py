from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.routing.matchers import _BUILDERS, MatchConfig, Range, all_of, compile_match, parse_hours, parse_range
from tests.unit.routing.given import Watched, facts

HELLO = {"messages": [{"role": "user", "content": "x" * 4000}]}
TOOLS = {"tools": [{"type": "function"}]}


def holds(match: dict[str, Any], **request: Any) -> bool:
    return all_of(compile_match(MatchConfig.model_validate(match)))(facts(**request))


def test_every_condition_has_its_builder() -> None:
    assert set(MatchConfig.model_fields) == set(_BUILDERS)


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"model": "gpt-*"}, {"model": "gpt-6"}, {"model": "xgpt-6"}),
        ({"model": ["a", "b*"]}, {"model": "bc"}, {"model": "ac"}),
        ({"task": "code"}, {"prompt": "code"}, {"prompt": "security"}),
        ({"task": ["code", "writing"]}, {"prompt": "writing"}, {"prompt": "Hello"}),
        ({"complexity": "complex"}, {"prompt": "x" * 300}, {"prompt": "x"}),
        ({"plan": ["free", "gold"]}, {"plan": "gold"}, {"plan": "golden"}),
        ({"plan": "free"}, {"plan": "free"}, {"plan": None}),
        ({"tenant": "acme-*"}, {"tenant": "acme-1"}, {"tenant": "acme"}),
        ({"header": {"X-Team": "labs"}}, {"headers": {"x-team": "labs"}}, {"headers": {"x-team": "sales"}}),
        ({"header": {"x-team": "*"}}, {"headers": {"x-team": ""}}, {}),
        (
            {"header": {"a": ["1", "2"], "b": "3"}},
            {"headers": {"a": "2", "b": "3"}},
            {"headers": {"a": "2", "b": "4"}},
        ),
        ({"metadata": {"env": "prod*"}}, {"metadata": {"env": "production"}}, {"metadata": {"env": "test"}}),
        ({"tokens": "> 1000"}, {"fields": HELLO}, {"prompt": "x"}),
        ({"tokens": "<= 600"}, {"prompt": "x"}, {"fields": HELLO}),
        ({"tokens": "1000..2000"}, {"fields": HELLO}, {"prompt": "x"}),
        ({"has": ["images", "tools"]}, {"fields": TOOLS}, {}),
        ({"stream": True}, {"stream": True}, {"stream": False}),
        ({"stream": False}, {"stream": False}, {"stream": True}),
        ({"endpoint": "/v1/completions"}, {"endpoint": "/v1/completions"}, {}),
        ({"endpoint": "*/completions"}, {}, {"endpoint": "/v1/embeddings"}),
        ({"not": {"plan": "free"}}, {"plan": "gold"}, {"plan": "free"}),
        ({"not": {"plan": "free", "stream": True}}, {"plan": "free"}, {"plan": "free", "stream": True}),
        ({"not": {"not": {"plan": "free"}}}, {"plan": "free"}, {"plan": "gold"}),
        ({"plan": "free", "stream": True}, {"plan": "free", "stream": True}, {"plan": "free"}),
        (
            {"plan": "free", "stream": True, "tenant": "acme"},
            {"plan": "free", "stream": True},
            {"plan": "free", "stream": True, "tenant": "other"},
        ),
    ],
)
def test_conditions(match: dict[str, Any], yes: dict[str, Any], no: dict[str, Any]) -> None:
    """Conditions are and, values of a list are or."""
    assert holds(match, **yes)
    assert not holds(match, **no)


@pytest.mark.parametrize(
    ("time", "moment", "expected"),
    [
        ({"hours": "09:00-17:00"}, "2026-01-05T09:00", True),
        ({"hours": "09:00-17:00"}, "2026-01-05T16:59", True),
        ({"hours": "09:00-17:00"}, "2026-01-05T17:00", False),
        ({"hours": ["01:00-04:00", "06:00-10:00"]}, "2026-01-05T07:00", True),
        ({"hours": "22:00-06:00"}, "2026-01-05T23:00", True),
        ({"hours": "22:00-06:00"}, "2026-01-05T05:59", True),
        ({"hours": "22:00-06:00"}, "2026-01-05T12:00", False),
        ({"hours": "22:00-24:00"}, "2026-01-05T23:59", True),
        ({"days": ["sat", "sun"]}, "2026-01-04T12:00", True),
        ({"days": ["sat", "sun"]}, "2026-01-05T12:00", False),
        ({"hours": "22:00-06:00", "days": "fri"}, "2026-01-03T05:00", True),  # Saturday morning is Friday's night
        ({"hours": "22:00-06:00", "days": "fri"}, "2026-01-02T05:00", False),
        ({"hours": "09:00-10:00", "zone": "Europe/Madrid"}, "2026-07-01T07:30", True),  # summer: UTC+2
        ({"hours": "09:00-10:00", "zone": "Europe/Madrid"}, "2026-01-05T07:30", False),  # winter: UTC+1
        ({"days": "mon", "zone": "Asia/Tokyo"}, "2026-01-04T16:00", True),
    ],
)
def test_time(time: dict[str, Any], moment: str, expected: bool) -> None:
    watched = Watched(now=datetime.fromisoformat(moment).replace(tzinfo=UTC))

    assert expected == holds({"time": time}, watched=watched)


def test_what_no_condition_asks_is_never_worked_out() -> None:
    watched = Watched()
    cheap = {"plan": "free", "tenant": "a*", "model": "x", "header": {"a": "b"}, "endpoint": "*", "stream": False}
    holds(cheap, plan="free", model="x", headers={"a": "b"}, watched=watched)

    assert (watched.read, watched.wall, watched.classified) == (0, 0, 0)


def test_a_cheap_condition_that_fails_spares_the_dear_ones() -> None:
    watched = Watched()
    holds({"task": "code", "tokens": "> 1", "time": {"days": "mon"}, "plan": "free"}, plan="gold", watched=watched)

    assert (watched.read, watched.wall, watched.classified) == (0, 0, 0)


@pytest.mark.parametrize(
    ("match", "request_facts", "said"),
    [
        ({"plan": ["free"]}, {"plan": "gold"}, "plan gold not in [free]"),
        ({"plan": "gold"}, {"plan": "gold"}, "plan gold in [gold]"),
        ({"plan": "gold"}, {}, "plan (none) not in [gold]"),
        ({"tokens": "> 30000"}, {"body": b"x" * 400}, "tokens ≈100 not > 30000"),
        ({"tokens": "1..9"}, {"body": b"x" * 400}, "tokens ≈100 not in 1..9"),
        ({"header": {"x-team": "labs"}}, {}, "header x-team (absent) not in [labs]"),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}, "metadata a b in [b]"),
        ({"has": "images"}, {"fields": TOOLS}, "has tools not in [images]"),
        ({"has": "images"}, {}, "has nothing special not in [images]"),
        ({"stream": True}, {}, "stream false not = true"),
        ({"task": "code"}, {}, "task general not in [code]"),
        ({"complexity": "complex"}, {}, "complexity simple not in [complex]"),
        ({"endpoint": "/x"}, {}, "endpoint /v1/chat/completions not in [/x]"),
        ({"model": "x"}, {}, "model auto not in [x]"),
        ({"tenant": "x"}, {}, "tenant acme not in [x]"),
        ({"time": {"days": "tue"}}, {}, "time mon 12:00 UTC not in [tue]"),
        ({"not": {"plan": "free"}}, {"plan": "free"}, "plan free in [free], which is excluded"),
        ({"not": {"plan": "free", "stream": True}}, {"plan": "x"}, "stream false not = true and plan x not in [free]"),
    ],
)
def test_conditions_say_what_they_found(match: dict[str, Any], request_facts: dict[str, Any], said: str) -> None:
    (condition,) = compile_match(MatchConfig.model_validate(match))
    one = facts(**request_facts)

    assert said == condition.say(one, condition.holds(one))


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"plan": None},
        {"plan": []},
        {"not": {}},
        {"tsak": "code"},
        {"task": "mowing"},
        {"has": "money"},
        {"tokens": 30000},
        {"tokens": "~ 3"},
        {"tokens": "9..1"},
        {"tokens": "< 0"},
        {"stream": "yes"},
        {"header": {}},
        {"header": {"a": []}},
        {"time": {}},
        {"time": {"hours": "9-17"}},
        {"time": {"hours": "09:00-09:00"}},
        {"time": {"days": "monday"}},
        {"time": {"days": "mon", "zone": "Mars/Olympus"}},
        {"time": {"days": "mon", "zone": "../etc/passwd"}},
        {"model": "*a" * 20},
    ],
)
def test_what_is_no_condition(match: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MatchConfig.model_validate(match)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("> 5", 6, None),
        (">= 5", 5, None),
        ("< 5", None, 4),
        ("<=5", None, 5),
        ("3..5", 3, 5),
        ("3 .. 3", 3, 3),
    ],
)
def test_ranges(text: str, low: int | None, high: int | None) -> None:
    assert parse_range(text) == Range(low, high)
    assert str(parse_range(text)) == text


def test_hours_are_minutes_of_the_day() -> None:
    assert parse_hours("09:00-17:30") == (540, 1050)
    assert parse_hours("22:00-24:00") == (1320, 1440)
