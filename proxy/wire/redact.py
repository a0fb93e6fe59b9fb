"""Make a vendor's sentence fit for a client: no credentials, no accounts, no addresses, no control characters."""

from __future__ import annotations

import re

LIMIT = 500

_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>)\]}]+", re.IGNORECASE), "[url]"),
    (re.compile(r"\bwww\.[^\s\"'<>)\]}]+", re.IGNORECASE), "[url]"),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "[email]"),
    (re.compile(r"\b(?:bearer|basic)\s+[\w.~+/=*-]+", re.IGNORECASE), "[key]"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w*-]+)*"), "[key]"),
    (re.compile(r"\b(?:sk|pk|rk|xai|gsk|hf|tok|key|api|ghp|ya29)[-_][\w*.-]{6,}"), "[key]"),
    (re.compile(r"\bAIza[\w*-]{6,}"), "[key]"),
    (re.compile(r"\b[\w-]*\*{3,}[\w*-]*"), "[key]"),
    (re.compile(r"\b(?:org|organization|proj|project|acct|account|user|ws|wrkspc)[-_](?=\w*\d)\w{6,}"), "[id]"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "[id]"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"), "[address]"),
    (re.compile(r"\b(?=[\w+/=]*\d)(?=[\w+/=]*[A-Za-z])[\w+/=]{28,}"), "[key]"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def redact(text: str, limit: int = LIMIT) -> str:
    """Mask keys, tokens, account ids, e-mail addresses, URLs and addresses; at most `limit` characters."""
    # Cut early, generously: masks shorten, and a vendor's page must not cost us the time of scanning it.
    text = _CONTROL.sub(" ", text[: limit * 4])
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
