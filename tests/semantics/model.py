"""The semantics of failure in two pages: the classes of errors, and what may be sent to whom at which time.

Written from the specification (`docs/reliability.md`, `docs/http.md`), not from the code. `Reckoning` follows the
requests that upstreams saw and keeps, for every key and target, the shortest and the longest time that it may have to
rest; where chance or order decide, these are bounds.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.semantics.wire import OK, Sent

Code = tuple[int, str | None]
EARLY = 0.01
"""Seconds by which a timer may be off."""
MOMENT = 0.011
"""Seconds after a refusal in which others may still be sent: they had looked before they got their slot."""
MOST_TRIES, MOST_AT_A_TARGET, MOST_FOR_IMPATIENT = 4, 2, 2
OPENS_AFTER, OPENS_AT, OPENS_OF, WINDOW = 5, 0.5, 10, 30.0
PAUSE, LONGEST_PAUSE, JITTER = 5.0, 30.0, 0.2


@dataclass(frozen=True, slots=True)
class Row:
    """One error class: what the client is told if nothing better is found, and what follows before that.

    `weight` is what it counts for a breaker, None if it says nothing of the target. `rests`: how long a key does at
    least and at most, in seconds.
    """

    answers: frozenset[Code]
    next_target: bool = True
    offline: bool = True
    weight: float | None = None
    rests: tuple[float, float] | None = None


def _row(*answers: Code, **facts: object) -> Row:
    return Row(frozenset(answers), **facts)  # type: ignore[arg-type]


CLASSES: Mapping[str, Row] = {
    "CLIENT": _row((400, None), next_target=False, offline=False),
    "CONTEXT": _row((400, "context_length_exceeded"), offline=False),
    "AUTH": _row((503, "upstream_auth"), rests=(600, 600)),
    "MONEY": _row((503, "upstream_quota"), rests=(900, 86400)),
    "THROTTLE": _row((429, "rate_limit_exceeded"), rests=(5, 60)),
    "OVERLOAD": _row((503, "upstream_overloaded"), weight=0.5),
    "CONNECT": _row((502, "upstream_unreachable"), weight=1.0),
    "FAULT": _row((502, "upstream_fault"), (502, "upstream_not_an_answer"), (502, "stream_interrupted"), weight=1.0),
    "TIMEOUT": _row((504, "upstream_timeout"), weight=1.0),
    # Not sent at all.
    "RESTING": _row((503, "upstream_resting")),
    "FULL": _row((503, "server_overloaded")),
    "LATE": _row((504, "deadline_exceeded")),
}
MILD = frozenset({"CONTEXT", "THROTTLE", "RESTING"})
"""What decides an error answer only where nothing worse happened."""
TOLD = {"throttles for a second": 1.0, "throttles for long": 120.0}
"""Seconds that the upstream itself says, by its behaviour."""


@dataclass(frozen=True, slots=True)
class Place:
    """An upstream as it is configured."""

    keys: tuple[str, ...] = ("",)
    slots: int = 64


@dataclass(frozen=True, slots=True)
class Ask:
    """One client's request: where it may go in which order, and what its client wants. Times are the loop's."""

    number: int
    at: float
    stream: bool
    route: tuple[str, ...]
    model: str
    places: Mapping[str, Place]
    deadline: float
    refuses_offline: bool = False
    is_repeated: bool = False

    @property
    def name(self) -> str:
        """Its prompt, by which upstreams know it."""
        return f"ask-{self.number}"

    @property
    def most_tries(self) -> int:
        return MOST_FOR_IMPATIENT if self.is_repeated else MOST_TRIES


@dataclass(slots=True)
class _Target:
    """What is known of a target's breaker: it is closed for certain until it is `suspect`."""

    row: float = 0.0
    results: deque[tuple[float, float]] = field(default_factory=deque)
    suspect: bool = False
    failures: int = 0
    """Since it is suspect; it may have opened with each of them."""
    shut_from: float = math.inf
    shut_until: float = -math.inf
    """Between the two it rests for certain."""
    may_rest_until: float = -math.inf
    probed_until: float = -math.inf
    """Since it is suspect: while one request probes it, others may be passed on."""


@dataclass(slots=True)
class _Rest:
    heard: float = -math.inf
    """When it was refused last."""
    surely_until: float = -math.inf
    perhaps_until: float = -math.inf
    times: int = 0


class Reckoning:
    """Follows what the upstreams of one process saw, event by event; every request that they see must be allowed."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._targets: dict[tuple[str, str], _Target] = {}
        self._keys: dict[tuple[str, str, str, str], _Rest] = {}
        self._open: set[Sent] = set()
        self._full_until: dict[str, float] = {}
        self._insisted: dict[str, set[str]] = {}
        """By request, the targets that it was sent to although they rested."""
        self._read = 0

    def adopt(self, places: Mapping[str, Place], now: float) -> None:
        """They are configured like this now."""
        self._places = places
        for upstream in places:
            self._note_full(upstream, now)
        for (_, upstream, key, _), rest in self._keys.items():
            if upstream not in places or key not in places[upstream].keys:
                rest.surely_until = -math.inf  # forgotten; or not, while older requests still use it

    def follow(self, log: Sequence[Sent], asks: Mapping[str, Ask]) -> None:
        """Take in what is new in `log`; `asks` by their names."""
        for sent in itertools.islice(log, self._read, None):
            ask = asks[sent.id]
            if sent in self._open:
                self._open.discard(sent)
                self._ended(sent, ask)
            else:
                self._check(sent, ask)
                self._open.add(sent)
                assert self._inside(sent.upstream) <= self._slots(sent.upstream), "more than there are slots"
            self._note_full(sent.upstream, sent.ended or sent.at)
            self._note_probe(sent)
        self._read = len(log)

    def crowded(self, upstream: str, since: float) -> bool:
        """Whether a request that came at `since` may have found no slot."""
        return self._full_until.get(upstream, -math.inf) >= since

    def may_rest(self, ask: Ask, upstream: str) -> bool:
        """Whether the target may have been passed over for a request, because of its breaker."""
        target = self._target((upstream, ask.model))
        return max(target.may_rest_until, target.probed_until) >= ask.at

    def resting_keys(self, ask: Ask, upstream: str) -> set[str]:
        """Why all keys of an upstream may have been resting; empty if one was awake."""
        reasons: set[str] = set()
        for key in ask.places[upstream].keys:
            why = {
                name
                for name, row in CLASSES.items()
                if row.rests and self._key(name, upstream, key, ask.model).perhaps_until >= ask.at
            }
            if not why:
                return set()
            reasons |= why
        return reasons

    def is_suspect(self, ask: Ask, upstream: str) -> bool:
        """Whether the order of asking may not be the route's for this target's sake."""
        return self._target((upstream, ask.model)).suspect

    def _check(self, sent: Sent, ask: Ask) -> None:
        """May this be sent, by all that was known before?"""
        place = ask.places[sent.upstream]
        assert sent.upstream in ask.route, "only the route's targets are asked"
        assert sent.key in place.keys, "only the upstream's own keys are shown to it"
        assert sent.at <= ask.deadline + EARLY, "nothing is sent after the deadline"
        for name, row in CLASSES.items():
            if row.rests:
                rest = self._key(name, sent.upstream, sent.key, sent.model)
                assert sent.at <= rest.heard + MOMENT or sent.at >= rest.surely_until, f"{name}: it rests"
        target = self._target(sent.place)
        if target.shut_from + MOMENT < sent.at < target.shut_until:
            others = [name for name in ask.route if self.is_suspect(ask, name) or self.resting_keys(ask, name)]
            assert len(ask.route) > 1, "there is nothing to choose, so it waits for the probe"
            assert len(others) > len(ask.route) // 2, "an open target is the last resort"
            self._insisted.setdefault(ask.name, set()).add(sent.upstream)
            assert len(self._insisted[ask.name]) == 1, "of three at most, one is asked although it rests"

    def _ended(self, sent: Sent, ask: Ask) -> None:
        row = CLASSES.get(sent.fate or "")
        now = sent.ended or 0.0
        if sent.fate == OK:
            self._result(sent, 0.0, now)
            for name, known in CLASSES.items():
                rest = self._key(name, sent.upstream, sent.key, sent.model)
                if known.rests and now >= rest.perhaps_until:
                    rest.times = 0
        elif row is not None and row.rests is not None:
            self._rest(sent, row.rests, now)
        elif row is not None and row.weight is not None and not is_late(sent, ask):
            self._result(sent, row.weight, now)

    def _result(self, sent: Sent, weight: float, now: float) -> None:
        target = self._target(sent.place)
        target.results.append((now, weight))
        while target.results[0][0] <= now - WINDOW - 1:
            target.results.popleft()
        target.row = target.row + weight if weight else 0.0
        if not weight:
            return
        if target.row >= OPENS_AFTER and not target.suspect:
            target.shut_from, target.shut_until = now, now + PAUSE * (1 - JITTER)
        target.suspect = target.suspect or target.row >= OPENS_AFTER or _is_bad(target.results)
        if target.suspect:
            pause = min(LONGEST_PAUSE, PAUSE * 2**target.failures)
            target.failures += 1
            target.may_rest_until = max(target.may_rest_until, now + pause * (1 + JITTER))

    def _rest(self, sent: Sent, bounds: tuple[float, float], now: float) -> None:
        rest = self._key(sent.fate or "", sent.upstream, sent.key, sent.model)
        rest.heard = now
        rest.times += 1
        told = TOLD.get(sent.behaviour)
        if told is not None or now >= rest.perhaps_until:
            rest.surely_until = max(rest.surely_until, now + (told or bounds[0]))
        longest = told or min(bounds[1], bounds[0] * 2 ** (rest.times - 1))
        rest.perhaps_until = max(rest.perhaps_until, now + longest)

    def _note_full(self, upstream: str, now: float) -> None:
        """It is full until somebody leaves."""
        if self._inside(upstream) >= self._slots(upstream):
            self._full_until[upstream] = math.inf
        elif self._full_until.get(upstream) == math.inf:
            self._full_until[upstream] = now

    def _note_probe(self, sent: Sent) -> None:
        target = self._target(sent.place)
        if target.suspect:
            is_probed = any(other.place == sent.place for other in self._open)
            target.probed_until = math.inf if is_probed else sent.ended or 0.0

    def _inside(self, upstream: str) -> int:
        return sum(sent.upstream == upstream for sent in self._open)

    def _slots(self, upstream: str) -> float:
        """What is configured no more has as many slots as it had; nobody knows any more."""
        return self._places[upstream].slots if upstream in self._places else math.inf

    def _target(self, place: tuple[str, str]) -> _Target:
        return self._targets.setdefault(place, _Target())

    def _key(self, name: str, upstream: str, key: str, model: str) -> _Rest:
        return self._keys.setdefault((name, upstream, key, model if name == "THROTTLE" else ""), _Rest())


def _is_bad(results: Sequence[tuple[float, float]]) -> bool:
    """Whether so many of the latest results were failures; of however many, for windows have soft edges."""
    failed = 0.0
    for count, (_, weight) in enumerate(reversed(results), 1):
        failed += weight
        if count >= OPENS_OF and failed >= OPENS_AT * count:
            return True
    return False


def is_late(sent: Sent, ask: Ask) -> bool:
    """The deadline cut it off, so it says nothing of the upstream."""
    return sent.fate == "TIMEOUT" and (sent.ended or 0.0) >= ask.deadline - EARLY
