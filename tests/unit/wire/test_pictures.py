"""Pictures of a request that are named by their address, and their data in the same place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.wire.pictures import distant, with_data

CAT, DOG, INLINE = "https://a.test/cat.png", "https://b.test/dog.png", "data:image/png;base64,AAAA"


def picture(url: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def body(*contents: Any, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": c} for c in contents], **fields}).encode()


def test_each_is_named_by_its_path() -> None:
    asked = body("hi", [{"type": "text", "text": CAT}, picture(CAT), picture(INLINE)], [picture(DOG), picture(CAT)])
    assert distant(asked) == [
        ("messages[1].content[1].image_url.url", CAT),
        ("messages[2].content[0].image_url.url", DOG),
        ("messages[2].content[1].image_url.url", CAT),
    ]


def test_only_the_address_changes() -> None:
    asked = body([picture(CAT, detail="low"), {"type": "image_url", "image_url": DOG}, picture(INLINE)], seed=2**53)
    told = json.loads(with_data(asked, {CAT: "data:cat", DOG: "data:dog"}))
    content = [picture("data:cat", detail="low"), picture("data:dog"), picture(INLINE)]
    assert told == json.loads(body(content, seed=2**53))


def test_an_escape_hides_nothing() -> None:
    hidden = body([picture(CAT)]).replace(b"image_url", b"image\\u005furl")
    assert distant(hidden) == [("messages[0].content[0].image_url.url", CAT)]


@pytest.mark.parametrize(
    "asked",
    [
        b'{"model":"m","prompt":"image_url"}', b'{"model":"m","messages":"image_url"}',
        body(None, 1, ["image_url", None]), body([picture(INLINE.upper())]),
        body([{"type": "image_url"}, {"type": "image_url", "image_url": 1}, picture(None)]),
    ],
)  # fmt: skip
def test_what_is_none(asked: bytes) -> None:
    assert list(distant(asked)) == []
