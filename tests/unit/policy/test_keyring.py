"""The laws of a key pool."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.decision import Meter
from proxy.core.errors import ErrorKind
from proxy.core.secret import Secret
from proxy.policy.keyring import Keyring
from proxy.wire.meters import USUAL_METERS, Reading

A, B, C = KEYS = tuple(Secret(f"sk-{name}") for name in "abc")
K = ErrorKind


def lend(ring: Keyring, times: int, now: float = 0.0, keys=KEYS) -> Counter:
    return Counter(ring.lend(keys, "m", now).reveal() for _ in range(times))


def test_keys_that_do_well_share_evenly():
    assert lend(Keyring(), 300) == {"sk-a": 100, "sk-b": 100, "sk-c": 100}


def test_a_key_that_is_often_refused_is_lent_less_but_never_forgotten():
    ring, now, lent = Keyring(), 0.0, Counter()
    for _ in range(2000):
        now += 10
        key = ring.lend(KEYS, "m", now)
        lent[key] += 1
        ring.settle(key, "m", K.THROTTLE if key == A and lent[A] % 2 else None, 1.0, now)
    assert lent[A] < 0.7 * min(lent[B], lent[C])
    assert lent[A] > 100
    assert abs(lent[B] - lent[C]) < 10


def test_a_key_that_wakes_up_does_not_make_up_for_what_it_missed():
    ring = Keyring()
    ring.settle(A, "m", K.THROTTLE, 100.0, 0.0)
    assert "sk-a" not in lend(ring, 1000)
    assert lend(ring, 30, now=101.0)["sk-a"] <= 11


@pytest.mark.parametrize(
    ("wait", "rest"), [(7.0, 7.0), (0.0, 1.0), (0.25, 1.0), (99999.0, 3600.0), (None, 5.0)]
)  # fmt: skip
def test_a_throttled_key_rests_as_long_as_the_vendor_says(wait, rest):
    ring = Keyring()
    ring.settle(A, "m", K.THROTTLE, wait, 10.0)
    assert ring.wakes([A], "m", 10.0) == (10.0 + rest, K.THROTTLE)
    assert ring.lend([A], "m", 10.0 + rest - 0.01) is None
    assert ring.lend([A], "m", 10.0 + rest) == A


def rests(kind: ErrorKind, times: int) -> list[float]:
    """How long each rest is, when the key fails whenever it wakes up."""
    ring, now, found = Keyring(), 0.0, []
    for _ in range(times):
        ring.settle(A, "m", kind, None, now)
        until, _ = ring.wakes([A], "m", now)
        found.append(until - now)
        now = until
    return found


def test_rests_double_up_to_their_most():
    assert rests(K.THROTTLE, 6) == [5, 10, 20, 40, 60, 60]
    assert rests(K.MONEY, 8) == [900, 1800, 3600, 7200, 14400, 28800, 57600, 86400]
    assert rests(K.AUTH, 3) == [600, 600, 600]


def test_a_success_ends_the_doubling():
    ring = Keyring()
    ring.settle(A, "m", K.THROTTLE, None, 0.0)
    ring.settle(A, "m", K.THROTTLE, None, 5.0)
    ring.settle(A, "m", None, None, 15.0)
    ring.settle(A, "m", K.THROTTLE, None, 16.0)
    assert ring.wakes([A], "m", 16.0) == (21.0, K.THROTTLE)


def test_what_was_under_way_doubles_nothing():
    ring = Keyring()
    for _ in range(10):
        ring.settle(A, "m", K.THROTTLE, None, 0.0)
    assert ring.wakes([A], "m", 0.0) == (5.0, K.THROTTLE)
    ring.settle(A, "m", K.THROTTLE, 30.0, 1.0)
    assert ring.wakes([A], "m", 1.0) == (31.0, K.THROTTLE)
    ring.settle(A, "m", None, None, 2.0)
    assert ring.wakes([A], "m", 2.0) == (31.0, K.THROTTLE)


def test_throttling_is_no_want_of_money_and_the_reverse():
    """A throttled key works for other models, one without money for none; neither doubles the other's rest."""
    ring = Keyring()
    ring.settle(A, "m", K.THROTTLE, None, 0.0)
    ring.settle(B, "m", K.MONEY, 2.0, 0.0)
    assert ring.lend([A], "other", 0.0) == A
    assert ring.lend([B], "other", 899.0) is None
    ring.settle(A, "m", K.MONEY, None, 5.0)
    assert ring.wakes([A], "m", 5.0) == (905.0, K.MONEY)
    assert ring.wakes([A, B], "m", 5.0) == (900.0, K.MONEY)


def test_a_key_that_may_not_use_a_model_is_good_for_others():
    ring = Keyring()
    ring.settle(A, "m", K.FORBIDDEN, 2.0, 0.0)
    assert ring.lend([A], "m", 599.0) is None
    assert ring.lend([A], "m", 600.0) == ring.lend([A], "other", 0.0) == A


def test_keys_that_are_gone_are_forgotten():
    ring = Keyring()
    for key in KEYS:
        ring.settle(key, "m", K.MONEY, None, 0.0)
    ring.forget_all_but([B])
    assert ring.lend(KEYS, "m", 1.0) in (A, C)
    assert ring.lend([B], "m", 1.0) is None


REQUESTS, TOKENS = USUAL_METERS


def left(meter: Meter, count: int, reset: str, limit: int | None = None) -> list[Reading]:
    return [Reading(meter, count, limit, reset, "")]


@dataclass
class Prompt:
    """Notes whether somebody had its length worked out."""

    length: int
    most_tokens: float = 1000.0
    is_known: bool = False

    @property
    def tokens(self) -> int:
        self.is_known = True
        return self.length


def test_a_key_without_requests_rests_until_they_are_back():
    ring = Keyring()
    assert ring.hear(A, "m", left(REQUESTS, 0, "30s"), 10.0)
    assert ring.wakes([A], "m", 10.0) == (40.0, K.THROTTLE)
    assert ring.lend([A, B], "m", 39.0) == B
    assert ring.lend([A], "m", 40.0) == ring.lend([A], "other", 10.0) == A


@pytest.mark.parametrize(("count", "reset"), [(1, "30s"), (0, ""), (0, "0s"), (0, "soon")])
def test_a_key_with_requests_left_or_without_a_reset_does_not(count, reset):
    ring = Keyring()
    assert not ring.hear(A, "m", left(REQUESTS, count, reset), 10.0)
    assert ring.lend([A], "m", 10.0) == A


def test_no_reset_lasts_longer_than_an_hour():
    ring = Keyring()
    ring.hear(A, "m", left(REQUESTS, 0, "24h"), 0.0)
    assert ring.wakes([A], "m", 0.0) == (3600.0, K.THROTTLE)


def test_a_key_whose_tokens_do_not_suffice_is_not_lent_for_that_prompt():
    ring = Keyring()
    ring.hear(A, "m", left(TOKENS, 100, "6m0s"), 0.0)
    long, short = Prompt(101), Prompt(100)
    assert ring.lend([A, B], "m", 359.0, (), long) == B
    assert ring.lend([A], "m", 359.0, (), long) is None
    assert ring.wakes([A], "m", 359.0, long) == (360.0, K.THROTTLE)
    assert ring.lend([A], "m", 359.0, (), short) == ring.lend([A], "m", 360.0, (), long) == A
    assert ring.lend([A], "other", 0.0, (), long) == ring.lend([A], "m", 0.0) == A


def test_where_the_limit_is_known_nobody_waits_for_all_of_it():
    ring = Keyring()
    ring.hear(A, "m", left(REQUESTS, 0, "60s", limit=30), 0.0)
    assert ring.wakes([A], "m", 0.0) == (2.0, K.THROTTLE)
    ring.hear(B, "m", left(TOKENS, 100, "60s", limit=700), 0.0)
    assert ring.wakes([B], "m", 0.0, Prompt(300)) == (20.0, K.THROTTLE)


def test_the_last_word_holds():
    ring = Keyring()
    ring.hear(A, "m", left(TOKENS, 100, "6m0s"), 0.0)
    ring.hear(A, "m", left(TOKENS, 5000, "1s"), 1.0)
    assert ring.lend([A], "m", 1.0, (), Prompt(101)) == A
    assert ring.describe([A], 1.0)[0]["remaining"] == {"m": {"x-ratelimit-remaining-tokens": 5000}}


def test_a_prompts_length_is_worked_out_only_where_it_matters():
    ring, prompt = Keyring(), Prompt(10)
    ring.lend([A], "m", 0.0, (), prompt)
    ring.hear(A, "m", left(TOKENS, 1000, "6m0s"), 0.0)
    ring.lend([A], "m", 0.0, (), prompt)
    assert not prompt.is_known
    ring.hear(A, "m", left(TOKENS, 999, "6m0s"), 0.0)
    ring.lend([A], "m", 0.0, (), prompt)
    assert prompt.is_known


@pytest.mark.parametrize("kind", [K.FAULT, K.OVERLOAD, K.CLIENT_GONE, K.CONTEXT])
def test_what_is_not_the_keys_affair_leaves_it_alone(kind):
    ring = Keyring()
    ring.settle(A, "m", kind, 10.0, 0.0)
    assert ring.lend([A], "m", 0.0) == A
    assert ring.describe([A], 0.0) == [
        {"key": A.fingerprint, "success_rate": 1.0, "successes": 0, "refusals": {}, "rests": [], "remaining": {}}
    ]


def test_statistics_name_keys_by_fingerprint():
    ring = Keyring()
    ring.settle(A, "m", None, None, 0.0)
    ring.settle(A, "m", K.THROTTLE, 9.0, 0.0)
    ring.settle(A, "m", K.AUTH, None, 0.0)
    (row,) = ring.describe([A], 4.0)
    assert row == {
        "key": A.fingerprint,
        "success_rate": 0.81,
        "successes": 1,
        "refusals": {"throttle": 1, "auth": 1},
        "rests": [
            {"because": "throttle", "model": "m", "seconds": 5.0},
            {"because": "auth", "model": None, "seconds": 596.0},
        ],
        "remaining": {},
    }
    assert "sk-" not in repr(row)


def test_names_that_callers_make_up_do_not_fill_the_memory():
    ring = Keyring()
    for number in range(5000):
        ring.settle(A, f"m{number}", K.THROTTLE, 3600.0, 0.0)
    (row,) = ring.describe([A], 0.0)
    assert len(row["rests"]) == 1024


KINDS = st.sampled_from([None, None, K.THROTTLE, K.MONEY, K.AUTH, K.FAULT])
WAITS = st.one_of(st.none(), st.floats(0, 1e9))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 20000), st.sampled_from("mn"), KINDS, WAITS), max_size=80))
def test_the_laws_hold_whatever_happens(steps):
    """A key at rest is never lent; there is a key exactly if the pool says so; all of them wake up within a day."""
    ring, now = Keyring(), 0.0
    for seconds, model, kind, wait in steps:
        now += seconds
        key = ring.lend(KEYS, model, now)
        waking = ring.wakes(KEYS, model, now)
        assert (key is None) is (waking is not None) is (not ring.is_awake(KEYS, model, now))
        if key is None:
            assert now < waking[0] <= now + 86400
            assert ring.next_waking(now) <= waking[0]
            continue
        assert ring.wakes([key], model, now) is None
        ring.settle(key, model, kind, wait, now)
        assert ring.lend(KEYS, model, now, but=KEYS) is None
    assert ring.lend(KEYS, "m", now + 86400) is not None
