"""Make the messages of a chat completion such as an upstream with quirks takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.decision import THINKING, Quirks
from proxy.wire.gates import REFUSED
from proxy.wire.peek import refuse

Json = dict[str, Any]

_TEXT: Final = frozenset({"type", "text"})
_NO_PARTS: Final = "the upstream takes content as one string"
_LOST_THINKING: Final = " "
"""The least that passes where reasoning must return with its calls and the client did not keep it."""


def tidies(quirks: Quirks) -> bool:
    """True if `tidy` might change or refuse something."""
    return bool(_rewrites(quirks) or quirks.inline_images or quirks.thinks_as != THINKING)


def concerns(quirks: Quirks, body: bytes) -> bool:
    """False if it is plain from the bytes of a request that `tidy` has nothing to do; an escape may hide any name."""
    return (
        _rewrites(quirks)
        or (quirks.inline_images and b"image_url" in body)
        or (quirks.thinks_as != THINKING and THINKING.encode() in body)
        or (tidies(quirks) and b"\\u" in body)
    )


def _rewrites(quirks: Quirks) -> bool:
    return quirks.unnamed or quirks.no_nulls or quirks.plain_text or quirks.keeps_thinking


def tidy(messages: Sequence[Any], quirks: Quirks) -> tuple[list[Any], list[tuple[str, str]]]:
    """The messages as the upstream wants them, and (path, why) of what was lost on the way.

    Raises ProxyError BAD_REQUEST for pictures that it would have to fetch and does not.
    """
    told: list[Any] = []
    lost: list[tuple[str, str]] = []
    for index, message in enumerate(messages):
        if isinstance(message, dict):
            if quirks.inline_images:
                _refuse_distant(message.get("content"), f"messages[{index}].content")
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
    if quirks.thinks_as != THINKING and THINKING in fields:
        fields.setdefault(quirks.thinks_as, fields.pop(THINKING))
    if quirks.no_nulls and fields.get("role") == "assistant":
        fields = {name: value for name, value in fields.items() if value is not None}
    return fields, losses


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _refuse_distant(content: Any, path: str) -> None:
    """Raise BAD_REQUEST if a part is a picture by its address."""
    for number, part in enumerate(content if isinstance(content, list) else ()):
        url = image_url(part)
        if url is not None and url[:5].lower() != "data:":
            refuse(
                f"`{path}[{number}]` is a picture by its address, which this upstream does not fetch. "
                "Send it as a data: URL.", f"{path}[{number}].image_url.url",
            )  # fmt: skip


def image_url(part: Any) -> str | None:
    """The address (or `data:`) of a part that is a picture, None for all others."""
    image = part.get("image_url") if isinstance(part, Mapping) and part.get("type") == "image_url" else None
    url = image.get("url") if isinstance(image, Mapping) else image
    return url if isinstance(url, str) else None
