"""No vendor's sentence carries a secret to a client."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.redact import LIMIT, redact


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Incorrect API key provided: sk-proj-abc123DEF456ghi789.", "abc123"),
        ("Incorrect API key provided: sk-abcd********wxyz.", "wxyz"),
        ("Authorization: Bearer abc.def-ghi", "abc.def"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is expired", "eyJ"),
        ("key AIzaSyA1234567890abcdefghijklmnop is bad", "AIza"),
        ("Rate limit reached in organization org-AbC123xyz789 on requests", "AbC123"),
        ("project proj_A1b2C3d4E5 is archived", "A1b2"),
        ("contact jane.doe+x@example.co.uk please", "jane"),
        ("see https://user:pass@internal.example/path?key=1 for help", "internal"),
        ("visit www.example.com/billing", "example"),
        ("connect to 10.0.0.12:8080 failed", "10.0.0"),
        ("request 0b5c1f5e-6a3e-4d0f-9a57-1f2e3d4c5b6a failed", "6a3e"),
        ("hash 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "9f86"),
    ],
)
def test_masks(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported value: 'temperature' does not support 0.3 with this model.",
        "The model `claude-sonnet-5-5-20261001` does not exist",
        "maximum context length is 128000 tokens; you sent 130,512",
        "messages[0].content: expected a string",
        "Le modèle « gpt-6.1-terra » n'existe pas",
    ],
)
def test_leaves_sentences_alone(text: str) -> None:
    assert text == redact(text)


def test_drops_control_characters() -> None:
    assert redact("a\r\nb\x1b[31m\0c\u2028d") == "a b [31m c d"


@given(st.text(max_size=3000))
@settings(max_examples=50, deadline=None)
def test_is_short_and_printable_whatever_comes(text: str) -> None:
    out = redact(text)
    assert len(out) <= LIMIT
    assert not any(char < " " or char == "\x7f" for char in out)
    out.encode()
