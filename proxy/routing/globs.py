"""Globs: the only patterns a configuration may hold; `*` is any text, `?` one character, all else is itself.

A glob is compiled to a closure that needs time linear in the text (times the glob's own, capped, length): each piece
between two stars is looked for once, from the left, in an atomic group, and never given back. That is exact for
globs, because an earlier end of a piece can only leave more text for the next one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import AfterValidator

MAX_LENGTH = 200
MAX_STARS = 10

Matches = Callable[[str], bool]


def _checked(pattern: str) -> str:
    if not 0 < len(pattern) <= MAX_LENGTH:
        raise ValueError(f"a pattern has 1 to {MAX_LENGTH} characters")
    if pattern.count("*") > MAX_STARS:
        raise ValueError(f"a pattern has at most {MAX_STARS} stars")
    return pattern


Glob = Annotated[str, AfterValidator(_checked)]
"""Text in which `*` stands for any text and `?` for one character."""


def is_literal(pattern: str) -> bool:
    """True if the pattern matches nothing but itself."""
    return "*" not in pattern and "?" not in pattern


def _any_text(_text: str) -> bool:
    return True


def _expression(pattern: str) -> str:
    first, *rest = [re.escape(piece).replace(r"\?", ".") for piece in re.split(r"\*+", pattern)]
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + last


def compile_glob(pattern: str) -> Matches:
    """The test for one pattern."""
    if is_literal(pattern):
        return pattern.__eq__
    if not pattern.strip("*"):
        return _any_text
    match = re.compile(_expression(pattern), re.DOTALL).fullmatch
    return lambda text: match(text) is not None


def compile_globs(patterns: Sequence[str]) -> Matches:
    """The test whether any of the patterns holds."""
    exact = frozenset(pattern for pattern in patterns if is_literal(pattern))
    globs = tuple(compile_glob(pattern) for pattern in patterns if not is_literal(pattern))
    if not globs:
        return exact.__contains__
    if _any_text in globs:
        return _any_text
    if len(globs) == 1 and not exact:
        return globs[0]
    return lambda text: text in exact or any(glob(text) for glob in globs)
