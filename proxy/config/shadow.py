"""Whether one route's conditions hold wherever another's do, so that the later of the two can never be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.routing.globs import compile_globs, is_literal
from proxy.routing.matchers import MatchConfig, Range


def _covers_values(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    """Every text that `narrow` takes, `wide` takes too; patterns are only compared as they are written."""
    holds = compile_globs(wide)
    return "*" in wide or all(text in wide or (is_literal(text) and holds(text)) for text in narrow)


def _covers_entries(wide: Mapping[str, Sequence[str]], narrow: Mapping[str, Sequence[str]]) -> bool:
    return all(name in narrow and _covers_values(values, narrow[name]) for name, values in wide.items())


def _covers_range(wide: Range, narrow: Range) -> bool:
    low = wide.low is None or (narrow.low is not None and narrow.low >= wide.low)
    high = wide.high is None or (narrow.high is not None and narrow.high <= wide.high)
    return low and high


def _equals(wide: object, narrow: object) -> bool:
    return wide == narrow


_COVERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "header": _covers_entries,
    "metadata": _covers_entries,
    "tokens": _covers_range,
    "stream": _equals,
    "time": _equals,
    "not_": _equals,
}


def covers(wide: MatchConfig | None, narrow: MatchConfig | None) -> bool:
    """True if every request that `narrow` takes is surely taken by `wide`; false where it is not plain to see."""
    if wide is None:
        return True
    for name in type(wide).model_fields:
        condition = getattr(wide, name)
        if condition is None:
            continue
        other = None if narrow is None else getattr(narrow, name)
        if other is None or not _COVERS.get(name, _covers_values)(condition, other):
            return False
    return True
