"""What is usual, learned from records; in virtual hours."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.decision import Attempt
from proxy.core.errors import ErrorKind
from proxy.core.usage import Usage, UsageRecord
from proxy.policy.first_token import ENOUGH, MARGIN, SHARE, WINDOW, FirstTokens, Window, patience

AT = datetime(2026, 1, 1, tzinfo=UTC)
STEP = 2 ** (1 / 8)
"""How much too high a quantile may be."""


def record(*attempts: Attempt, size: int = 100, stream: bool = True) -> UsageRecord:
    return UsageRecord(
        id="r", correlation_id="c", at=AT, tenant="t", endpoint="/", stream=stream, asked_model="m", route="all",
        upstream="one", model="m", mode="identity", attempts=attempts, status=200, ended="stop", usage=Usage(),
        seconds=1.0, first_token=None, size=size,
    )  # fmt: skip


def begun(seconds: float, model: str = "m") -> Attempt:
    return Attempt("one", model, None, 9.0, first_token=seconds)


def asked() -> FirstTokens:
    """Somebody has asked about upstream one."""
    known = FirstTokens()
    assert usual(known) is None
    return known


def usual(known: FirstTokens, now: float = 0.0, *, model: str = "m", size: int = 100, stream: bool = True):
    return known.usual("one", model, size, now, streamed=stream)


@given(
    st.lists(
        st.tuples(st.floats(0.0, 300.0), st.floats(0.001, 600.0)), min_size=1, max_size=200,
    )
)  # fmt: skip
def test_a_window_knows_the_quantile_of_the_last_ten_minutes(samples: list[tuple[float, float]]) -> None:
    """Against the durations themselves, sorted; a slice of a minute is in or out as a whole."""
    window, now, kept = Window(), 0.0, []
    for gap, seconds in samples:
        now += gap
        window.note(seconds, now)
        kept.append((now, seconds))
        slice_of = [int(at / WINDOW * 10) for at, _ in kept]
        recent = sorted(
            seconds for (_, seconds), number in zip(kept, slice_of, strict=True) if number > slice_of[-1] - 10
        )
        assert window.count == len(recent)
        found = window.quantile(SHARE, now)
        if len(recent) < ENOUGH:
            assert found is None
            continue
        exact = recent[math.ceil(SHARE * len(recent)) - 1]
        assert found is not None
        assert exact * (1 - 1e-9) <= found <= exact * STEP * (1 + 1e-9)


def test_it_takes_twenty_to_know_what_is_usual() -> None:
    known = asked()
    for number in range(1, ENOUGH + 1):
        assert usual(known) is None
        known.learn(record(begun(number / 10)), 0.0)
    assert usual(known) == pytest.approx(1.9, rel=0.1)


def test_what_is_old_is_forgotten() -> None:
    known = asked()
    for number in range(ENOUGH):
        known.learn(record(begun(10.0)), number * 60.0)
    assert usual(known, ENOUGH * 60.0) is None, "ten of them are too old"
    for _ in range(ENOUGH):
        known.learn(record(begun(1.0)), 1200.0)
    assert usual(known, 1200.0) == pytest.approx(10.0, rel=0.1)
    assert usual(known, 1200.0 + WINDOW - 1.0) == pytest.approx(1.0, rel=0.1)
    assert usual(known, 5000.0) is None


def test_only_what_is_alike_is_compared() -> None:
    known = asked()
    for _ in range(ENOUGH):
        known.learn(record(begun(1.0)), 0.0)
        known.learn(record(begun(2.0, "other")), 0.0)
        known.learn(record(begun(3.0), size=40_000), 0.0)
        known.learn(record(Attempt("one", "m", None, 4.0), stream=False), 0.0)
    found = [usual(known), usual(known, model="other"), usual(known, size=40_000), usual(known, stream=False)]
    assert found == [pytest.approx(seconds, rel=0.1) for seconds in (1.0, 2.0, 3.0, 4.0)]
    assert usual(known, size=4_000) == usual(known), "up to a thousand tokens"
    assert usual(known, size=4_001) is None


def test_nothing_is_kept_of_what_nobody_asked_about() -> None:
    known = FirstTokens()
    for _ in range(ENOUGH):
        known.learn(record(begun(1.0)), 0.0)
    assert usual(known) is None
    for _ in range(ENOUGH):
        known.learn(record(begun(1.0)), 0.0)
    assert usual(known) is not None


CUT = (ErrorKind.FIRST_TOKEN_TIMEOUT, ErrorKind.FIRST_BYTE_TIMEOUT, ErrorKind.HEDGED)


@pytest.mark.parametrize("kind", CUT)
def test_what_was_cut_short_raises_what_is_usual_and_never_lowers_it(kind: ErrorKind) -> None:
    known = asked()
    for _ in range(ENOUGH):
        known.learn(record(begun(1.0)), 0.0)
    before = usual(known)
    for _ in range(ENOUGH):
        known.learn(record(Attempt("one", "m", None, 0.1, kind)), 0.0)
    assert usual(known) == before
    for _ in range(ENOUGH):
        known.learn(record(Attempt("one", "m", None, 2.2, kind)), 0.0)
    assert usual(known) == pytest.approx(2.2, rel=0.1)


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if kind not in CUT])
def test_other_failures_say_nothing_of_beginnings(kind: ErrorKind) -> None:
    known = asked()
    for _ in range(ENOUGH):
        known.learn(record(begun(1.0)), 0.0)
    before = usual(known)
    for _ in range(ENOUGH):
        known.learn(record(Attempt("one", "m", None, 50.0, kind)), 0.0)
        known.learn(record(Attempt("one", "m", None, 50.0, kind), stream=False), 0.0)
    assert (usual(known), usual(known, stream=False)) == (before, None)


def cut_in_a_day(slower: float) -> int:
    """How many of 20,000 streams are cut: their beginnings are spread as in life, and `slower` from noon on."""
    known, cut, spread = asked(), 0, statistics.NormalDist(0.0, 0.5)
    for number in range(20_000):
        now = number * 4.0
        seconds = math.exp(spread.inv_cdf((number * 0.6180339887 % 1.0) * 0.9998 + 0.0001))
        seconds *= slower if number >= 10_000 else 1.0
        limit = patience(usual(known, now), 0.0, 60.0)
        if seconds > limit:
            cut += 1
            known.learn(record(Attempt("one", "m", None, limit, ErrorKind.FIRST_TOKEN_TIMEOUT)), now)
        else:
            known.learn(record(begun(seconds)), now)
    return cut


def test_few_are_cut_and_patience_follows_a_target_that_gets_slower() -> None:
    """The day is always the same one; if what was cut did not count, the second number would be 84."""
    assert cut_in_a_day(1.0) <= 20
    assert cut_in_a_day(10.0) <= 50


def test_names_that_callers_make_up_do_not_fill_the_memory() -> None:
    known = asked()
    for number in range(3000):
        known.learn(record(begun(1.0, f"made up {number}")), 0.0)
        known.learn(record(begun(1.0)), 0.0)
    assert usual(known) is not None
    assert sum(map(len, known._windows.values())) <= 1024


@given(st.none() | st.floats(0.0, 1000.0), st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_patience_lies_between_the_floor_and_what_is_configured(seconds, floor, most) -> None:
    found = patience(seconds, floor, most)
    assert found <= most
    assert found >= min(floor, most)
    if seconds is None:
        assert found == most
    elif floor < MARGIN * seconds < most:
        assert found == MARGIN * seconds
