"""A credential that cannot be printed by accident."""

from __future__ import annotations

import hashlib
import hmac

_FINGERPRINT_LABEL = b"failsoft key fingerprint"


class Secret:
    """Wraps a string; `str`, `repr`, formatting and JSON show `***`. Only `reveal()` gives the value."""

    __slots__ = ("_value", "fingerprint")

    def __init__(self, value: str) -> None:
        self._value = value
        digest = hmac.new(_FINGERPRINT_LABEL, value.encode(), hashlib.sha256).hexdigest()
        self.fingerprint = digest[:8]
        """Names the key in logs and statistics without holding any of its characters."""

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)
