import pytest

from proxy.routing.facts import Facts
from tests.unit.routing.given import MONDAY, Watched, facts


def touch(one: Facts) -> None:
    for name in ("tokens", "features", "contents", "task", "complexity", "verdict", "now", "group"):
        getattr(one, name)


def test_nothing_dear_is_known_before_it_is_asked() -> None:
    watched = Watched()
    one = facts("smart", plan="free", watched=watched)

    assert (one.model, one.plan, one.tenant) == ("smart", "free", "acme")
    assert (watched.read, watched.wall, watched.classified) == (0, 0, 0)


def test_dear_facts_are_worked_out_once() -> None:
    watched = Watched()
    one = facts(watched=watched)
    touch(one)
    touch(one)

    assert (watched.read, watched.wall, watched.classified) == (1, 1, 1)
    assert one.now == MONDAY


@pytest.mark.parametrize(
    ("headers", "metadata", "task"),
    [
        ({"x-failsoft-task": "security"}, {}, "security"),
        ({}, {"task": "extraction"}, "extraction"),
        ({"x-failsoft-task": "security"}, {"task": "extraction"}, "security"),
        ({"x-failsoft-task": "no such task"}, {"task": "extraction"}, "extraction"),
        ({"x-failsoft-task": "complex_generation"}, {}, "writing"),
        ({}, {"task": "conversation"}, "general"),
        ({}, {"task": "mowing"}, "code"),
    ],
)
def test_the_caller_may_say_the_task(headers: dict[str, str], metadata: dict[str, str], task: str) -> None:
    """The header wins over the metadata; a name nobody knows says nothing, and the words decide."""
    assert task == facts(prompt="code", headers=headers, metadata=metadata).task


def test_a_stated_task_costs_nothing() -> None:
    watched = Watched()
    one = facts(headers={"x-failsoft-task": "writing:complex"}, watched=watched)

    assert (one.task, one.complexity) == ("writing", "complex")
    assert (watched.read, watched.classified) == (0, 0)


def test_the_complexity_that_the_caller_left_open_is_worked_out() -> None:
    one = facts(prompt="x" * 300, headers={"x-failsoft-task": "writing"})

    assert (one.task, one.complexity) == ("writing", "complex")


def test_the_classifier_gets_the_words() -> None:
    watched = Watched()
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    assert facts(fields={"messages": messages}, watched=watched).task
    (words,) = watched.words

    assert (words.system, words.last_user, words.turns) == ("Be brief.", "three", 3)
    assert words.chars >= len("Be brief.onetwothree")


def test_a_tenants_own_model_stands_for_auto() -> None:
    assert facts("auto", defaults={"model": "fast"}).model == "fast"
    assert facts("smart", defaults={"model": "fast"}).model == "smart"


@pytest.mark.parametrize(
    ("group", "request_facts"),
    [
        ("ann", {"user": "ann", "headers": {"x-conversation-id": "c1"}}),
        ("c1", {"headers": {"x-conversation-id": "c1"}, "fields": {"prompt_cache_key": "k"}}),
        ("k", {"fields": {"prompt_cache_key": "k"}, "metadata": {"user_id": "u"}}),
        ("s", {"fields": {"safety_identifier": "s"}}),
        ("u", {"metadata": {"user_id": "u", "conversation_id": "v"}}),
        ("v", {"metadata": {"conversation_id": "v"}}),
        ("request-1", {}),
    ],
)
def test_what_belongs_together(group: str, request_facts: dict[str, object]) -> None:
    assert group == facts(**request_facts).group  # type: ignore[arg-type]


def test_a_record_keeps_what_somebody_has_asked_for() -> None:
    """Nothing is worked out for its sake."""
    watched = Watched()
    asked = facts(plan="gold", prompt="some code", watched=watched)

    assert asked.known() == {"plan": "gold"}
    assert (watched.read, watched.classified) == (0, 0)
    assert asked.tokens
    assert asked.known() == {"plan": "gold", "tokens": asked.tokens, "has": []}
    assert asked.task == "code"
    assert asked.known() | {"tokens": 0} == {
        "plan": "gold",
        "tokens": 0,
        "has": [],
        "task": "code",
        "complexity": "simple",
    }


def test_a_task_that_was_stated_is_kept_without_reading() -> None:
    asked = facts(headers={"x-failsoft-task": "security"})

    assert asked.task == "security"
    assert asked.known() == {"task": "security"}
