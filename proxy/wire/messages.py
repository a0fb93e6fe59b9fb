"""Make the messages of a chat completion such as an upstream with quirks takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.decision import Quirks
from proxy.wire.gates import REFUSED

Json = dict[str, Any]

_TEXT: Final = frozenset({"type", "text"})
_NO_PARTS: Final = "the upstream takes content as one string"
_LOST_THINKING: Final = " "
"""The least that passes where reasoning must return with its calls and the client did not keep it."""


def tidies(quirks: Quirks) -> bool:
    """True if `tidy` might change something."""
    return bool(quirks.unnamed or quirks.no_nulls or quirks.plain_text or quirks.keeps_thinking)


def tidy(messages: Sequence[Any], quirks: Quirks) -> tuple[list[Any], list[tuple[str, str]]]:
    """The messages as the upstream wants them, and (path, why) of what was lost on the way."""
    told: list[Any] = []
    lost: list[tuple[str, str]] = []
    for index, message in enumerate(messages):
        if isinstance(message, dict):
            message, losses = _tidy(message, quirks)
            lost += [(f"messages[{index}].{name}", why) for name, why in losses]
        told.append(message)
    return told, lost


def _tidy(message: Json, quirks: Quirks) -> tuple[Json, list[tuple[str, str]]]:
    losses = []
    fields = dict(message)
    if quirks.unnamed and fields.pop("name", None) is not None:
        losses.append(("name", REFUSED))
    content = fields.get("content")
    if quirks.plain_text and isinstance(content, list) and all(map(_is_text, content)):
        fields["content"] = "".join(part["text"] for part in content)
        losses += [
            (f"content[{i}].{name}", _NO_PARTS) for i, part in enumerate(content) for name in part if name not in _TEXT
        ]
    if quirks.keeps_thinking and fields.get("tool_calls") and not fields.get("reasoning_content"):
        fields["reasoning_content"] = _LOST_THINKING
        losses.append(
            ("reasoning_content", "the thinking that led to the calls was not sent back, a blank stands in for it")
        )
    if quirks.no_nulls and fields.get("role") == "assistant":
        fields = {name: value for name, value in fields.items() if value is not None}
    return fields, losses


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
