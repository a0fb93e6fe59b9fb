"""Whether a second target is asked beside one that is slow to begin.

Rules:
    1. Not before the slow one has had the time that it usually takes, and at least the route's `after`; once per
       request.
    2. For at most two of a hundred requests of a route, and one more; what quiet times save up is ten at most. So
       where everything is slow, hedges cannot make it slower.
    3. Both run elsewhere, not on one's own machines: there a second request takes from the first what it needs. Both
       have closed breakers, and of no limit that concerns them, or this process, is more than 70 % taken.
    4. Never where the second would do something twice: tools that the vendor runs, answers that it keeps.

After Dean and Barroso, "The Tail at Scale" (CACM 56/2, 2013): a second request after the 95th percentile.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.wire.fit import decoded

FULL = 0.7

_COST = 100
_EARNED = 2
_MOST = 10 * _COST
_AT_FIRST = _COST

_KEPT = ("store", "background", "conversation")
_SERVED = ("web_search_options", "mcp_servers", "container")
_CALLED_HERE = ("function", "custom")


class HedgeBudget:
    """One route's."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = _AT_FIRST

    def earn(self) -> None:
        """A request begins."""
        self._tokens = min(_MOST, self._tokens + _EARNED)

    def take(self) -> bool:
        """True if its hedge may start."""
        if self._tokens < _COST:
            return False
        self._tokens -= _COST
        return True


def wait(after: float, usual: float | None) -> float:
    """Seconds that the first target has for itself; `usual` is None while it is not known."""
    return after if usual is None else max(after, usual)


def is_full(taken: int, limit: int) -> bool:
    """Of a limit that is left to those who have nowhere else to go."""
    return taken > FULL * limit


def may_be_doubled(said: Mapping[str, Any]) -> bool:
    """True if a request with these top-level fields, decoded or not, does nothing but answer."""
    if any(decoded(said.get(name)) for name in (*_KEPT, *_SERVED)):
        return False
    tools = decoded(said.get("tools")) or ()
    return isinstance(tools, list | tuple) and all(map(_is_called_here, tools))


def _is_called_here(tool: Any) -> bool:
    """A tool that the caller runs; one without a type is named by its caller, too, or the vendor's own."""
    if not isinstance(tool, dict):
        return False
    return tool["type"] in _CALLED_HERE if "type" in tool else "name" in tool
