"""Task types: how often they are right on prompts they were not tuned on, and what holds for every text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.routing.tasks import (
    COMPLEXITIES,
    INSPECTED,
    TASKS,
    Classifier,
    TasksConfig,
    Verdict,
    Words,
    load,
    parse_stated,
)

DATA = Path(__file__).parents[2] / "data" / "tasks"
FLOORS = {"train": (0.95, 0.82), "holdout": (0.92, 0.85), "fresh": (0.75, 0.82)}
"""Least share of right tasks and right complexities per part; docs/tasks.md says what the parts are."""

SHIPPED = load()
CLASSIFIER = Classifier(SHIPPED)

texts = st.text(max_size=400) | st.lists(
    st.sampled_from(
        ["write", "a", "poem", "resume", "python", "10.0.0.1", "```", '"', "«", "\n", ",", "¿", "malware", "a.py"]
    ),
    max_size=60,
).map(" ".join)
"""Any characters, and heaps of words that the classifier knows."""


def rows(part: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]


def words_of(row: dict[str, str]) -> Words:
    return Words(row.get("system", ""), row["text"], int(row.get("turns", 1)))


def task_of(text: str, system: str = "") -> str:
    return CLASSIFIER.classify(Words(system, text)).task


@pytest.mark.parametrize("part", FLOORS)
def test_enough_verdicts_are_right(part: str) -> None:
    labelled = rows(part)
    verdicts = [CLASSIFIER.classify(words_of(row)) for row in labelled]
    wrong = [
        (row["task"], v.task, row["text"][:80])
        for row, v in zip(labelled, verdicts, strict=True)
        if row["task"] != v.task
    ]
    complexities = sum(row["complexity"] == v.complexity for row, v in zip(labelled, verdicts, strict=True))

    assert 1 - len(wrong) / len(labelled) >= FLOORS[part][0], wrong
    assert complexities / len(labelled) >= FLOORS[part][1]


def test_the_parts_are_large_varied_and_disjoint() -> None:
    """320 prompts and more, 110 held out; every task in both languages; nothing is in two parts."""
    parts = {part: rows(part) for part in FLOORS}
    keys = [(row.get("system", ""), row["text"]) for part in parts.values() for row in part]

    assert len(keys) == len(set(keys)) >= 320
    assert len(parts["holdout"]) >= 110
    for part in ("train", "holdout"):
        assert {(task, lang) for task in TASKS for lang in ("en", "es")} == {
            (r["task"], r["lang"]) for r in parts[part]
        }


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("write a poem about Python", "writing"),
        ("translate this error message: segmentation fault in main.c", "translation"),
        ("summarise this stack trace:\nTraceback (most recent call last):\n  File 'app.py', line 3", "summarization"),
        ("¿qué es Python?", "general"),
        ("escribe un poema sobre Python", "writing"),
        ('rewrite politely: "translate this now"', "writing"),
        ("resume este informe forense sobre ransomware", "summarization"),
        ("fix the bug in translate.py", "code"),
        ("", "general"),
    ],
)
def test_the_ask_beats_the_topic(text: str, task: str) -> None:
    assert task_of(text) == task


def test_an_ask_counts_at_either_end_of_a_long_text() -> None:
    """Pasted text may come before or after the ask, however long it is."""
    pasted = "The painters need four more days on the third floor.\n" * 200

    assert task_of(f"Translate this into German:\n{pasted}") == "translation"
    assert task_of(f"{pasted}\nTranslate this into German.") == "translation"


def test_the_system_prompt_decides_where_the_user_asks_for_nothing() -> None:
    system = "You are a translator. Translate everything into French."

    assert task_of("The boiler is repaired on Thursday.", system) == "translation"
    assert task_of("Write a poem about boilers.", system) == "writing"


def test_accents_may_be_left_out() -> None:
    assert task_of("traduceme este parrafo al ingles") == task_of("tradúceme este párrafo al inglés") == "translation"


@pytest.mark.parametrize("text", ["Übersetze diesen Satz bitte", "可以帮我写代码吗", "Напиши стихотворение", "🙂🙂🙂"])
def test_unknown_languages_are_general(text: str) -> None:
    assert task_of(text) == "general"


def test_what_lies_beyond_the_inspected_text_changes_nothing() -> None:
    """The middle of a long text is never looked at, so any size costs the same."""
    ends = "Summarize this. " + "word " * 400, " word" * 400

    def verdict(middle: str) -> Verdict:
        return CLASSIFIER.classify(Words("s" * 5000 + middle, ends[0] + middle + ends[1], chars=10_000))

    assert INSPECTED <= 8192
    assert verdict("plain text") == verdict("Translate! 10.0.0.1 malware ``` Traceback (most recent call last)" * 1000)


@settings(max_examples=150, deadline=None)
@given(texts, texts, st.integers(0, 1000))
def test_every_text_has_a_verdict_with_evidence(system: str, user: str, turns: int) -> None:
    """Nothing raises; the same words give the same verdict; no task but general is without evidence."""
    words = Words(system, user, turns)
    verdict = CLASSIFIER.classify(words)

    assert verdict.task in TASKS
    assert verdict.complexity in COMPLEXITIES
    assert verdict == CLASSIFIER.classify(words)
    assert verdict.task == "general" or any(f"→ {verdict.task} +" in line for line in verdict.evidence)
    assert verdict.scores[verdict.task] == max(verdict.scores.values())


@settings(max_examples=30, deadline=None)
@given(texts, st.sampled_from(TASKS), st.sampled_from(["poem", "python", "write a poem", "malw*", "write", "zebra"]))
def test_an_added_word_never_hurts_its_task(text: str, task: str, word: str) -> None:
    """More points for a word raise that task's score and leave every other one as it was."""
    config = TasksConfig.model_validate({task: {"words": {word: 3}}})
    before = CLASSIFIER.classify(Words(last_user=text))
    after = Classifier(SHIPPED, config.extra_words()).classify(Words(last_user=text))

    assert after.scores.get(task, 0.0) >= before.scores.get(task, 0.0)
    assert {k: v for k, v in after.scores.items() if k != task} == {k: v for k, v in before.scores.items() if k != task}
    assert after.task in (task, before.task)


def test_added_words_decide_and_are_evidence() -> None:
    config = TasksConfig.model_validate({"security": {"words": {"zeus panel": 9, "drop*": 2, "zumbón": 2}}})
    own = Classifier(SHIPPED, config.extra_words())

    assert task_of("The zeus panel again") == "general"
    verdict = own.classify(Words(last_user="The Zeus panel again"))
    assert (verdict.task, verdict.evidence) == ("security", ("added 'zeus panel' → security +9.0",))
    assert own.classify(Words(last_user="droppers and zumbon")).scores["security"] == 4.0
    assert "security" not in own.classify(Words(last_user="a backdrop")).scores


@pytest.mark.parametrize(
    "config",
    [
        {"cooking": {"words": {"pan": 1}}},
        {"code": {"word": {"pan": 1}}},
        {"code": {"words": {"one two three four": 1}}},
        {"code": {"words": {"a*b": 1}}},
        {"code": {"words": {"": 1}}},
        {"code": {"words": {"*": 1}}},
        {"code": {"words": {"pan": 21}}},
        {"code": {"words": {"pan": float("nan")}}},
    ],
)
def test_a_wrong_configuration_is_refused(config: object) -> None:
    with pytest.raises(ValidationError):
        TasksConfig.model_validate(config)


def test_evidence_never_quotes_the_prompt() -> None:
    """It names words of the data file and kinds of things found, so that it may be logged."""
    verdict = CLASSIFIER.classify(Words(last_user="Is 45.155.205.233 or evil[.]example malicious? See C:\\secret.exe"))

    assert verdict.task == "security"
    assert "shape 'address' → security +2.5" in verdict.evidence
    assert not any(secret in " ".join(verdict.evidence) for secret in ("45.155", "evil", "secret"))


@pytest.mark.parametrize(
    ("stated", "task", "complexity"),
    [
        ("code", "code", None),
        (" Code ", "code", None),
        ("code:complex", "code", "complex"),
        ("simple code", "code", "simple"),
        ("complex_generation", "writing", "complex"),
        ("simple-generation", "writing", "simple"),
        ("conversation", "general", "simple"),
    ],
)
def test_a_stated_task_is_believed(stated: str, task: str, complexity: str | None) -> None:
    """What the caller left open, the complexity, is worked out from the words."""
    verdict = parse_stated(stated)
    assert verdict is not None
    assert (verdict.task, verdict.states_complexity) == (task, complexity is not None)
    asked = Words(last_user="hi")
    believed = CLASSIFIER.believe(verdict, asked)
    assert (believed.task, believed.complexity) == (task, complexity or CLASSIFIER.classify(asked).complexity)


@pytest.mark.parametrize("stated", ["", "coding", "code complex simple", "x" * 100_000])
def test_an_unknown_name_is_no_task(stated: str) -> None:
    assert parse_stated(stated) is None


def test_demanding_requests_are_complex() -> None:
    def complexity(text: str, **rest: int) -> str:
        return CLASSIFIER.classify(Words(last_user=text, **rest)).complexity

    assert complexity("write a short poem") == "simple"
    assert (
        complexity("Design a scalable, multi-tenant billing platform and migrate our data, step by step") == "complex"
    )
    assert complexity("go on", turns=40, chars=200_000) == "complex"
