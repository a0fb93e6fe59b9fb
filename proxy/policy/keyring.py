"""The keys of one upstream: which is lent next, and which rest because the vendor refused them.

Rules:
    1. A key that is throttled rests for that model alone, as long as the vendor says (1 s to an hour), else for 5 s,
       doubled each time up to a minute. A success ends the doubling.
    2. A key whose account has no money rests for all models, 15 minutes, doubled up to a day.
    3. A key that is refused rests for all models, 10 minutes: somebody has to look at it. One that may not use a model
       rests for that model alone.
    4. Being throttled is no want of money, nor the reverse: each has its own row in the table and its own doubling.
    5. Keys that are awake are lent in turn, each as often as it does well: one that is always refused gets a tenth of a
       good one's share. A key that wakes up does not make up for what it missed.
    6. A key of which the vendor said that no requests are left rests for that model until there is one, an hour at
       most; one whose tokens left do not suffice for a prompt is not lent for it until they do.
    7. What is reported while a key rests already (requests were under way) does not double anything.

Theory: stride scheduling (Waldspurger and Weihl, 1995). Each key has a `turn`; the lowest is lent next and moves on by
the inverse of its weight. Nothing is left to chance.

Pure: `now` is monotonic seconds. A key is known by its fingerprint alone; an upstream without keys has the empty one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.core.errors import ErrorKind
from proxy.core.secret import Secret
from proxy.wire.meters import Reading


@dataclass(frozen=True, slots=True)
class Rule:
    """Seconds of rest: `first`, doubled up to `most`. `hears`: what the vendor says counts more. `per_model`: see 1."""

    first: float
    most: float
    hears: bool = False
    per_model: bool = False


RULES: Mapping[ErrorKind, Rule] = {
    ErrorKind.THROTTLE: Rule(5.0, 60.0, hears=True, per_model=True),
    ErrorKind.MONEY: Rule(900.0, 86400.0),
    ErrorKind.AUTH: Rule(600.0, 600.0),
    ErrorKind.FORBIDDEN: Rule(600.0, 600.0, per_model=True),
}
SHORTEST, LONGEST = 1.0, 3600.0
"""Seconds; what a vendor may ask for."""

_LEARNING = 0.1  # of the newest result in the moving average
_LEAST = 0.1  # weight of a key that fails always
_MOST_MODELS = 1024  # rests kept per key; some upstreams throttle any name that a caller makes up
_ALL = ""  # stands for all models


class Prompt(Protocol):
    """A prompt whose length is worked out only where it matters; it is at most `most_tokens`."""

    @property
    def tokens(self) -> int: ...

    @property
    def most_tokens(self) -> float: ...


@dataclass(slots=True)
class _Rest:
    kind: ErrorKind
    until: float
    times: int = 1


@dataclass(slots=True)
class _Key:
    """`rests` by kind and model; they stay after their end, for the doubling.

    `meters` by model: what the vendor said last, and when.
    """

    turn: float = 0.0
    rate: float = 1.0
    successes: int = 0
    refusals: dict[ErrorKind, int] = field(default_factory=dict)
    rests: dict[tuple[ErrorKind, str], _Rest] = field(default_factory=dict)
    meters: dict[str, tuple[float, Sequence[Reading]]] = field(default_factory=dict)

    def rest(self, model: str, now: float) -> _Rest | None:
        """The rest that lasts longest among those that hold now for a model."""
        holding = [rest for (_, of), rest in self.rests.items() if of in (_ALL, model) and now < rest.until]
        return max(holding, key=lambda rest: rest.until, default=None)

    def shortage(self, model: str, prompt: Prompt, now: float) -> _Rest | None:
        """A rest for this prompt alone, as long as the tokens left do not suffice for it."""
        if model not in self.meters:
            return None
        at, readings = self.meters[model]
        for reading in readings:
            if reading.meter.counts == "tokens" and prompt.most_tokens > reading.left < prompt.tokens:
                until = at + min(LONGEST, reading.wait(prompt.tokens) or 0.0)
                if now < until:
                    return _Rest(ErrorKind.THROTTLE, until)
        return None


class Keyring:
    """One upstream."""

    __slots__ = ("_has_meters", "_keys", "_quiet_from", "_turn")

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}
        self._turn = 0.0
        self._quiet_from = 0.0
        """From this moment on nothing rests."""
        self._has_meters = False

    def lend(
        self,
        keys: Sequence[Secret],
        model: str,
        now: float,
        but: Collection[Secret] = (),
        prompt: Prompt | None = None,
    ) -> Secret | None:
        """The next of `keys` for a request; none of `but`. None if all the others rest."""
        if len(keys) == 1:
            (only,) = keys
            return only if only not in but and self._rest(only, model, now, prompt) is None else None
        awake = [key for key in keys if key not in but and self._rest(key, model, now, prompt) is None]
        if not awake:
            return None
        chosen = min(awake, key=lambda key: max(self._turn, self._of(key).turn))
        state = self._of(chosen)
        self._turn = max(self._turn, state.turn)
        state.turn = self._turn + 1 / max(_LEAST, state.rate)
        return chosen

    def is_awake(self, keys: Sequence[Secret], model: str, now: float) -> bool:
        """True if one of the keys may be used."""
        return now >= self._quiet_from or any(self._rest(key, model, now) is None for key in keys)

    def wakes(
        self, keys: Sequence[Secret], model: str, now: float, prompt: Prompt | None = None
    ) -> tuple[float, ErrorKind] | None:
        """When the first of the keys may be used again and why not now; None if one may."""
        rests = [self._rest(key, model, now, prompt) for key in keys]
        known = [rest for rest in rests if rest is not None]
        if len(known) < len(rests):
            return None
        first = min(known, key=lambda rest: rest.until)
        return first.until, first.kind

    def settle(self, key: Secret, model: str, kind: ErrorKind | None, wait: float | None, now: float) -> None:
        """How a request with the key ended: None is a success; `wait` is what the vendor asked for, in seconds."""
        state = self._of(key)
        if kind is None:
            state.successes += 1
            state.rate += _LEARNING * (1 - state.rate)
            if state.rests:
                self._end_doubling(state, model, now)
        elif kind in RULES:
            state.refusals[kind] = state.refusals.get(kind, 0) + 1
            state.rate -= _LEARNING * state.rate
            self._send_to_rest(state, kind, model, wait, now)

    def _end_doubling(self, state: _Key, model: str, now: float) -> None:
        """The key works again: what rests come will be short."""
        for place in [place for place in state.rests if place[1] in (_ALL, model)]:
            if now >= state.rests[place].until:
                del state.rests[place]

    def hear(self, key: Secret, model: str, readings: Sequence[Reading], now: float) -> bool:
        """What the vendor says is left for the key; true if it rests for that."""
        state = self._of(key)
        state.meters.pop(model, None)
        state.meters[model] = (now, readings)
        if len(state.meters) > _MOST_MODELS:
            del state.meters[next(iter(state.meters))]
        self._has_meters = True
        used_up = [one for one in readings if not one.left and one.meter.counts == "requests"]
        waits = [seconds for one in used_up if (seconds := one.wait(1))]
        if waits:
            self._send_to_rest(state, ErrorKind.THROTTLE, model, max(waits), now)
        return bool(waits)

    def next_waking(self, now: float) -> float | None:
        """The next moment at which any key wakes up."""
        ends = [rest.until for key in self._keys.values() for rest in key.rests.values() if rest.until > now]
        return min(ends, default=None)

    def models(self, kind: ErrorKind) -> set[str]:
        """The models for which some key rests, or rested lately, for this reason."""
        return {model for key in self._keys.values() for why, model in key.rests if why is kind}

    def forget_all_but(self, keys: Sequence[Secret]) -> None:
        """The upstream has these keys and no others any more."""
        kept = {key.fingerprint for key in keys}
        for gone in [fingerprint for fingerprint in self._keys if fingerprint not in kept]:
            del self._keys[gone]

    def describe(self, keys: Sequence[Secret], now: float) -> list[dict[str, Any]]:
        """The form shown under `/admin/status`: keys by their fingerprints."""
        return [self._row(key, self._of(key), now) for key in keys]

    def _row(self, key: Secret, state: _Key, now: float) -> dict[str, Any]:
        return {
            "key": key.fingerprint if key else None,
            "success_rate": round(state.rate, 4),
            "successes": state.successes,
            "refusals": {kind.label: count for kind, count in state.refusals.items()},
            "rests": [
                {"because": kind.label, "model": model or None, "seconds": round(rest.until - now, 3)}
                for (kind, model), rest in state.rests.items()
                if now < rest.until
            ],
            "remaining": {
                model: {one.meter.remaining: one.left for one in readings}
                for model, (_, readings) in state.meters.items()
            },
        }

    def _send_to_rest(self, state: _Key, kind: ErrorKind, model: str, wait: float | None, now: float) -> None:
        rule = RULES[kind]
        place = (kind, model if rule.per_model else _ALL)
        before = state.rests.pop(place, None)
        told = min(LONGEST, max(SHORTEST, wait)) if rule.hears and wait is not None else None
        if before is not None and now < before.until:
            until, times = max(before.until, now + (told or 0.0)), before.times
        else:
            times = 1 if before is None else before.times + 1
            until = now + (told or min(rule.most, rule.first * 2 ** min(times - 1, 16)))
        state.rests[place] = _Rest(kind, until, times)
        self._quiet_from = max(self._quiet_from, until)
        if len(state.rests) > _MOST_MODELS:
            del state.rests[next(iter(state.rests))]

    def _rest(self, key: Secret, model: str, now: float, prompt: Prompt | None = None) -> _Rest | None:
        may_be_short = prompt is not None and self._has_meters
        if now >= self._quiet_from and not may_be_short:
            return None
        state = self._keys.get(key.fingerprint)
        if state is None:
            return None
        rest = state.rest(model, now)
        if rest is None and prompt is not None and may_be_short:
            return state.shortage(model, prompt, now)
        return rest

    def _of(self, key: Secret) -> _Key:
        state = self._keys.get(key.fingerprint)
        if state is None:
            state = self._keys[key.fingerprint] = _Key(turn=self._turn)
        return state
