"""Which regular expressions are safe to run over any text.

Python's engine backtracks. A pattern is accepted only if it cannot run away: nothing of varying length inside a
repetition, at most one open-ended repetition, no back references and no look-around.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MAX_LENGTH = 500
_MANY = 50

_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_REFUSED = {
    op.GROUPREF: "back references",
    op.GROUPREF_EXISTS: "conditional groups",
    op.ASSERT: "look-ahead and look-behind",
    op.ASSERT_NOT: "look-ahead and look-behind",
}


def _inner(argument: Any) -> Iterator[Any]:
    """The parts below a parsed node: sub-patterns may sit anywhere in its argument."""
    if isinstance(argument, parser.SubPattern):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for part in argument:
            yield from _inner(part)


def _walk(pattern: Any, *, repeated: bool) -> int:
    """Count the open-ended repetitions of a parsed pattern; raises ValueError where it could run away."""
    open_ended = 0
    for kind, argument in pattern:
        if kind in _REFUSED:
            raise ValueError(f"{_REFUSED[kind]} are not allowed")
        is_repeat = kind in _REPEATS
        varies = kind is op.BRANCH or (is_repeat and argument[0] != argument[1])
        if varies and repeated:
            raise ValueError("a choice or repetition inside a repetition could take exponential time")
        open_ended += is_repeat and argument[1] > _MANY
        for part in _inner(argument):
            open_ended += _walk(part, repeated=repeated or (is_repeat and argument[1] > 1))
    return open_ended


def check_regex(pattern: str) -> None:
    """Raise ValueError, in words, unless `pattern` is a regular expression that is safe on any text."""
    if not 0 < len(pattern) <= MAX_LENGTH:
        raise ValueError(f"a regular expression has 1 to {MAX_LENGTH} characters")
    try:
        parsed = parser.parse(pattern)
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if _walk(parsed, repeated=False) > 1:
        raise ValueError("more than one open-ended repetition (* or +) could take very long on long texts")
