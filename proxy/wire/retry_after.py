"""How long an upstream asks to be left alone: every spelling of `Retry-After`, in seconds.

Sources: RFC 9110 10.2.3 (seconds or a date); `retry-after-ms` and the `x-ratelimit-*` family (resets are durations
such as `6m0s` or `12ms`, or moments), as the vendors' documents give them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_UNIT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|μs|ns|d|h|m|s)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,4})?", re.IGNORECASE | re.ASCII)
_EPOCH_SECONDS, _EPOCH_MILLIS = 1e9, 1e11
"""From here on a bare number is no span but a moment since 1970."""

_KINDS = ("requests", "tokens")
_EXHAUSTED = frozenset({"0", "0.0"})


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait, or None if the (lower-cased) `headers` do not say, say nonsense or name a past moment.

    `now` is seconds since 1970; without it the answer's own `date` header is taken for the present.
    """
    if now is None:
        now = _moment(headers.get("date", ""))
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        millis = _number(headers.get(name, "").strip())
        if millis is not None:
            return millis / 1000
    for value in (headers.get("retry-after"), _exhausted_reset(headers, now), headers.get("x-ratelimit-reset")):
        seconds = span(value, now) if isinstance(value, str) else value
        if seconds is not None:
            return seconds
    return None


def span(text: str, now: float | None = None) -> float | None:
    """Seconds from `now` of one value in any spelling: number, duration, HTTP date, RFC 3339 or epoch; else None."""
    text = text.strip()
    number = _number(text)
    if number is None:
        duration = _duration(text)
        return duration if duration is not None else _until(_moment(text), now)
    if number >= _EPOCH_MILLIS:
        return _until(number / 1000, now)
    return _until(number, now) if number >= _EPOCH_SECONDS else number


def seconds_until(text: str, date: str) -> float | None:
    """Seconds from an answer's `date` header until `text`, a span or a moment in any spelling; else None."""
    return span(text, _moment(date))


def _exhausted_reset(headers: Mapping[str, str], now: float | None) -> float | None:
    """The reset of the limit that has nothing left; where the answer does not count, of the slowest limit."""
    spans: list[float] = []
    for kind in _KINDS:
        if headers.get(f"x-ratelimit-remaining-{kind}", "0").strip() in _EXHAUSTED:
            seconds = span(headers.get(f"x-ratelimit-reset-{kind}", ""), now)
            spans += [] if seconds is None else [seconds]
    return max(spans, default=None)


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if value >= 0 and math.isfinite(value) else None


def _duration(text: str) -> float | None:
    pieces = _UNIT.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        return None
    value = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    return value if math.isfinite(value) else None


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date or an RFC 3339 time."""
    if not text or len(text) > 64:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _until(moment: float | None, now: float | None) -> float | None:
    if moment is None or now is None or moment < now:
        return None
    return moment - now
