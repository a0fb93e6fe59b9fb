"""Read JSON as the clients' decoders would: fast, and forgiving where a strict reader would lose an answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec


def read_json(data: bytes) -> Any:
    """The value of `data`; raises ValueError if it is no JSON.

    Half surrogate pairs (a character cut between two chunks), NaN and huge numbers pass.
    """
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_json(value: Any) -> str:
    """`value` as compact JSON text; what `read_json` lets pass can be written again."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return mend(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def mend(text: str) -> str:
    """`text` with surrogate pairs joined and halves without their other half replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Mender:
    """Joins characters that were cut between pieces of text; keeps a half back until the next piece."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        if not self._held and text.isascii():
            return text
        text, self._held = self._held + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return mend(text)

    def close(self) -> str:
        """What is left: U+FFFD for half a character."""
        held, self._held = self._held, ""
        return mend(held)
