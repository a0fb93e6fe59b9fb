"""Parts of a message as content blocks: text, images and documents, each with its cache breakpoint if it has one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.core.chat import AudioPart, FilePart, ImagePart, Losses, Part, RefusalPart, TextPart, TokensPart
from proxy.wire.peek import refuse

Block = dict[str, Any]

PLACEHOLDER: Final = "."
"""Said where the vendor wants words and the caller had none."""

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF: Final = "application/pdf"
_PDF_HEAD: Final = "JVBERi0"  # %PDF- in base64
_TEXTUAL: Final = frozenset({"application/json", "application/xml", "application/yaml", "application/javascript"})


def block(part: Part, path: str, losses: Losses) -> Block | None:
    """The block that says the same; None for blank text, which the vendor refuses. Raises BAD_REQUEST."""
    written = _WRITERS[type(part)](part, path, losses)
    return written and written | cache_control(getattr(part, "extra", {}), path, losses)


def cache_control(extra: Mapping[str, Any], path: str, losses: Losses) -> Block:
    """`cache_control` from OpenAI's `prompt_cache_breakpoint`, or the vendor's own; everything else is a loss.

    The vendor keeps a prefix for five minutes or for an hour: any other time that is named becomes the hour.
    """
    for name in extra:
        if name not in ("prompt_cache_breakpoint", "cache_control"):
            losses.drop(f"{path}.{name}", "there is no equivalent")
    if isinstance(extra.get("cache_control"), Mapping):
        return {"cache_control": extra["cache_control"]}
    asked = extra.get("prompt_cache_breakpoint")
    if not isinstance(asked, Mapping):
        return {}
    ttl = asked.get("ttl")
    return {"cache_control": {"type": "ephemeral"} | ({} if ttl in (None, "5m") else {"ttl": "1h"})}


def _text(part: TextPart | RefusalPart, path: str, losses: Losses) -> Block | None:  # noqa: ARG001
    return {"type": "text", "text": part.text} if part.text.strip() else None


def _image(part: ImagePart, path: str, losses: Losses) -> Block:
    if part.detail not in (None, "auto"):
        losses.drop(f"{path}.image_url.detail", "there is no equivalent")
    if part.data is None:
        if not (part.url or "").lower().startswith(("https://", "http://")):
            refuse(f"`{path}` is not valid: send an http(s) or data: URL.", path)
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    media_type = (part.media_type or "image/png").lower().replace("image/jpg", "image/jpeg")
    if media_type not in _IMAGES:
        refuse(f"`{path}` is {media_type}, which this model cannot read. Send JPEG, PNG, GIF or WebP.", path)
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": part.data}}


def _file(part: FilePart, path: str, losses: Losses) -> Block:
    if (part.media_type or "").lower().startswith("image/") and part.data is not None:
        return _image(ImagePart(data=part.data, media_type=part.media_type), path, losses)
    title = {"title": part.filename} if part.filename else {}
    return {"type": "document", "source": _document(part, path), **title}


def _document(part: FilePart, path: str) -> Block:
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id}
    if part.data is None:
        return {"type": "url", "url": part.url}
    kind = (part.media_type or "").lower()
    if kind == _PDF or (not kind and part.data.startswith(_PDF_HEAD)):
        return {"type": "base64", "media_type": _PDF, "data": part.data}
    if not kind.startswith("text/") and kind not in _TEXTUAL:
        refuse(f"`{path}` is {kind or 'a file of unknown kind'}, which this model cannot read. Send PDF or text.", path)
    try:
        text = base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        refuse(f"`{path}` is not valid: send text in UTF-8 as base64.", path)
    return {"type": "text", "media_type": "text/plain", "data": text}


def _audio(part: AudioPart, path: str, losses: Losses) -> Block:  # noqa: ARG001
    refuse(f"`{path}` is sound, which this model cannot hear. Send text.", path)


def _tokens(part: TokensPart, path: str, losses: Losses) -> Block:  # noqa: ARG001
    refuse("`prompt` holds tokens, which the model behind this name cannot read. Send text.", "prompt")


_WRITERS: Final[Mapping[type, Callable[[Any, str, Losses], Block | None]]] = {
    TextPart: _text,
    RefusalPart: _text,
    ImagePart: _image,
    FilePart: _file,
    AudioPart: _audio,
    TokensPart: _tokens,
}
