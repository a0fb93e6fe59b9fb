"""Messages such as vendors with quirks take them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.decision import Quirks
from proxy.core.errors import ProxyError
from proxy.wire.messages import concerns, tidies, tidy

CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("quirks", "message", "told", "lost"),
    [
        (Quirks(), {"role": "user", "name": "ann", "content": None}, None, []),
        (Quirks(unnamed=True), {"role": "user", "name": "ann"}, {"role": "user"}, ["messages[0].name"]),
        (
            Quirks(no_nulls=True),
            {"role": "assistant", "content": None, "audio": None, "tool_calls": CALLS},
            {"role": "assistant", "tool_calls": CALLS},
            [],
        ),
        (Quirks(no_nulls=True), {"role": "user", "content": None}, None, []),
        (
            Quirks(plain_text=True),
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "ab"},
            [],
        ),
        (
            Quirks(plain_text=True),
            {"role": "user", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"ttl": "30m"}}]},
            {"role": "user", "content": "a"},
            ["messages[0].content[0].prompt_cache_breakpoint"],
        ),
        (
            Quirks(plain_text=True),
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]},
            None,
            [],
        ),
        (
            Quirks(keeps_thinking=True),
            {"role": "assistant", "tool_calls": CALLS},
            {"role": "assistant", "tool_calls": CALLS, "reasoning_content": " "},
            ["messages[0].reasoning_content"],
        ),
        (
            Quirks(keeps_thinking=True),
            {"role": "assistant", "tool_calls": CALLS, "reasoning_content": "hm"},
            None,
            [],
        ),
        (Quirks(keeps_thinking=True), {"role": "assistant", "content": "x"}, None, []),
        (Quirks(unnamed=True, plain_text=True), 3, None, []),
    ],
)
def test_tidy(quirks: Quirks, message: Any, told: Any, lost: list[str]) -> None:
    """`told` None: the message stays as it is."""
    found, losses = tidy([message], quirks)
    assert found == [message if told is None else told]
    assert [path for path, _ in losses] == lost
    assert tidies(quirks) is (quirks != Quirks())


DATA = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def test_thinking_goes_back_under_the_upstream_s_own_name() -> None:
    quirks = Quirks(thinks_as="reasoning")
    message = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
    assert tidy([message], quirks) == ([{"role": "assistant", "content": "a", "reasoning": "hm"}], [])
    both = message | {"reasoning": "mine"}
    assert tidy([both], quirks) == ([{"role": "assistant", "content": "a", "reasoning": "mine"}], [])


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://x", "", "data"])
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_picture_by_its_address_is_refused_where_none_is_fetched(url: str, is_nested: bool) -> None:
    part = {"type": "image_url", "image_url": {"url": url} if is_nested else url}
    with pytest.raises(ProxyError, match="data: URL") as refused:
        tidy([{"role": "user", "content": [DATA, part]}], Quirks(inline_images=True))
    assert refused.value.param == "messages[0].content[1].image_url.url"


def test_pictures_as_data_pass() -> None:
    messages = [{"role": "user", "content": [DATA, {"type": "text", "text": "image_url"}]}, {"role": "user"}]
    assert tidy(messages, Quirks(inline_images=True)) == (messages, [])


@pytest.mark.parametrize(
    ("quirks", "body", "expected"),
    [
        (Quirks(), b"image_url reasoning_content \\u", False),
        (Quirks(inline_images=True), b"reasoning_content", False),
        (Quirks(inline_images=True), b'{"image_url"', True),
        (Quirks(inline_images=True), b'{"image\\u005furl"', True),
        (Quirks(thinks_as="reasoning"), b"image_url reasoning", False),
        (Quirks(thinks_as="reasoning"), b"reasoning_content", True),
        (Quirks(no_nulls=True), b"", True),
    ],
)
def test_messages_are_decoded_only_where_something_may_be_found(quirks: Quirks, body: bytes, expected: bool) -> None:
    assert concerns(quirks, body) is expected
