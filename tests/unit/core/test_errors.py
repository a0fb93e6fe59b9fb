"""What must hold for every row of the one error table."""

from __future__ import annotations

import pytest

from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure

KINDS = list(ErrorKind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_a_whole_answer(kind):
    facts = kind.facts
    assert 400 <= facts.status < 600
    assert facts.message
    assert facts.type
    assert kind.label == kind.name.lower()
    assert 0 <= facts.health <= 1


def test_no_two_kinds_are_one():
    """Equal rows would be aliases of one member: two failures that nobody can tell apart."""
    assert len(KINDS) == len(ErrorKind.__members__)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.facts.blame == "client"])
def test_what_the_client_did_hurts_nobody(kind):
    """It speaks neither against an upstream's health, nor does an offline answer cover it up."""
    facts = kind.facts
    assert facts.status < 500
    assert facts.health == 0
    assert not facts.offline
    assert not facts.other_key
    assert facts.same_key == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.facts.health])
def test_what_speaks_against_an_upstream_leaves_it(kind):
    assert kind.facts.next_target
    assert kind.facts.offline
    assert kind.facts.blame == "upstream"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.facts.client_may_retry])
def test_a_client_retries_only_what_the_proxy_did_not(kind):
    """Else three layers retry and triple the load."""
    assert kind.facts.blame == "proxy"
    assert not kind.facts.next_target


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.facts.other_key])
def test_another_key_is_worth_a_try_only_where_another_target_is(kind):
    assert kind.facts.next_target


def test_an_answer_takes_its_row_unless_it_knows_better():
    plain = ProxyError(ErrorKind.TOO_LARGE)
    assert (plain.status, plain.code, plain.message) == (413, "request_too_large", "The request body is too large.")
    own = ProxyError(ErrorKind.REJECTED, "no", param="n", code="c", status=422, retry_after=3)
    assert (own.status, own.code, own.message, own.param, own.retry_after) == (422, "c", "no", "n", 3)


def test_a_failure_names_itself_for_the_log():
    assert str(UpstreamFailure(ErrorKind.CONNECT, "refused")) == "connect: refused"
    assert str(UpstreamFailure(ErrorKind.CONNECT)) == "connect"
    assert UpstreamFailure(ErrorKind.CONNECT).sent is True
