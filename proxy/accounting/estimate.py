"""Token counts where a vendor's own are missing: an estimate, always marked as one."""

from __future__ import annotations

from proxy.core.usage import Usage

_BYTES_PER_TOKEN = 4  # English prose in current vocabularies; other scripts need more tokens per character


def tokens_of(size: int) -> int:
    """About how many tokens `size` bytes (or characters) of text are."""
    return (size + _BYTES_PER_TOKEN - 1) // _BYTES_PER_TOKEN


def counted(prompt_size: int, written: int) -> Usage:
    """The usage of an answer whose vendor did not report any: `written` characters were relayed."""
    return Usage(prompt=tokens_of(prompt_size), completion=tokens_of(written), source="counted")
