"""A limit that is found out: over a simulated upstream, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.limit import PERIOD, REVIEW, SAMPLES, SILENCE, Limit

MOST = 512


@dataclass(frozen=True, slots=True)
class Job:
    sent: float
    prompt: int


class Upstream:
    """Works on `capacity` requests at once, the others wait there in turn; `clients` always have another one.

    A first token takes `first` seconds for 200 tokens of prompt, the rest of an answer `rest` seconds, times `slowness`
    of the moment, a third more or less by chance.
    """

    def __init__(
        self,
        limit: Limit,
        capacity: Callable[[float], int],
        *,
        clients: int = 100,
        first: float = 0.5,
        rest: float = 0.5,
        slowness: Callable[[float], float] = lambda _now: 1.0,
        prompts: tuple[int, ...] = (200,),
    ) -> None:
        self.limit, self.capacity, self.idle = limit, capacity, clients
        self.first, self.rest, self.slowness, self.prompts = first, rest, slowness, prompts
        self.now, self.held, self.busy, self.done = 0.0, 0, 0, 0
        self.history: list[tuple[float, int]] = []
        self._line: deque[Job] = deque()
        self._events: list[tuple[float, int, Callable[[Job], None], Job]] = []
        self._numbers = itertools.count()
        self._random = random.Random(7)

    def run(self, until: float) -> None:
        self._fill()
        while self._events and self.now < until:
            self.now, _, act, job = heapq.heappop(self._events)
            act(job)
            self._fill()
            self.history.append((self.now, self.limit.value))

    def mean(self, since: float) -> float:
        """The limit from then on."""
        values = [value for at, value in self.history if at >= since]
        return sum(values) / len(values)

    def _fill(self) -> None:
        while self.idle and self.held < self.limit.value:
            self.idle, self.held = self.idle - 1, self.held + 1
            self._line.append(Job(self.now, self._random.choice(self.prompts)))
        while self._line and self.busy < self.capacity(self.now):
            self.busy += 1
            job = self._line.popleft()
            self._later(self.first * job.prompt / 200, self._begin, job)

    def _begin(self, job: Job) -> None:
        self.limit.began(job.prompt, self.now - job.sent, self.held, self.now)
        self._later(self.rest, self._end, job)

    def _end(self, _job: Job) -> None:
        self.idle, self.held, self.busy, self.done = self.idle + 1, self.held - 1, self.busy - 1, self.done + 1

    def _later(self, seconds: float, act: Callable[[Job], None], job: Job) -> None:
        taken = seconds * self.slowness(self.now) * self._random.lognormvariate(0, 0.3)
        heapq.heappush(self._events, (self.now + taken, next(self._numbers), act, job))


@pytest.mark.parametrize("start", [1, 64, MOST])
@pytest.mark.parametrize("capacity", [2, 4, 16, 64])
@pytest.mark.parametrize("rest", [0.0, 0.5])
def test_it_comes_near_the_capacity_from_wherever_it_begins(capacity: int, start: int, rest: float) -> None:
    upstream = Upstream(Limit(start, 1, MOST), lambda _now: capacity, clients=4 * capacity + 50, rest=rest)
    upstream.run(600)
    assert 0.6 * capacity <= upstream.mean(since=300) <= 2 * capacity
    assert upstream.done >= 0.8 * capacity * 600 / (1.05 * (upstream.first + rest))


def test_prompts_are_compared_with_their_like() -> None:
    """Whether those at hand are long says nothing of the upstream."""
    upstream = Upstream(Limit(4, 1, MOST), lambda _now: 16, prompts=(20, 200, 2000))
    upstream.run(900)
    assert 0.6 * 16 <= upstream.mean(since=450) <= 2 * 16


def test_it_follows_a_capacity_that_shrinks_and_comes_back() -> None:
    upstream = Upstream(Limit(64, 1, MOST), lambda now: 4 if 300 <= now < 600 else 16)
    upstream.run(600)
    assert upstream.mean(since=450) <= 2 * 4
    upstream.run(900)
    assert 0.6 * 16 <= upstream.mean(since=750) <= 2 * 16


def test_it_recovers_when_everything_was_slow_for_a_while() -> None:
    upstream = Upstream(Limit(64, 1, MOST), lambda _now: 16, slowness=lambda now: 5.0 if 300 <= now < 600 else 1.0)
    upstream.run(900)
    assert 0.6 * 16 <= upstream.mean(since=750) <= 2 * 16


def test_an_upstream_that_is_hardly_used_keeps_its_limit() -> None:
    upstream = Upstream(Limit(64, 1, MOST), lambda _now: 64, clients=6)
    upstream.run(600)
    assert upstream.mean(since=0) > 60


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(0, 50),
    st.lists(
        st.tuples(st.floats(0, 5), st.integers(0, 10**6), st.floats(0, 100), st.integers(0, 300), st.booleans()),
        max_size=300,
    ),
)
def test_it_never_leaves_its_bounds(least: int, more: int, steps: list) -> None:
    limit, now = Limit(64, least, least + more), 0.0
    for passed, prompt, seconds, held, is_refused in steps:
        now += passed
        if is_refused:
            limit.refused(now)
        else:
            limit.began(prompt, seconds, held, now)
        assert least <= limit.value <= least + more


def test_refusals_take_a_quarter_once_a_second() -> None:
    limit = Limit(64, 1, MOST)
    limit.began(100, 1.0, 1, 9.0)
    for _ in range(10):
        limit.refused(10.0)
    assert limit.value == 48
    limit.refused(10.0 + PERIOD)
    assert limit.value == 36


def test_other_bounds_hold_at_once() -> None:
    limit = Limit(64, 1, MOST)
    limit.bound(1, 10)
    assert limit.value == 10
    limit.bound(20, 30)
    assert limit.value == 20


def window(limit: Limit, seconds: float, now: float) -> float:
    """A whole window of answers that began after so long; when it is over."""
    for number in range(SAMPLES + 1):
        limit.began(100, seconds, limit.value, now + seconds + PERIOD * number / SAMPLES)
    return now + seconds + 1.1 * PERIOD


def test_a_review_tries_half_and_gives_it_back_when_that_is_no_better() -> None:
    limit = Limit(64, 1, MOST)
    now = window(limit, 1.0, 0.0)
    assert (limit.value, limit.describe()["in_review"]) == (32, True)
    now = window(limit, 1.0, now)
    assert (limit.value, limit.describe()["in_review"]) == (64, False)
    now = window(limit, 1.0, now)
    assert limit.value == 68
    now = window(limit, 3.0, now)
    assert limit.value == 34
    for _ in range(REVIEW[1] - 2):
        assert not limit.describe()["in_review"]
        now = window(limit, 1.0, now + REVIEW[0])
    assert limit.describe()["in_review"]


def test_a_review_goes_on_while_half_is_better() -> None:
    limit, now = Limit(64, 1, MOST), 0.0
    for seconds in (16.0, 8.0, 4.0, 2.0, 1.0, 1.0):
        now = window(limit, seconds, now)
    assert limit.value == 4
    assert not limit.describe()["in_review"]


def test_what_was_sent_under_another_limit_does_not_count() -> None:
    limit = Limit(64, 1, MOST)
    now = window(limit, 1.0, 0.0)
    for _ in range(5 * SAMPLES):
        limit.began(100, 5.0, 64, now + 4.0)
    assert limit.value == 32


def test_where_nobody_streams_the_limit_stays() -> None:
    """Nothing would ever give back what refusals take away."""
    limit = Limit(64, 1, MOST)
    for second in range(100):
        limit.refused(10.0 + second)
    assert limit.value == 64
    limit.began(100, 1.0, 64, 200.0)
    limit.refused(200.0 + SILENCE - 1)
    limit.refused(200.0 + SILENCE)
    assert limit.value == 48


def test_a_review_that_nobody_streams_in_is_given_up() -> None:
    limit = Limit(64, 1, MOST)
    now = window(limit, 1.0, 0.0)
    assert limit.value == 32
    limit.tend(now + SILENCE / 2)
    limit.began(100, 1.0, 32, now + SILENCE / 2)
    limit.tend(now + SILENCE)
    assert limit.value == 32
    limit.tend(now + 1.5 * SILENCE + 1)
    assert limit.value == 64
