"""Whether the same target is asked a second time, after which pause, and out of which budget.

Rules:
    1. A target is asked twice at most, and a repetition never takes the try of a target that was not asked yet.
    2. Another key is tried at once. Without one, a throttled request waits for its key if that takes 2 s at most.
    3. A connection that was refused at once is tried again at once, and free: nothing had been sent.
    4. A fault is tried again after a pause by chance between nothing and `base`, doubled with each repetition of the
       request, at most `most` ("full jitter"): those who failed together must not come back together.
    5. An overloaded target is left alone for a second or more, so this is worth it only where nobody else is left; and
       not where it was clear without asking it.
    6. No pause outlives the deadline, and no breaker that has opened meanwhile is passed by.
    7. Each repetition is paid from the target's budget. While a target is down the budget runs dry, and what is sent
       to it is what clients send, no more.

After the retry token bucket of the AWS SDKs (500 tokens, 14 for a fault, 5 for throttling, refunded by success) and
Finagle's retry budgets (a share of what is under way). Pure: `chance` is a number from [0, 1), times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.errors import ErrorKind
from proxy.policy.keyring import RULES

FOR_IMPATIENT = 2
"""Tries in all for a request that its client repeats already."""
PATIENCE = 2.0
"""Seconds; the longest wait for a throttled key."""

CAPACITY = 500
_COST = 14
_KEY_COST = 5
_EARNED = 1  # by a success at the first try
_SHARE, _ALWAYS = 0.2, 3  # of the requests at the target may be repetitions; so many always
_AT_ONCE = 0.5  # share of the connect timeout
_OVERLOAD = 1.0  # seconds
_OF_PATIENCE = 0.95
_MARGIN = 0.01  # seconds; timers may be early by a little


@dataclass(frozen=True, slots=True)
class Situation:
    """After a failure: which it was and how long it took, and what the request could do instead.

    `repeated` counts its repetitions so far, at whatever target. `wakes` is the seconds until a key may be used again,
    0 if one may now that was not tried. `others` is how many targets were not asked yet, `left` how many tries there
    are, and `time` how many seconds.
    """

    kind: ErrorKind
    was_sent: bool
    took: float
    connect_timeout: float
    repeated: int
    wakes: float
    others: int
    left: int
    time: float


def pause(now: Situation, base: float, most: float, chance: float) -> float | None:
    """Seconds to wait before the same target is asked once more, None if it is not."""
    if now.left <= now.others:
        return None
    seconds = _key_pause(now) if now.kind in RULES else _pause(now, base, most, chance)
    return seconds if seconds is not None and seconds < now.time else None


def is_free(now: Situation) -> bool:
    """True if a repetition costs the target nothing."""
    return now.kind is ErrorKind.CONNECT and not now.was_sent


def _key_pause(now: Situation) -> float | None:
    if now.wakes <= 0:
        return 0.0
    return now.wakes + _MARGIN if now.kind is ErrorKind.THROTTLE and now.wakes <= PATIENCE else None


def _pause(now: Situation, base: float, most: float, chance: float) -> float | None:
    if not now.kind.facts.same_key:
        return None
    if is_free(now):
        return 0.0 if now.took < _AT_ONCE * now.connect_timeout else None
    jitter: float = chance * min(most, base * 2**now.repeated)
    if now.kind is ErrorKind.OVERLOAD:
        return _OVERLOAD + jitter if now.was_sent and not now.others else None
    return jitter


class Budget:
    """The repetitions that one target can bear."""

    __slots__ = ("tokens", "under_way")

    def __init__(self) -> None:
        self.tokens = CAPACITY
        self.under_way = 0
        """Repetitions that have begun and not ended."""

    def take(self, now: Situation, active: int) -> int | None:
        """Begin a repetition while `active` requests are at the upstream; what it cost, None if it is too much."""
        cost = 0 if is_free(now) else _KEY_COST if now.kind in RULES else _COST
        if cost > self.tokens or self.under_way + 1 > max(_ALWAYS, _SHARE * active):
            return None
        self.tokens -= cost
        self.under_way += 1
        return cost

    def give_back(self, cost: int, *, is_success: bool) -> None:
        """The repetition has ended."""
        self.under_way -= 1
        if is_success:
            self.tokens = min(CAPACITY, self.tokens + cost)

    def describe(self) -> dict[str, int]:
        """The form shown under `/admin/status`."""
        return {"tokens": self.tokens, "capacity": CAPACITY, "under_way": self.under_way}

    def earn(self) -> None:
        """A request had success at its first try."""
        self.tokens = min(CAPACITY, self.tokens + _EARNED)


def most_tries(configured: int, headers: Mapping[str, str]) -> int:
    """How many tries a request gets; one that its client repeats already gets fewer (`x-stainless-retry-count`)."""
    count = headers.get("x-stainless-retry-count", "")
    is_repeated = count.isascii() and count.isdigit() and count.strip("0") != ""
    return min(configured, FOR_IMPATIENT) if is_repeated else configured


def first_byte_by(headers: Mapping[str, str]) -> float:
    """Seconds that the client gives us for the first byte (`x-stainless-read-timeout`), less what the way takes."""
    try:
        seconds = float(headers.get("x-stainless-read-timeout", ""))
    except ValueError:
        return math.inf
    return _OF_PATIENCE * seconds if seconds > 0 else math.inf
