"""Quantities as people write them: `250ms`, `32MiB`, `50/hour`, `20 USD/month`, `10%`.

Each parser takes the text and returns a plain value in base units, or raises ValueError with the sentence a person
needs in order to mend the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2592000}
"""Seconds per period; a month counts 30 days wherever a length and not a calendar is needed."""

_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)"
_DURATION = re.compile(_NUMBER + r" ?(ms|s|m|h|d)")
_SIZE = re.compile(_NUMBER + r" ?(B|KiB|MiB|GiB|KB|MB|GB)")
_RATE = re.compile(r"([0-9]{1,12}) ?/ ?(second|minute|hour|day|week|month)")
_BUDGET = re.compile(_NUMBER + r" ?([A-Z]{3}) ?/ ?(day|week|month)")
_PERCENT = re.compile(_NUMBER + r" ?%")


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` things per `period` (`second` … `month`)."""

    count: int
    period: str

    @property
    def seconds(self) -> int:
        return PERIODS[self.period]

    def __str__(self) -> str:
        return f"{self.count}/{self.period}"


@dataclass(frozen=True, slots=True)
class Budget:
    """`amount` of `currency` (ISO 4217) per `period` (`day`, `week`, `month`)."""

    amount: Decimal
    currency: str
    period: str

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}/{self.period}"


def _match(pattern: re.Pattern[str], text: str, wanted: str) -> tuple[str, ...]:
    found = pattern.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected {wanted}")
    return found.groups()


def parse_duration(text: str) -> float:
    """`250ms` → 0.25 seconds. Units: ms, s, m, h, d."""
    number, unit = _match(_DURATION, text, "a duration such as 250ms, 10s, 5m or 1h")
    return float(number) * _SECONDS[unit]


def parse_size(text: str) -> int:
    """`32MiB` → bytes. Units: B, KiB, MiB, GiB, KB, MB, GB."""
    number, unit = _match(_SIZE, text, "a size such as 64KiB or 32MiB")
    return int(Decimal(number) * _BYTES[unit])


def parse_rate(text: str) -> Rate:
    """`50/hour` → Rate(50, "hour")."""
    count, period = _match(_RATE, text, "a rate such as 10/minute, 50/hour or 10000/day")
    return Rate(int(count), period)


def parse_budget(text: str) -> Budget:
    """`20 USD/month` → Budget(20, "USD", "month")."""
    amount, currency, period = _match(_BUDGET, text, "an amount such as 20 USD/month")
    return Budget(Decimal(amount), currency, period)


def parse_percent(text: str) -> float:
    """`10%` → 0.1."""
    (number,) = _match(_PERCENT, text, "a percentage such as 10%")
    share = float(number) / 100
    if share > 1:
        raise ValueError("expected a percentage of at most 100%")
    return share


def parse_moment(text: str) -> datetime:
    """`2026-01-02T03:04Z` → an aware time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("expected a time such as 2026-01-02T03:04Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
