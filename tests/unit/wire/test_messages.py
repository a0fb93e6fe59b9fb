"""Messages such as vendors with quirks take them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.decision import Quirks
from proxy.wire.messages import tidies, tidy

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
