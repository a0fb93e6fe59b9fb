"""Who calls: from the key in the headers to a tenant; and whether the Host header is one of ours.

Keys are only ever compared by their SHA-256: what is looked up is not the secret, so neither the look-up's time nor
the table tells anything of it. Unknown, revoked and expired keys get one answer.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace

from proxy.config.compile import Snapshot
from proxy.core.digest import digest
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.ports import KeyStore
from proxy.core.request import Tenant
from proxy.core.secret import Secret
from proxy.engine.live import Live

_BEARER = "bearer "
_OPERATOR = Tenant("(operator)")  # no name a file would give


def presented_key(headers: Mapping[str, str]) -> str:
    """The key in `Authorization: Bearer …` or `X-API-Key`, empty if there is none."""
    authorization = headers.get("authorization", "")
    if authorization[:7].lower() == _BEARER:
        return authorization[7:].strip()
    return headers.get("x-api-key", "").strip()


def check_host(headers: Mapping[str, str], trusted: Sequence[str]) -> None:
    """Refuse names that are not ours: a web page that made its own name point here (DNS rebinding) is told no."""
    host = headers.get("host", "")
    name = host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    if name.lower().rstrip(".") not in trusted and "*" not in trusted:
        raise ProxyError(
            ErrorKind.BAD_REQUEST,
            "The Host header is not one this server trusts; list it under server.trusted_hosts.",
            code="untrusted_host",
        )


class Identities:
    """Knows the keys of the file, those made at run time, and the operators'."""

    def __init__(self, live: Live, issued: KeyStore, admin_keys: Sequence[Secret]) -> None:
        self._live = live
        self._issued = issued
        self._admins = [digest(key.reveal()) for key in admin_keys if key]

    def is_admin(self, shown: str) -> bool:
        """Whether a key's digest is an operator's; takes a time that depends on none of them."""
        return sum(hmac.compare_digest(shown, known) for known in self._admins) > 0

    def identify(self, headers: Mapping[str, str], snapshot: Snapshot) -> tuple[Tenant, bool]:
        """The tenant that calls, and whether it showed an admin key; raises ProxyError UNKNOWN_KEY.

        As long as no key exists at all, an anonymous tenant takes any key or none: SDKs insist on sending one.
        """
        key = presented_key(headers)
        tenant = snapshot.anonymous
        if key:
            shown = digest(key)
            if self.is_admin(shown):
                return _OPERATOR, True
            if snapshot.keys or self._issued.has_any():
                tenant = self._tenant_of(shown, snapshot)
        if tenant is None or not tenant.enabled:
            raise ProxyError(ErrorKind.UNKNOWN_KEY)
        return tenant, False

    def _tenant_of(self, shown: str, snapshot: Snapshot) -> Tenant | None:
        name = snapshot.keys.get(shown)
        if name is not None:
            return snapshot.tenants[name]
        issued = self._issued.find(shown)
        if issued is None or not issued.is_good(self._live.clock.wall()):
            return None
        tenant = snapshot.tenants.get(issued.tenant)
        if issued.plan is None:
            return tenant  # none if the file has dropped it: without it nothing would limit the key
        if issued.plan not in snapshot.plans:
            return None
        return replace(tenant or Tenant(issued.tenant), plan=issued.plan)
