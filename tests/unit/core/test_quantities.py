"""Quantities as people write them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from proxy.core.quantities import (
    Budget,
    Rate,
    parse_budget,
    parse_duration,
    parse_moment,
    parse_percent,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_duration, "250ms", 0.25),
        (parse_duration, "10s", 10.0),
        (parse_duration, "1.5 h", 5400.0),
        (parse_duration, "0s", 0.0),
        (parse_duration, "2d", 172800.0),
        (parse_size, "32MiB", 33554432),
        (parse_size, "1.5KB", 1500),
        (parse_size, "7 B", 7),
        (parse_rate, "50/hour", Rate(50, "hour")),
        (parse_rate, "0 / day", Rate(0, "day")),
        (parse_budget, "20 USD/month", Budget(Decimal(20), "USD", "month")),
        (parse_budget, "0.10EUR/day", Budget(Decimal("0.10"), "EUR", "day")),
        (parse_percent, "10%", 0.1),
        (parse_percent, "100 %", 1.0),
    ],
)
def test_a_quantity(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *[(parse_duration, text) for text in ("", "10", "-1s", "1e3s", "s", "1w", "1s 2ms", "٣s", "1" * 13 + "s")],
        *[(parse_size, text) for text in ("", "32", "32mib", "-1B", "1TiB")],
        *[(parse_rate, text) for text in ("", "5", "5/h", "-5/hour", "1.5/hour", "many/hour")],
        *[(parse_budget, text) for text in ("", "20", "20/month", "20 usd/month", "USD 20/month", "20 USD/hour")],
        *[(parse_percent, text) for text in ("", "10", "-1%", "101%", "0.1")],
        *[(parse_moment, text) for text in ("", "noon", "2026-13-01", "12:00", "1767355440")],
    ],
)
def test_what_is_no_quantity(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        parse(text)


def test_a_rate_and_a_budget_print_as_they_are_written() -> None:
    assert (str(parse_rate("50/hour")), str(parse_budget("20.50 USD/month"))) == ("50/hour", "20.50 USD/month")
    assert parse_rate("2/minute").seconds == 60


def test_a_moment_without_a_zone_is_utc() -> None:
    assert (
        parse_moment("2026-01-02T03:04Z") == parse_moment("2026-01-02T03:04") == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    )
    assert parse_moment("2026-01-02 03:04+02:00") == datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
