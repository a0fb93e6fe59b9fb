"""Histories in which the machine of `test_semantics.py` once found something wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.semantics.test_semantics import Semantics


@pytest.fixture
def history() -> Iterator[Semantics]:
    """Begins with good upstreams; is judged to its end."""
    machine = Semantics()
    machine.begin(("good", "good", "good"))
    yield machine
    machine.tell()
    machine.teardown()


def ask(history: Semantics, count: int, *, model: str = "m", patience: float | None = None) -> None:
    history.ask(count, stream=False, model=model, refuses_offline=False, is_repeated=False, patience=patience)
    history.tell()


def test_a_reload_gives_no_slots_to_requests_that_are_older(history: Semantics) -> None:
    """Their fallback found an upstream that nobody had asked before, and its limits of before the reload."""
    history.reload("without alpha")
    history.behave("beta", "overloaded")
    ask(history, 3)
    history.reload("usual")


def test_the_head_of_an_answer_takes_its_time_from_the_deadline(history: Semantics) -> None:
    history.behave("alpha", "slow")
    ask(history, 1, patience=20.0)
    history.wait(31.0)


def test_the_report_of_an_error_may_not_come_in_drops(history: Semantics) -> None:
    history.behave("alpha", "fails in drops")
    ask(history, 1, patience=20.0)


def test_a_breaker_that_opens_holds_back_the_repetitions_that_wait(history: Semantics) -> None:
    history.behave("alpha", "fails")
    ask(history, 3)


def test_who_waited_in_line_looks_at_the_breaker_again(history: Semantics) -> None:
    history.reload("other keys and order")
    ask(history, 9, model="solo")
    history.behave("alpha", "fails")
    history.wait(0.06)


def test_who_waited_in_line_looks_at_the_keys_again(history: Semantics) -> None:
    history.reload("other keys and order")
    history.behave("alpha", "refuses the key")
    ask(history, 9, model="solo")
    history.wait(0.3)
