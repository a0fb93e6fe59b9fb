"""What the client is told when no target answered."""

from __future__ import annotations

import pytest

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.engine.verdict import exhausted, rejection

K = ErrorKind


def failures(*kinds: ErrorKind | UpstreamFailure):
    made = [kind if isinstance(kind, UpstreamFailure) else UpstreamFailure(kind, "secret detail") for kind in kinds]
    return [(f"up{number}/m", failure) for number, failure in enumerate(made)]


def test_nothing_tried_is_nothing_there():
    assert exhausted([]).kind is K.NO_CANDIDATE


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ((K.FAULT, K.CONNECT), K.CONNECT),
        ((K.CONNECT, K.THROTTLE), K.CONNECT),
        ((K.CONNECT, K.CONTEXT, K.THROTTLE), K.CONNECT),
        ((K.MODEL_ABSENT, K.AUTH, K.CONTEXT), K.AUTH),
        ((K.THROTTLE, K.THROTTLE), K.THROTTLE),
        ((K.MODEL_ABSENT, K.MODEL_ABSENT), K.MODEL_ABSENT),
        ((K.CONTEXT, K.CONTEXT), K.CONTEXT),
        ((K.CONTEXT, K.THROTTLE), K.THROTTLE),
    ],
)
def test_what_a_client_could_mend_decides_only_if_every_target_says_it(kinds, told):
    assert exhausted(failures(*kinds)).kind is told


def test_the_message_names_what_was_tried_and_never_a_detail():
    error = exhausted(failures(K.FAULT, K.CONNECT))
    assert error.message.endswith("Tried up0/m: fault; up1/m: connect.")
    assert "secret detail" not in error.message


@pytest.mark.parametrize(
    ("waits", "told"), [((None, 40.0, 7.0), 7.0), ((0.2,), 1.0), ((None,), 1.0), ((0.0, 90.0), 1.0)]
)
def test_the_wait_is_the_earliest_that_an_upstream_named_and_at_least_a_second(waits, told):
    error = exhausted(failures(*(UpstreamFailure(K.THROTTLE, retry_after=wait) for wait in waits)))
    assert error.retry_after == told


def test_where_waiting_does_not_help_none_is_advised():
    assert exhausted(failures(K.AUTH)).retry_after is None
    assert exhausted(failures(K.OVERLOAD)).retry_after == 1.0


def test_a_rejection_speaks_in_the_upstreams_words():
    failure = UpstreamFailure(
        K.REJECTED, "raw", status=422, client_message="temperature is too high", param="temperature", code="range"
    )
    error = rejection(failure)
    assert (error.status, error.message, error.param, error.code) == (
        422, "temperature is too high", "temperature", "range",
    )  # fmt: skip
    silent = rejection(UpstreamFailure(K.REJECTED, "raw"))
    assert (silent.status, silent.message) == (400, K.REJECTED.facts.message)


def test_only_a_rejection_keeps_the_upstreams_status():
    """A context error of status 413 is the 400 that clients know how to mend."""
    error = rejection(UpstreamFailure(K.CONTEXT, status=413, client_message="too long"))
    assert (error.status, error.code, error.message) == (400, "context_length_exceeded", "too long")
    assert exhausted(failures(UpstreamFailure(K.CONTEXT, client_message="too long"))).message == "too long"
