"""The form in which keys are kept and compared."""

from __future__ import annotations

import hashlib


def digest(key: str) -> str:
    """The SHA-256 of a key, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
