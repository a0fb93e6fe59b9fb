"""What is left of a vendor's limits, as headers say it."""

from __future__ import annotations

import pytest

from proxy.core.decision import Meter
from proxy.providers import discover
from proxy.wire.meters import USUAL_METERS, read

LEFT = "x-ratelimit-remaining-requests"
RESET = "x-ratelimit-reset-requests"
DATE = "Sat, 21 Nov 2026 10:00:00 GMT"


def test_both_limits_are_read():
    headers = {LEFT: "59", RESET: "1s", "x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "6m0s"}
    found = [(one.meter.counts, one.left, one.wait(10**6)) for one in read(USUAL_METERS, headers)]
    assert found == [("requests", 59, 1.0), ("tokens", 149984, 360.0)]


@pytest.mark.parametrize("left", ["", "-1", "unknown", "1.5", "9" * 19, "²", "٣", " 4"])
def test_what_is_no_count_is_left_out(left):
    assert read(USUAL_METERS, {LEFT: left, RESET: "1s"}) == []


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("7.66", 7.66),
        ("2026-11-21T10:00:30Z", 30.0),
        ("2026-11-21T09:59:59Z", None),
        ("soon", None),
        ("", None),
    ],
)
def test_resets_in_any_spelling(reset, seconds):
    (reading,) = read(USUAL_METERS, {LEFT: "0", RESET: reset, "date": DATE})
    assert reading.wait(1) == seconds


def test_other_vendors_have_other_names():
    own = Meter("tokens", "own-left", "own-reset", "own-limit")
    (reading,) = read([own], {"own-left": "3", "own-reset": "4s", LEFT: "0"})
    assert (reading.meter, reading.left, reading.wait(9)) == (own, 3, 4.0)


def test_answers_without_such_headers_say_nothing():
    assert read(USUAL_METERS, {"content-type": "application/json"}) == []


@pytest.mark.parametrize(("need", "seconds"), [(1, 1.0), (2, 2.0), (30, 30.0), (59, 59.0), (60, 60.0), (1000, 60.0)])
def test_a_limit_fills_up_evenly(need, seconds):
    (reading,) = read(USUAL_METERS, {LEFT: "0", RESET: "1m0s", "x-ratelimit-limit-requests": "60"})
    assert reading.wait(need) == pytest.approx(seconds)


def test_what_is_there_need_not_be_waited_for():
    (reading,) = read(USUAL_METERS, {LEFT: "30", RESET: "30s", "x-ratelimit-limit-requests": "60"})
    assert [reading.wait(need) for need in (30, 31, 45)] == [0.0, 1.0, 15.0]
    (full,) = read(USUAL_METERS, {LEFT: "60", RESET: "0s", "x-ratelimit-limit-requests": "60"})
    assert full.wait(59) == 0.0


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1"])
def test_a_limit_that_is_none_is_unknown(limit):
    (reading,) = read(USUAL_METERS, {LEFT: "5", RESET: "30s", "x-ratelimit-limit-requests": limit})
    assert reading.wait(6) == 30.0


def test_a_vendor_with_names_and_moments_of_its_own():
    """As Anthropic's "Rate limits" shows them."""
    headers = {"date": DATE}
    for limit, left, seconds in (("requests", 49, 1), ("tokens", 7000, 30), ("input-tokens", 0, 30)):
        headers[f"anthropic-ratelimit-{limit}-limit"] = "60000"
        headers[f"anthropic-ratelimit-{limit}-remaining"] = str(left)
        headers[f"anthropic-ratelimit-{limit}-reset"] = f"2026-11-21T10:00:{seconds:02}Z"
    readings = read(discover()["anthropic"].meters, headers)
    found = [(one.meter.counts, one.left, one.wait(20000)) for one in readings]
    assert found == [
        ("requests", 49, pytest.approx(19951 / 59951)),
        ("tokens", 0, 10.0),
        ("tokens", 7000, pytest.approx(30 * 13000 / 53000)),
    ]
