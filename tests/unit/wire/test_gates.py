"""What a family of models does not take is changed or left out, and said."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.chat import Chat, Losses
from proxy.core.family import UNKNOWN, Family
from proxy.wire.gates import changes, fitted, gates_anything, nearest_effort, says_nothing


def changed(family: Family, **said: Any) -> dict[str, Any]:
    return {change.name: change.value for change in changes(family, said)}


@pytest.mark.parametrize(
    ("effort", "known", "nearest"),
    [
        ("minimal", ("none", "low", "medium", "high"), "low"),
        ("xhigh", ("none", "low", "medium", "high"), "high"),
        ("none", ("low", "medium", "high", "xhigh", "max"), "low"),
        ("max", ("none", "low", "medium", "high", "xhigh"), "xhigh"),
        # As DeepSeek maps them.
        ("minimal", ("none", "low", "high", "max"), "low"),
        ("medium", ("none", "low", "high", "max"), "high"),
        ("xhigh", ("none", "low", "high", "max"), "high"),
        ("brand_new", ("low", "medium", "high"), "medium"),
    ],
)
def test_the_nearest_effort(effort: str, known: tuple[str, ...], nearest: str) -> None:
    assert nearest_effort(effort, known) == nearest
    assert changed(Family(efforts=known), reasoning_effort=effort) == {"reasoning_effort": nearest}
    assert changed(Family(efforts=known), reasoning_effort=known[0]) == {}


def test_a_model_that_never_reasons_is_not_told_how() -> None:
    assert changed(Family(efforts=()), reasoning_effort="low") == {"reasoning_effort": None}


SAMPLING = {"temperature": 0.2, "top_p": 0.9, "logprobs": True, "top_logprobs": 3}


@pytest.mark.parametrize(
    ("family", "effort", "passes"),
    [
        (Family(), None, True),
        (Family(sampling="never"), None, False),
        (Family(sampling="never"), "none", False),
        (Family(sampling="without_reasoning", default_effort="none"), None, True),
        (Family(sampling="without_reasoning", default_effort="none"), "low", False),
        (Family(sampling="without_reasoning", default_effort="medium"), None, False),
        (Family(sampling="without_reasoning", default_effort="medium"), "none", True),
        (Family(sampling="without_reasoning"), None, False),
        # What counts is the effort that is sent.
        (Family(sampling="without_reasoning", efforts=("low",)), "none", False),
    ],
)
def test_sampling(family: Family, effort: str | None, passes: bool) -> None:
    found = changed(family, reasoning_effort=effort, **SAMPLING)
    assert {name: value for name, value in found.items() if name != "reasoning_effort"} == (
        {} if passes else dict.fromkeys(SAMPLING)
    )


def test_values_that_say_nothing_pass() -> None:
    neutral = {"temperature": 1, "top_p": 1.0, "logprobs": False, "frequency_penalty": 0, "presence_penalty": None}
    assert changed(Family(sampling="never", penalties=False), **neutral) == {}
    assert all(says_nothing(name, value) for name, value in neutral.items())
    assert says_nothing("n", 1)
    assert not says_nothing("n", 2)
    assert not says_nothing("seed", 1)


def test_penalties_and_lengths() -> None:
    family = Family(penalties=False, output=100)
    assert changed(family, frequency_penalty=0.5, presence_penalty=-1, max_tokens=101, max_completion_tokens=100) == {
        "frequency_penalty": None,
        "presence_penalty": None,
        "max_tokens": 100,
    }


@pytest.mark.parametrize(
    ("family", "gates"),
    [(UNKNOWN, False), (Family(context=5, efforts=()), True), (Family(output=1), True), (Family(context=5), False)],
)
def test_only_some_families_are_asked(family: Family, gates: bool) -> None:
    assert gates_anything(family) is gates


def test_of_a_request_in_its_canonical_form() -> None:
    losses = Losses()
    chat = Chat("m", (), temperature=0.2, reasoning_effort="max", max_tokens=9)
    fitting = fitted(chat, Family(sampling="never", efforts=("low", "high"), output=5), losses)
    assert fitting == Chat("m", (), reasoning_effort="high", max_tokens=5)
    assert list(map(str, losses.found)) == [
        "reasoning_effort: max is not known to the model, high is sent",
        "temperature: the model does not take it",
        "max_tokens: 9 is more than the model's 5, which is sent",
    ]
    assert fitted(chat, UNKNOWN, losses) is chat
