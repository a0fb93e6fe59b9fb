"""Token counts where a vendor's own are missing: an estimate, always marked as one."""

from __future__ import annotations

from proxy.core.usage import Usage, tokens_of


def counted(prompt_size: int, written: int) -> Usage:
    """The usage of an answer whose vendor did not report any: `written` characters were relayed."""
    return Usage(prompt=tokens_of(prompt_size), completion=tokens_of(written), source="counted")
