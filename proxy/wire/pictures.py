"""The pictures of a chat completion that are named by their address, and the same request with their data instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proxy.wire.messages import image_url
from proxy.wire.peek import top_level

Place = tuple[str, dict[str, Any]]
"""The path of a part, and the part."""


def distant(body: bytes) -> Sequence[tuple[str, str]]:
    """(path, address) of every picture that is not there as data; cheap where the body names none."""
    if b"image_url" not in body and b"\\u" not in body:
        return ()
    found = ((path, image_url(part)) for path, part in _parts(_messages(body)))
    return [(path, url) for path, url in found if url is not None and url[:5].lower() != "data:"]


def with_data(body: bytes, found: Mapping[str, str]) -> bytes:
    """The body with the `data:` URL of each address that was `found` in its place."""
    messages = _messages(body)
    for _, part in _parts(messages):
        url = image_url(part)
        if url is not None and url in found:
            image = part["image_url"]
            part["image_url"] = {**(image if isinstance(image, dict) else {}), "url": found[url]}
    return msgspec.json.encode({**top_level(body), "messages": messages})


def _messages(body: bytes) -> Any:
    raw = top_level(body).get("messages")
    return None if raw is None else msgspec.json.decode(raw)


def _parts(messages: Any) -> Iterator[Place]:
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for number, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict):
                yield f"messages[{index}].content[{number}].image_url.url", part
