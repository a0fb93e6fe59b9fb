"""What is left of a vendor's limits, as headers say it."""

from __future__ import annotations

import pytest

from proxy.core.decision import Meter
from proxy.wire.meters import USUAL_METERS, read

LEFT = "x-ratelimit-remaining-requests"
RESET = "x-ratelimit-reset-requests"
DATE = "Sat, 21 Nov 2026 10:00:00 GMT"


def test_both_limits_are_read():
    headers = {LEFT: "59", RESET: "1s", "x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "6m0s"}
    found = [(one.meter.counts, one.left, one.seconds()) for one in read(USUAL_METERS, headers)]
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
    assert reading.seconds() == seconds


def test_other_vendors_have_other_names():
    own = Meter("tokens", "own-left", "own-reset")
    (reading,) = read([own], {"own-left": "3", "own-reset": "4s", LEFT: "0"})
    assert (reading.meter, reading.left, reading.seconds()) == (own, 3, 4.0)


def test_answers_without_such_headers_say_nothing():
    assert read(USUAL_METERS, {"content-type": "application/json"}) == []
