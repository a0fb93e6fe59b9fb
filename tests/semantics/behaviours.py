"""The ways in which an upstream of this suite can behave: good answers, slow ones, and everything that goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from tests.semantics.wire import NEVER, OK, Behaviour, Piece, Sent, chunk, completion

_END = b"data: [DONE]\n\n"
_WORDS = 3


def _good(between: float) -> Callable[[Sent], Iterator[Piece]]:
    """A whole answer, or a stream with so many seconds before each word."""

    def pieces(sent: Sent) -> Iterator[Piece]:
        words = sent.say(_WORDS)
        if not sent.stream:
            sent.words += words
            yield between * _WORDS, completion(sent, words), OK
            return
        yield 0.0, chunk(sent, {"role": "assistant", "content": ""}), None
        for word in words:
            sent.words.append(word)
            yield between, chunk(sent, {"content": word}), None
        yield 0.0, chunk(sent, {}, "stop") + _END, OK

    return pieces


def _stops(seconds: float, end: bytes | None) -> Callable[[Sent], Iterator[Piece]]:
    """Two words of three, or half of a whole answer; then, after so many seconds, `end` (None: a reset)."""

    def pieces(sent: Sent) -> Iterator[Piece]:
        words = sent.say(_WORDS)
        if not sent.stream:
            yield 0.0, completion(sent, words)[:60], None
        else:
            for word in words[:-1]:
                sent.words.append(word)
                yield 0.1, chunk(sent, {"content": word}), None
        yield seconds, end, "FAULT"

    return pieces


def _says(body: bytes, fate: str) -> Callable[[Sent], Iterator[Piece]]:
    def pieces(_: Sent) -> Iterator[Piece]:
        yield 0.0, body, fate

    return pieces


def _beats(_: Sent) -> Iterator[Piece]:
    """Signs of life for ever, and never a word."""
    while True:
        yield 10.0, b": still here\n\n", None


def _drops(_: Sent) -> Iterator[Piece]:
    """The report of an error that never comes to its end."""
    while True:
        yield 10.0, b" ", None


def _silence(_: Sent) -> Iterator[Piece]:
    yield NEVER, b"", None


def _refusal(status: int, fate: str, code: str | None = None, **headers: str) -> Behaviour:
    """An error with a status."""
    body = json.dumps({"error": {"message": "scripted", "type": "scripted", "param": None, "code": code}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Behaviour(fate, _says(body, fate), status=status, headers=named)


BEHAVIOURS: Mapping[str, Behaviour] = {
    "good": Behaviour(OK, _good(0.0)),
    "slow": Behaviour(OK, _good(9.0)),
    "fails": _refusal(500, "FAULT"),
    "overloaded": _refusal(503, "OVERLOAD"),
    "throttles": _refusal(429, "THROTTLE"),
    "throttles for a second": _refusal(429, "THROTTLE", retry_after="1"),
    "throttles for long": _refusal(429, "THROTTLE", retry_after="120"),
    "wants money": _refusal(402, "MONEY"),
    "refuses the key": _refusal(401, "AUTH"),
    "rejects": _refusal(400, "CLIENT"),
    "finds it too long": _refusal(400, "CONTEXT", "context_length_exceeded"),
    "is not there": Behaviour("CONNECT", _silence, refused=True),
    "never answers": Behaviour("TIMEOUT", _silence, head=NEVER),
    "never begins": Behaviour("TIMEOUT", _silence),
    "fails in drops": Behaviour("TIMEOUT", _drops, status=500),
    "only beats": Behaviour("TIMEOUT", _beats),
    "falls silent": Behaviour("TIMEOUT", _stops(NEVER, b"")),
    "is cut": Behaviour("FAULT", _stops(0.0, b"")),
    "is reset": Behaviour("FAULT", _stops(1.0, None)),
    "says nothing": Behaviour("FAULT", _says(b"", "FAULT")),
    "is a web page": Behaviour("FAULT", _says(b"<html>maintenance</html>", "FAULT")),
    "reports an error": Behaviour("FAULT", _says(b'{"error": {"message": "scripted"}}', "FAULT")),
}
