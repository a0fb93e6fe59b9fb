"""A credential cannot be printed by accident."""

from __future__ import annotations

import copy
import json
import logging
import traceback

import msgspec
import pytest

from proxy.core.secret import Secret

KEY = "sk-canary-1234567890"


@pytest.mark.parametrize(
    "shown",
    [
        str(Secret(KEY)), repr(Secret(KEY)), f"{Secret(KEY)}", f"{Secret(KEY):>30}", f"{Secret(KEY)!r}",
        str([Secret(KEY)]), str({"key": Secret(KEY)}), repr(copy.copy(Secret(KEY))), ascii(Secret(KEY)),
    ],
)  # fmt: skip
def test_it_shows_nothing(shown):
    assert "***" in shown
    assert KEY[:6] not in shown


def test_no_encoder_takes_it():
    with pytest.raises(TypeError):
        json.dumps(Secret(KEY))
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret(KEY))


def test_it_is_not_in_a_log_nor_in_a_trace(caplog):
    try:
        raise ValueError(Secret(KEY))
    except ValueError:
        logging.getLogger("failsoft").exception("odd: %s", Secret(KEY))
        told = traceback.format_exc()
    assert KEY not in told + caplog.text


def test_only_reveal_gives_it():
    assert Secret(KEY).reveal() == KEY


def test_a_fingerprint_names_a_key_and_holds_nothing_of_it():
    one = Secret(KEY).fingerprint
    assert one == Secret(KEY).fingerprint != Secret(KEY + "x").fingerprint
    assert len(one) == 8
    assert set(one) <= set("0123456789abcdef")


def test_equal_keys_are_equal():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert not Secret("")
    assert Secret("a")
