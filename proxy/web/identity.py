"""Who calls: from the key in the headers to a tenant; and whether the Host header is one of ours.

Keys are only ever compared by their SHA-256: what is looked up is not the secret, so neither the look-up's time nor
the table tells anything of it. Unknown, revoked and expired keys get one answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from proxy.config.compile import Snapshot
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.request import Tenant

_BEARER = "bearer "


def digest(key: str) -> str:
    """The form in which keys are kept: 64 hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


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


def identify(headers: Mapping[str, str], snapshot: Snapshot) -> tuple[Tenant, bool]:
    """The tenant that calls, and whether it showed an admin key; raises ProxyError UNKNOWN_KEY.

    As long as no key exists at all, an anonymous tenant takes any key or none: SDKs insist on sending one.
    """
    key = presented_key(headers)
    name = snapshot.keys.get(digest(key)) if key and snapshot.keys else None
    tenant = snapshot.tenants[name] if name is not None else None
    if tenant is None and (not key or not snapshot.keys):
        tenant = snapshot.anonymous
    if tenant is None or not tenant.enabled:
        raise ProxyError(ErrorKind.UNKNOWN_KEY)
    return tenant, False
