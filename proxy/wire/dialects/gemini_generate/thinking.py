"""How much a Gemini model is to think: by a level from generation 3 on, by a budget of tokens before; never both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.chat import Losses
from proxy.core.family import Family

_RANKS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_LEVELS: Final[Mapping[str, str]] = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
}
_USUAL_LEVELS: Final = ("minimal", "low", "medium", "high")
# What the vendor's compatible endpoint makes of the efforts.
_BUDGETS: Final[Mapping[str, int]] = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
_USUAL_BUDGETS: Final = tuple(_BUDGETS)
_PATH: Final = "reasoning_effort"


def thinking_config(effort: str | None, family: Family, losses: Losses) -> dict[str, Any] | None:
    """The `thinkingConfig` for a caller's effort, None if there is nothing to say.

    The text of the thoughts is asked for wherever the model is known to think: it costs no tokens, and it comes first.
    """
    if family.thinking == "none":
        if effort not in (None, "none"):
            losses.drop(_PATH, "the model does not think")
        return None
    if effort is None:
        thinks = family.thinking is not None and family.default_effort != "none"
        return {"includeThoughts": True} if thinks else None
    if effort not in _RANKS:
        losses.drop(_PATH, f"Gemini knows no effort {effort!r}")
        return None
    if family.thinking == "budget":
        nearest = _nearest(effort, [known for known in family.efforts or _USUAL_BUDGETS if known in _BUDGETS], losses)
        budget = _BUDGETS[nearest]
        return {"thinkingBudget": budget} | ({"includeThoughts": True} if budget else {})
    nearest = _nearest(effort, [known for known in family.efforts or _USUAL_LEVELS if known in _LEVELS], losses)
    return {"thinkingLevel": _LEVELS[nearest], "includeThoughts": True}


def _nearest(effort: str, known: Sequence[str], losses: Losses) -> str:
    """The known effort that is closest; of two the greater."""
    rank = _RANKS.index(effort)
    found = min(known, key=lambda one: (abs(_RANKS.index(one) - rank), -_RANKS.index(one)))
    if found != effort:
        losses.drop(_PATH, f"the nearest that the model knows is {found}")
    return found
