"""How long a target usually takes to begin an answer, and how long it is therefore given.

Rules:
    1. Alike are answers of one model at one upstream, to prompts of about the same length, that are streamed or are
       not. Of a stream its first token is its beginning; an answer that comes whole begins when it is there.
    2. Usual is the time within which 95 of 100 have begun in the last ten minutes; unknown of fewer than 20.
    3. What was cut off or called off before it had begun counts as what it had taken, if that is more than usual. If it
       did not count, what is usual would be learned from the fast ones alone, and shrink with each that is cut.
    4. A stream gets twice the usual time, never less than a floor, and never more than what is configured.
    5. Nothing is learned of an upstream before somebody has asked about it.

Theory: durations are counted in buckets that grow by a constant factor, so that a quantile is at most 9 % too high; the
ten minutes are ten slices, of which the oldest is taken out of the sum when its time is over.
Pure: times are monotonic seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, deque

from proxy.core.errors import ErrorKind
from proxy.core.usage import UsageRecord, tokens_of

SHARE = 0.95
ENOUGH = 20
WINDOW = 600.0
"""Seconds."""
MARGIN = 2.0

_SLICES = 10
_PER_DOUBLING = 8
_SHORTEST = 1e-3  # seconds; everything faster shares the first bucket
_LENGTHS = (1_000, 4_000, 16_000, 64_000)  # tokens; prompts between two of these are of about the same length
_MOST = 1024  # windows kept per upstream; some answer to any name that a caller makes up
_CUT = frozenset({ErrorKind.FIRST_TOKEN_TIMEOUT, ErrorKind.FIRST_BYTE_TIMEOUT, ErrorKind.HEDGED})

_Like = tuple[str, int, bool]
"""The model, the class of the prompt's length, and whether the answer is streamed."""


class Window:
    """Durations of the last ten minutes."""

    __slots__ = ("_slices", "_sum", "count")

    def __init__(self) -> None:
        self._slices: deque[tuple[int, Counter[int]]] = deque()
        self._sum: Counter[int] = Counter()
        self.count = 0

    def note(self, seconds: float, now: float) -> None:
        number = self._forget(now)
        if not self._slices or self._slices[-1][0] != number:
            self._slices.append((number, Counter()))
        bucket = math.ceil(math.log2(max(seconds, _SHORTEST) / _SHORTEST) * _PER_DOUBLING)
        self._slices[-1][1][bucket] += 1
        self._sum[bucket] += 1
        self.count += 1

    def quantile(self, share: float, now: float) -> float | None:
        """Seconds within which the share of them lies, None while there are not enough."""
        self._forget(now)
        if self.count < ENOUGH:
            return None
        left = share * self.count
        for bucket in sorted(self._sum):
            left -= self._sum[bucket]
            if left <= 0:
                break
        return _SHORTEST * float(2 ** (bucket / _PER_DOUBLING))

    def _forget(self, now: float) -> int:
        """Take out what is too old; the number of the present slice."""
        number = int(now / WINDOW * _SLICES)
        while self._slices and self._slices[0][0] <= number - _SLICES:
            _, old = self._slices.popleft()
            self._sum -= old  # which also drops the buckets that are empty now
            self.count -= old.total()
        return number


class FirstTokens:
    """What is known of all targets, by name. `size` is the bytes of a request."""

    def __init__(self) -> None:
        self._windows: dict[str, dict[_Like, Window]] = {}

    def usual(self, upstream: str, model: str, size: int, now: float, *, streamed: bool) -> float | None:
        """Seconds to the beginning of an answer, None while that is unknown."""
        window = self._windows.setdefault(upstream, {}).get(_like(model, size, streamed))
        return None if window is None else window.quantile(SHARE, now)

    def learn(self, record: UsageRecord, now: float) -> None:
        """From a request that has just ended."""
        for attempt in record.attempts:
            windows = self._windows.get(attempt.upstream)
            if windows is None:
                continue
            like = _like(attempt.model, record.size, record.stream)
            begun = attempt.first_token
            if begun is None and attempt.kind is None:
                begun = attempt.seconds
            if begun is not None:
                _window(windows, like).note(begun, now)
            elif attempt.kind in _CUT and (window := windows.get(like)) is not None:
                usual = window.quantile(SHARE, now)
                if usual is not None and attempt.seconds > usual:
                    window.note(attempt.seconds, now)


def patience(usual: float | None, floor: float, most: float) -> float:
    """Seconds that a stream may take to begin."""
    return most if usual is None else min(most, max(floor, MARGIN * usual))


def _like(model: str, size: int, streamed: bool) -> _Like:
    return model, bisect_left(_LENGTHS, tokens_of(size)), streamed


def _window(windows: dict[_Like, Window], like: _Like) -> Window:
    """The window that was longest without an answer makes room for a new one."""
    window = windows.pop(like, None) or Window()
    windows[like] = window
    if len(windows) > _MOST:
        del windows[next(iter(windows))]
    return window
