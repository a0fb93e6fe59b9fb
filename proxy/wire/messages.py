"""Make the messages of a chat completion such as an upstream with quirks takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from proxy.core.decision import Quirks
from proxy.wire.gates import REFUSED

Json = dict[str, Any]

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
    if quirks.plain_text and isinstance(fields.get("content"), list):
        fields["content"] = _joined(fields["content"])
    if quirks.keeps_thinking and fields.get("tool_calls") and not fields.get("reasoning_content"):
        fields["reasoning_content"] = _LOST_THINKING
        losses.append(
            ("reasoning_content", "the thinking that led to the calls was not sent back, a blank stands in for it")
        )
    if quirks.no_nulls and fields.get("role") == "assistant":
        fields = {name: value for name, value in fields.items() if value is not None}
    return fields, losses


def _joined(content: list[Any]) -> Any:
    """One string, if there is nothing but text."""
    texts = list(_texts(content))
    return "".join(texts) if len(texts) == len(content) else content


def _texts(content: list[Any]) -> Iterator[str]:
    for part in content:
        if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
            yield part["text"]
