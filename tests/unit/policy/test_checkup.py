"""From a row of good and bad checks to up or down, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.core.decision import Checking
from proxy.fields import Section
from proxy.policy.checkup import Checkup, Finding, HealthConfig, Standing

LIMITS = Checking(every=10.0, timeout=2.0, fall=3, rise=2)
LETTERS = {"g": Finding.GOOD, "b": Finding.BAD, "a": Finding.ABSENT, "n": Finding.NOTHING}


def after(findings: str, limits: Checking = LIMITS) -> Checkup:
    """One check each ten seconds, from second 100 on."""
    checkup, now = Checkup(100.0), 100.0
    for letter in findings:
        checkup.note(LETTERS[letter], f"said {letter}", limits, now)
        now += limits.every
    return checkup


@pytest.mark.parametrize(
    ("findings", "standing"),
    [
        ("", Standing.UNKNOWN),
        ("bb", Standing.UNKNOWN),
        ("bbb", Standing.DOWN),
        ("g", Standing.UP),
        ("gbb", Standing.UP),
        ("gbbgbb", Standing.UP),
        ("gbbb", Standing.DOWN),
        ("gbbbg", Standing.DOWN),
        ("gbbbgbg", Standing.DOWN),
        ("gbbbgg", Standing.UP),
        ("gbnnbb", Standing.DOWN),
        ("gbbbgng", Standing.UP),
        ("aaaaaa", Standing.UNKNOWN),
        ("abababaaa", Standing.DOWN),
        ("gaaa", Standing.DOWN),
        ("nnnn", Standing.UNKNOWN),
    ],
)
def test_rows_decide(findings: str, standing: Standing) -> None:
    assert after(findings).standing is standing


def test_it_tells_since_when_and_why() -> None:
    checkup = after("gbbb")
    assert (checkup.since, checkup.in_a_row, checkup.why) == (130.0, -3, "said b")
    assert checkup.note(Finding.GOOD, "", LIMITS, 140.0) is False
    assert checkup.note(Finding.GOOD, "", LIMITS, 150.0) is True
    assert (checkup.since, checkup.in_a_row, checkup.is_down) == (150.0, 2, False)


def test_the_next_check_comes_after_every() -> None:
    checkup = Checkup(100.0)
    assert checkup.due == 100.0
    checkup.note(Finding.NOTHING, "", LIMITS, 103.0)
    assert checkup.due == 113.0


def test_who_is_down_may_be_tried_once_a_second() -> None:
    checkup = after("bbb")
    assert checkup.may_insist(130.0)
    checkup.insist(130.0)
    assert not checkup.may_insist(130.9)
    assert checkup.may_insist(131.0)


@given(st.text("gban", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_the_state_is_that_of_the_rules(findings: str, fall: int, rise: int) -> None:
    """Down exactly if the last row that was long enough was one of bad checks."""
    checkup = after(findings, Checking(10.0, 2.0, fall, rise))
    judged = findings.replace("n", "")
    judged = "".join("b" if c == "a" and "g" in judged[:i] else c for i, c in enumerate(judged)).replace("a", "")
    is_down, row = False, ""
    for letter in judged:
        row = row + letter if row.endswith(letter) else letter
        if len(row) >= (fall if letter == "b" else rise):
            is_down = letter == "b"
    assert checkup.is_down is is_down


def read(**written: object) -> HealthConfig:
    class Holder(Section):
        health: HealthConfig = HealthConfig()

    return Holder.model_validate({"health": written}).health


def test_the_settings() -> None:
    assert read().limits() == LIMITS
    assert read(every="1m", timeout="30s", fall=1, rise=1).limits() == Checking(60.0, 30.0, 1, 1)
    assert read(every="never").limits() is None


@pytest.mark.parametrize("written", [{"every": "0s"}, {"every": "off"}, {"timeout": "0s"}, {"fall": 0}, {"rise": 0}])
def test_settings_that_make_no_sense(written: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        read(**written)
