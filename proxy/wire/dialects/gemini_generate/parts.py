"""Parts of messages as Gemini's: text, data in line, and files by their address, which Google fetches and we never."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.core.chat import AudioPart, FilePart, ImagePart, Losses, Part, RefusalPart, TextPart, TokensPart
from proxy.wire.peek import refuse

Json = Mapping[str, Any]

_TYPES: Final[Mapping[str, str]] = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "heic": "image/heic", "heif": "image/heif", "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown",
    "html": "text/html", "csv": "text/csv", "xml": "text/xml", "json": "application/json", "mp3": "audio/mp3",
    "wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "mp4": "video/mp4", "mov": "video/quicktime",
    "webm": "video/webm",
}  # fmt: skip
_FILES: Final = ("files/", "https://", "gs://")


def write_part(part: Part, path: str, losses: Losses) -> dict[str, Any]:
    """One part. Raises ProxyError BAD_REQUEST for what Gemini cannot be shown."""
    extra = getattr(part, "extra", None)
    for name in extra or ():
        losses.drop(f"{path}.{name}", "Gemini has no place for it")
    return _WRITERS[type(part)](part, path, losses)


def _text(part: TextPart, _path: str, _losses: Losses) -> dict[str, Any]:
    return {"text": part.text}


def _image(part: ImagePart, path: str, losses: Losses) -> dict[str, Any]:
    if part.detail not in (None, "auto"):
        losses.drop(f"{path}.image_url.detail", "Gemini looks at all pictures alike")
    if part.data is not None:
        return _inline(part.media_type or "image/png", part.data)
    return _by_address(part.url or "", None)


def _audio(part: AudioPart, _path: str, _losses: Losses) -> dict[str, Any]:
    return _inline(f"audio/{part.format}", part.data)


def _file(part: FilePart, path: str, losses: Losses) -> dict[str, Any]:
    if part.data is not None:
        kind = part.media_type or _type_of(part.filename or "")
        if kind is None:
            refuse(f"`{path}.file.file_data` has no type: send data:<media type>;base64,<data>.", f"{path}.file")
        if part.filename:
            losses.drop(f"{path}.file.filename", "Gemini knows no names of files")
        return _inline(kind, part.data)
    address = part.url or part.file_id or ""
    if not address.startswith(_FILES):
        refuse(
            f"`{path}.file.file_id` is not known to this model: send the file's data, or its Gemini file URI.",
            f"{path}.file.file_id",
        )
    return _by_address(address, part.media_type)


def _refusal(part: RefusalPart, _path: str, _losses: Losses) -> dict[str, Any]:
    return {"text": part.text}


def _tokens(_part: TokensPart, _path: str, _losses: Losses) -> dict[str, Any]:
    refuse("`prompt` holds tokens, which the model behind this name cannot read. Send text.", "prompt")


def _inline(kind: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": data}}


def _by_address(address: str, kind: str | None) -> dict[str, Any]:
    kind = kind or _type_of(address)
    return {"fileData": {"fileUri": address} | ({"mimeType": kind} if kind else {})}


def _type_of(name: str) -> str | None:
    """By the ending of a file's name or of an address's path."""
    try:
        path = urlsplit(name).path
    except ValueError:
        path = name
    return _TYPES.get(path.rpartition(".")[2].lower())


_WRITERS: Final[Mapping[type, Callable[[Any, str, Losses], dict[str, Any]]]] = {
    TextPart: _text,
    ImagePart: _image,
    AudioPart: _audio,
    FilePart: _file,
    RefusalPart: _refusal,
    TokensPart: _tokens,
}
