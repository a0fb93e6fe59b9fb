"""From the key in the headers to a tenant, and which Host headers are ours."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.core.digest import digest
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.ports import IssuedKey
from proxy.core.request import Tenant
from proxy.core.secret import Secret
from proxy.engine.live import Live
from proxy.web.identity import Identities, check_host, presented_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = "adm"
REFUSED = f"401 {ErrorKind.UNKNOWN_KEY.facts.message}"


class Store:
    """A `KeyStore` in memory."""

    def __init__(self, *keys: IssuedKey, exists: bool | None = None) -> None:
        self.keys = {key.digest: key for key in keys}
        self.exists = bool(keys) if exists is None else exists

    def find(self, digest: str) -> IssuedKey | None:
        return self.keys.get(digest)

    def has_any(self) -> bool:
        return self.exists


def issued(key: str = "made", tenant: str = "acme", plan: str | None = None, **more: Any) -> IssuedKey:
    return IssuedKey("key_1", digest(key), tenant, plan, "", NOW - timedelta(days=1), **more)


def identities(store: Store, admins: tuple[str, ...] = (ADMIN,), **sections: Any) -> tuple[Identities, Live]:
    live = Live(loads(json.dumps(sections).encode(), "routes.yaml", {}), FakeClock(epoch=NOW))
    return Identities(live, store, [Secret(key) for key in admins]), live


def who(key: str | None, store: Store, **sections: Any) -> Tenant | str:
    """The tenant of a key, or what the caller is told instead."""
    known, live = identities(store, **sections)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    try:
        tenant, is_admin = known.identify(headers, live.snapshot)
    except ProxyError as error:
        return f"{error.status} {error.message}"
    assert not is_admin
    return tenant


ACME = {"tenants": {"acme": {"plan": "gold"}, "public": {"anonymous": True}}, "plans": {"gold": {}, "iron": {}}}
CLOSED = {"tenants": {"acme": {"plan": "gold"}}, "plans": {"gold": {}}}


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, ""),
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "bearer  k "}, "k"),
        ({"x-api-key": " k "}, "k"),
        ({"authorization": "Bearer k", "x-api-key": "other"}, "k"),
        ({"authorization": "Basic dTpw", "x-api-key": "k"}, "k"),
        ({"authorization": "Bearer"}, ""),
        ({"authorization": "k"}, ""),
    ],
)
def test_where_a_key_is_looked_for(headers, key):
    assert presented_key(headers) == key


@pytest.mark.parametrize("key", [None, "anything"])
def test_as_long_as_no_key_exists_an_anonymous_tenant_takes_any_or_none(key):
    assert who(key, Store(), **ACME) == Tenant("public", anonymous=True)
    assert who(key, Store()) == Tenant("public", anonymous=True), "a file without tenants has one for all"
    assert who(key, Store(), **CLOSED) == REFUSED


@pytest.mark.parametrize(
    ("store", "tenants"),
    [
        (Store(issued()), ACME["tenants"]),
        (Store(exists=True), ACME["tenants"]),
        (Store(), {"acme": {"keys": [f"sha256:{digest('f')}"]}, "public": {"anonymous": True}}),
    ],
    ids=["made at run time", "not readable", "in the file"],
)
def test_from_the_first_key_on_an_unknown_one_is_refused(store, tenants):
    sections = {"tenants": tenants, "plans": ACME["plans"]}
    assert who("anything", store, **sections) == REFUSED
    assert who(None, store, **sections) == Tenant("public", anonymous=True)


def test_a_key_of_the_file_is_its_tenants():
    sections = {"tenants": {"acme": {"keys": [f"sha256:{digest('f').upper()}"], "flags": {"offline": "never"}}}}
    assert who("f", Store(), **sections) == Tenant("acme", flags={"offline": "never"})
    assert who("F", Store(), **sections) == REFUSED
    assert who(digest("f"), Store(), **sections) == REFUSED, "the hash is not the key"


def test_a_key_made_at_run_time_is_a_tenants_of_the_file():
    assert who("made", Store(issued()), **ACME) == Tenant("acme", "gold")


def test_its_own_plan_comes_before_the_tenants():
    assert who("made", Store(issued(plan="iron")), **ACME) == Tenant("acme", "iron")


def test_it_may_have_a_tenant_that_the_file_does_not_name_if_it_has_a_plan():
    assert who("made", Store(issued(tenant="new", plan="iron")), **ACME) == Tenant("new", "iron")


@pytest.mark.parametrize(
    "key",
    [
        issued(revoked=NOW - timedelta(hours=1)),
        issued(expires=NOW),
        issued(tenant="dropped"),
        issued(plan="dropped"),
        issued(tenant="dropped", plan="dropped"),
    ],
    ids=["revoked", "expired", "of a tenant that is gone", "of a plan that is gone", "of both"],
)
def test_what_makes_a_key_useless(key):
    """Where the file has dropped what limited a key, the key is refused rather than unlimited."""
    assert who("made", Store(key), **ACME) == REFUSED


def test_a_key_is_good_up_to_its_last_moment():
    assert who("made", Store(issued(expires=NOW + timedelta(microseconds=1))), **ACME) == Tenant("acme", "gold")


@pytest.mark.parametrize("key", ["made", "f", None])
def test_a_tenant_that_is_switched_off_is_refused(key):
    sections = {"tenants": {"acme": {"enabled": False, "anonymous": True, "keys": [f"sha256:{digest('f')}"]}}}
    assert who(key, Store(issued()), **sections) == REFUSED


def test_administrators_come_in_everywhere_and_are_no_tenant():
    for store in (Store(), Store(issued())):
        known, live = identities(store, ("one", "two"), **CLOSED)
        for key in ("one", "two"):
            assert known.identify({"x-api-key": key}, live.snapshot) == (Tenant("(operator)"), True)
            assert known.is_admin(digest(key))
        assert not known.is_admin(digest("three"))


def test_an_empty_admin_key_lets_nobody_in():
    """A variable that is not set is no key."""
    known, live = identities(Store(), ("",), **CLOSED)
    assert not known.is_admin(digest(""))
    with pytest.raises(ProxyError):
        known.identify({"authorization": "Bearer "}, live.snapshot)


def test_a_request_is_identified_by_the_snapshot_it_is_served_by():
    known, live = identities(Store(issued()), **ACME)
    old = live.snapshot
    live.snapshot = replace(old, tenants={}, plans={})
    assert known.identify({"x-api-key": "made"}, old) == (Tenant("acme", "gold"), False)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LocalHost.", "127.0.0.1:1", "[::1]:80", "[::1]", "proxy.example.org:443"],
)
def test_hosts_of_ours(host):
    check_host({"host": host}, ["localhost", "127.0.0.1", "[::1]", "proxy.example.org"])
    check_host({"host": "anything"}, ["*"])


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "evil.example:127.0.0.1", "[::2]", "[::1", "127.0.0.1.evil"]
)
def test_hosts_of_others(host):
    with pytest.raises(ProxyError) as caught:
        check_host({"host": host} if host else {}, ["localhost", "127.0.0.1", "[::1]"])
    assert (caught.value.kind, caught.value.code) == (ErrorKind.BAD_REQUEST, "untrusted_host")
