"""How many requests an upstream bears at once, found out from how soon its answers begin.

Rules:
    1. What counts is the time to the first token of a streamed answer; how long the rest takes says how much there was
       to say. It is compared with the time that a prompt of about the same length takes when the upstream is at ease.
    2. Samples are taken together to windows, at least SAMPLES of them in at least PERIOD; the middle one of the ratios
       counts, the *lag*. Requests that were sent under another limit do not belong to the window.
    3. While answers begin within TOLERANCE times the time at ease, the limit grows by half its square root a window, if
       more than half of it is used. Beyond that it shrinks in proportion to the lag, by half at most.
    4. From time to time (REVIEW), or when answers begin so soon that the time at ease must be out of date, half of what
       is used is tried. If the lag is as ever, the review is over. Else that half is the limit, and its half is tried,
       as long as answers begin sooner by GAIN each time: then there was a line. What is measured last is the time at
       ease.
    5. An upstream that says it is overloaded, or does not begin in time, loses a quarter of the limit, once a PERIOD.
    6. After SILENCE without any stream nothing is known: a review is given up, and overloads take nothing away, for
       nothing would give it back.

Theory: below its capacity an upstream takes the same time whatever the limit; above it, requests wait there, and the
time grows with the limit. After Netflix's concurrency-limits (Gradient2: the ratio of two latencies, headroom by the
square root) and Envoy's adaptive concurrency (the time at ease is measured under a lowered limit; an average over time
would in the end take any line for normal). Pure: times are monotonic seconds.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

SAMPLES = 10
PERIOD = 1.0
"""Seconds."""
REVIEW = 30.0, 10
"""Seconds and windows, at least, between two reviews."""
SILENCE = 60.0
"""Seconds."""
TOLERANCE = 1.5
GAIN = 1.5

_SHRUNK, _REFUSED = 0.5, 0.75  # at most, at once
_FEW = 8  # requests at once that need no review where the limit leaves room for more
_MOST_SAMPLES = 1000  # per window
_SOONEST = 0.001  # seconds; nothing is measured more finely


class Limit:
    """Of one upstream: begins at `start` and stays between `least` and `most`."""

    __slots__ = (
        "_ease", "_heard_at", "_lag", "_least", "_limit", "_most", "_peak", "_refused_at", "_reviewed_at", "_samples",
        "_since", "_trial", "_tried_lag", "_windows",
    )  # fmt: skip

    def __init__(self, start: int, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._limit = float(min(most, max(least, start)))
        self._ease: dict[int, float] = {}
        """Seconds to the first token, by the lengths of prompts, each four times the last."""
        self._lag = 1.0
        self._trial: float | None = None
        """The limit that is tried in a review."""
        self._tried_lag: float | None = None
        """With the limit that was tried before it."""
        self._windows = 0
        """Since the last review."""
        self._reviewed_at = -math.inf
        self._refused_at = -math.inf
        self._heard_at = -math.inf
        self._samples: list[tuple[int, float]] = []
        self._peak = 0
        self._since = -math.inf

    @property
    def value(self) -> int:
        """How many requests may be there now."""
        return int(self._limit if self._trial is None else self._trial)

    def bound(self, least: int, most: int) -> None:
        """Other bounds from now on."""
        self._least, self._most = least, most
        self._limit = self._within(self._limit)
        self._trial = self._tried_lag = None

    def began(self, prompt: int, seconds: float, held: int, now: float) -> None:
        """An answer to a prompt of so many tokens has begun after `seconds`, while `held` requests were there."""
        self._heard_at = now
        if now - seconds < self._since or len(self._samples) == _MOST_SAMPLES:
            return
        self._samples.append((prompt.bit_length() // 2, max(_SOONEST, seconds)))
        self._peak = max(self._peak, held)
        if len(self._samples) >= SAMPLES and now - self._since >= PERIOD:
            self._end_window(now)

    def refused(self, now: float) -> None:
        """The upstream had too much to do."""
        if now - self._refused_at >= PERIOD and now - self._heard_at < SILENCE:
            self._refused_at = now
            self._limit = self._within(self._limit * _REFUSED)
            self._trial = self._tried_lag = None
            self._begin_window(now)

    def tend(self, now: float) -> None:
        """To be called now and then: a review that nobody streams in is over."""
        if self._trial is not None and now - max(self._since, self._heard_at) >= SILENCE:
            self._end_review(now)

    def describe(self) -> dict[str, Any]:
        """The form shown under `/admin/status`."""
        return {
            "least": self._least,
            "most": self._most,
            "lag": round(self._lag, 2),
            "in_review": self._trial is not None,
        }

    def _end_window(self, now: float) -> None:
        lag = self._lag = median(seconds / self._ease.get(size, seconds) for size, seconds in self._samples)
        is_stale = lag * GAIN <= 1 or not any(size in self._ease for size, _ in self._samples)
        is_used = 2 * self._peak > self._limit
        is_worth_it = is_used or self._peak > _FEW
        self._windows += 1
        if self._trial is not None:
            self._go_on(self._trial, lag, now)
        elif is_stale or (self._is_due(now) and is_worth_it):
            if is_stale:
                self._learn()
            if is_worth_it:
                self._trial = self._within(min(self._limit, self._peak) / 2)
        elif lag > TOLERANCE:
            self._limit = self._within(self._limit * max(_SHRUNK, TOLERANCE / lag))
        elif is_used:
            self._limit = self._within(self._limit + max(1.0, math.sqrt(self._limit) / 2))
        self._begin_window(now)

    def _is_due(self, now: float) -> bool:
        seconds, windows = REVIEW
        return now - self._reviewed_at >= seconds and self._windows >= windows

    def _go_on(self, tried: float, lag: float, now: float) -> None:
        """With the review as long as less is better, or nothing can be said yet; else it is over."""
        if self._tried_lag is None:
            goes_on = not 1 / GAIN < lag <= GAIN
        else:
            goes_on = lag * GAIN <= self._tried_lag
        if goes_on:
            self._limit, self._tried_lag = tried, lag
        if goes_on and tried > self._least:
            self._trial = self._within(tried / 2)
            return
        self._learn()
        self._end_review(now)

    def _end_review(self, now: float) -> None:
        self._trial = self._tried_lag = None
        self._reviewed_at, self._windows = now, 0

    def _learn(self) -> None:
        """What was measured in this window is the time at ease, as far as is known; small differences are noise."""
        for group in {size for size, _ in self._samples}:
            new = median(seconds for size, seconds in self._samples if size == group)
            old = self._ease.get(group, new)
            self._ease[group] = (old + new) / 2 if 1 / GAIN < new / old < GAIN else new

    def _begin_window(self, now: float) -> None:
        self._samples.clear()
        self._peak = 0
        self._since = now

    def _within(self, limit: float) -> float:
        return min(float(self._most), max(float(self._least), limit))
