"""Every spelling of "come back later", and all the nonsense that must not be believed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.retry_after import retry_after, span

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z
DATE = "Wed, 18 Nov 2026 11:06:40 GMT"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("1", 1), ("1.5", 1.5), (" 30 ", 30), ("3600", 3600), ("1e2", 100), (".5", 0.5),
        ("6m0s", 360), ("12ms", 0.012), ("1s", 1), ("46s", 46), ("1h2m3.5s", 3723.5), ("1d", 86400), ("500us", 5e-4),
        ("Wed, 18 Nov 2026 11:07:40 GMT", 60), ("Wednesday, 18-Nov-26 11:07:40 GMT", 60),
        ("2026-11-18T11:06:45Z", 5), ("2026-11-18T12:06:45+01:00", 5), ("2026-11-18T11:06:40.250Z", 0.25),
        ("1795000010", 10), ("1795000010000", 10),
    ],
)  # fmt: skip
def test_reads(text: str, seconds: float) -> None:
    assert seconds == pytest.approx(span(text, NOW))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "-1", "-0.5", "abc", "nan", "NaN", "inf", "-inf", "1e999", "1" * 400, "1,5", "5 minutes", "m", "1x",
        "6m-1s", "0x10", "١", "Wed, 18 Nov 2026 11:06:39 GMT", "Wed, 99 Nov 2026 99:99:99 GMT", "2026-13-45T00:00:00Z",
        "1794999999", "true", "null", "9" * 25 + "d" * 50, "1 Jan 99999 00:00:00 GMT",
    ],
)  # fmt: skip
def test_does_not_believe(text: str) -> None:
    assert span(text, NOW) is None


def test_a_moment_without_a_present_says_nothing() -> None:
    assert span("Wed, 18 Nov 2026 11:07:40 GMT") is None
    assert span("1795000010") is None


def test_the_answers_own_date_is_the_present() -> None:
    assert retry_after({"retry-after": "Wed, 18 Nov 2026 11:07:40 GMT", "date": DATE}) == 60
    assert retry_after({"retry-after": "2026-11-18T11:06:45Z", "date": DATE}) == 5


def test_milliseconds_are_preferred_as_the_sdks_do() -> None:
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after-ms": "soon", "retry-after": "9"}) == 9
    assert retry_after({"x-ms-retry-after-ms": "2000"}) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "5"}, None),
        ({"x-ratelimit-reset-requests": "12ms", "x-ratelimit-remaining-requests": "5",
          "x-ratelimit-reset-tokens": "1s", "x-ratelimit-remaining-tokens": "0"}, 1),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "7s"}, 7),
        ({"x-ratelimit-reset": "11"}, 11),
        ({"retry-after": "3", "x-ratelimit-reset-requests": "6m0s"}, 3),
        ({"x-ratelimit-reset-requests": "later"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_rate_limit_headers(headers: dict[str, str], seconds: float | None) -> None:
    """The limit that is used up counts; where the answer does not say which, the slower one."""
    assert seconds == retry_after(headers)


@given(st.text(max_size=40), st.text(max_size=20))
@settings(max_examples=150, deadline=None)
def test_never_raises_and_never_lies(value: str, date: str) -> None:
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"):
        seconds = retry_after({name: value, "date": date})
        assert seconds is None or (math.isfinite(seconds) and seconds >= 0)
