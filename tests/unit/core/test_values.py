"""The small shared values: clocks, digests, origins, usages, callers' wishes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from proxy.core.chat import ImagePart, Loss, Losses, Message, TextPart
from proxy.core.clock import FakeClock, SystemClock
from proxy.core.decision import Origin, Timeouts
from proxy.core.digest import digest
from proxy.core.ports import IssuedKey
from proxy.core.usage import Usage
from tests.unit.routing.given import facts, target, upstream

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_fake_clock_moves_when_told():
    clock = FakeClock(epoch=NOW)
    before = clock.monotonic()
    clock.advance(90)
    assert clock.monotonic() - before == 90
    assert clock.wall() == NOW + timedelta(seconds=90)


def test_the_systems_clocks():
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.wall().utcoffset() == timedelta(0)


def test_a_digest_is_the_plain_sha_256_that_people_can_make_themselves():
    assert digest("key") == hashlib.sha256(b"key").hexdigest()
    assert digest("é") != digest("e")
    assert len(digest("\udcff")) == 64, "whatever a header holds has one"


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("http", "a.example", 80), "a.example"), (Origin("https", "a.example", 443), "a.example"),
        (Origin("http", "a.example", 443), "a.example:443"), (Origin("http", "::1", 8080), "[::1]:8080"),
        (Origin("https", "::1", 443), "[::1]"),
    ],
)  # fmt: skip
def test_the_host_header_of_an_origin(origin, authority):
    assert origin.authority == authority


def test_an_answer_that_is_not_streamed_may_take_the_whole_attempt_to_begin():
    made = upstream("x", timeouts=Timeouts(first_byte=5, attempt=200))
    assert (made.timeouts.first_byte, made.whole_timeouts.first_byte) == (5, 200)
    assert made.url == "http://localhost:1"


def test_a_target_is_named_as_in_the_file():
    assert str(target("cloud/vendor/model:tag")) == "cloud/vendor/model:tag"


def test_usage_adds_up():
    assert Usage(3, 4, cached=2, reasoning=1).total == 7


@pytest.mark.parametrize(
    ("header", "flag", "refuses"),
    [
        (None, None, False),
        ("never", None, True),
        (None, "never", True),
        ("allow", "never", True),
        ("x", "allow", False),
    ],
)
def test_who_wants_no_offline_answer(header, flag, refuses):
    asked = facts(
        headers={} if header is None else {"x-failsoft-offline": header},
        flags={} if flag is None else {"offline": flag},
    )
    assert asked.inbound.refuses_offline is refuses


@pytest.mark.parametrize(
    ("expires", "revoked", "good"),
    [
        (None, None, True), (timedelta(seconds=1), None, True), (timedelta(0), None, False),
        (None, timedelta(days=-1), False), (timedelta(days=9), timedelta(0), False),
    ],
)  # fmt: skip
def test_how_long_a_key_is_good(expires, revoked, good):
    ends, gone = (None if wait is None else NOW + wait for wait in (expires, revoked))
    assert IssuedKey("id", "0" * 64, "acme", None, "", NOW, ends, gone).is_good(NOW) is good


def test_the_text_of_a_message_is_that_of_its_text_parts():
    assert Message("user", (TextPart("a"), ImagePart("http://x"), TextPart("b"))).text == "ab"


def test_losses_are_kept_in_the_order_in_which_they_were_found():
    losses = Losses()
    losses.drop("seed", "not known there")
    losses.drop("messages[0]", "sound", content=True)
    assert losses.found == [Loss("seed", "not known there"), Loss("messages[0]", "sound", content=True)]
    assert str(losses.found[0]) == "seed: not known there"
