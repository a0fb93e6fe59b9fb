"""Histories that anybody would try first, judged by the same model: every behaviour, then again after every wait."""

from __future__ import annotations

import pytest

from tests.semantics.behaviours import BEHAVIOURS
from tests.semantics.test_semantics import Semantics

WAITS = (0.3, 4.2, 7.0, 61.0, 400.0, 400.0)
"""Seconds, one after another: through the rests of throttled keys, breakers and refused keys, and out of them."""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_an_upstream_that_does_not_change(behaviour: str, stream: bool) -> None:
    history = Semantics()
    history.begin((behaviour, "good", "good"))
    for wait in WAITS:
        for model in ("m", "m", "solo"):
            ask(history, 1, model, stream=stream)
        history.wait(wait)
        history.tell()
    history.teardown()


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_all_of_them_fail_in_a_crowd_and_recover(behaviour: str) -> None:
    history = Semantics()
    history.begin((behaviour, behaviour, behaviour))
    for wait in WAITS:
        ask(history, 9, "m", stream=True)
        history.wait(wait)
        history.tell()
    for upstream in ("alpha", "beta", "gamma"):
        history.behave(upstream, "good")
    ask(history, 3, "m", stream=False)
    history.teardown()


def ask(history: Semantics, count: int, model: str, *, stream: bool) -> None:
    history.ask(count, stream=stream, model=model, refuses_offline=False, is_repeated=False, patience=None)
    history.tell()
