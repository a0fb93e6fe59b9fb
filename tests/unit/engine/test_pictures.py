"""Pictures are brought before a request goes out: each once, no more than there is room for, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import ProxyError
from proxy.core.ports import Unfetched
from proxy.core.request import Inbound, Peek, Tenant
from proxy.engine.pictures import Pictures


class Shelf:
    """A source that has some pictures."""

    def __init__(self, **pictures: str) -> None:
        self.pictures = pictures
        self.asked: list[str] = []

    async def fetch(self, url: str) -> str:
        self.asked.append(url)
        if url not in self.pictures:
            raise Unfetched("it is not there")
        return self.pictures[url]


def asking(*urls: str) -> Inbound:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()
    return Inbound("r", "r", "openai_chat", "/v1/chat/completions", {}, body, Peek("m"), Tenant("t"), 0.0)


def urls_of(inbound: Inbound) -> list[Any]:
    return [part["image_url"]["url"] for part in json.loads(inbound.body)["messages"][0]["content"]]


async def test_each_picture_is_brought_once() -> None:
    shelf = Shelf(a="data:a", b="data:b")
    brought, found = await Pictures(shelf).brought(asking("a", "b", "a", "data:x"), {})
    assert urls_of(brought) == ["data:a", "data:b", "data:a", "data:x"]
    assert (sorted(shelf.asked), found) == (["a", "b"], {"a": "data:a", "b": "data:b"})


async def test_what_is_known_is_not_asked_for_again() -> None:
    shelf = Shelf(b="data:b")
    brought, found = await Pictures(shelf).brought(asking("a", "b"), {"a": "data:a"})
    assert (urls_of(brought), shelf.asked, found.keys()) == (["data:a", "data:b"], ["b"], {"a", "b"})


async def test_a_request_without_any_stays_as_it_is() -> None:
    inbound = asking("data:x")
    assert await Pictures(Shelf()).brought(inbound, {}) == (inbound, {})


async def test_a_picture_that_is_not_there_is_the_client_s_to_mend() -> None:
    with pytest.raises(ProxyError, match="it is not there") as refused:
        await Pictures(Shelf(a="data:a")).brought(asking("a", "b"), {})
    assert (refused.value.status, refused.value.param) == (400, "messages[0].content[1].image_url.url")


@pytest.mark.parametrize(("count", "size", "told"), [(9, 1, "At most 8"), (8, 5 << 20, "too large together")])
async def test_there_is_an_end_to_it(count: int, size: int, told: str) -> None:
    shelf = Shelf(**{str(number): "d" * size for number in range(count)})
    with pytest.raises(ProxyError, match=told):
        await Pictures(shelf).brought(asking(*shelf.pictures), {})
    assert len(shelf.asked) == (0 if count > 8 else 8)
