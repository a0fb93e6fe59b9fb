"""Decisions that need not be made again: most requests differ in nothing that a decision depends on."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.decision import Decision
from proxy.routing.contents import MOST_TOKENS_PER_BYTE
from proxy.routing.facts import Facts
from proxy.routing.view import View

_MOST = 4096  # decisions kept; callers choose the names, so there must be an end

Key = tuple[int, str, str, str | None, bool]
"""The rule's number, the asked model, tenant and plan, and whether offline answers are refused."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A decision and what it depends on besides its key.

    `version` is the view's; `lacks` are all features that some candidate refuses; a body of `longest` bytes fits every
    candidate's context, whatever is in it.
    """

    decision: Decision
    version: int
    lacks: frozenset[str]
    longest: float

    def holds_for(self, facts: Facts, view: View) -> bool:
        """True if deciding again would come to the same; the body is read only where features could matter."""
        if self.version != view.version or len(facts.inbound.body) > self.longest:
            return False
        return not self.lacks or not self.lacks & facts.features


class Memory:
    """What one table has decided; a new configuration begins with an empty one."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[Key, Remembered] = {}

    def recall(self, key: Key, facts: Facts, view: View) -> Decision | None:
        found = self._kept.get(key)
        return found.decision if found is not None and found.holds_for(facts, view) else None

    def keep(self, key: Key, decision: Decision, view: View) -> None:
        """Remember a decision that rests on nothing but its key, the view's version and what its models can take."""
        families = [target.family for target in decision.candidates if target.family is not None]
        contexts = [family.context for family in families if family.context is not None]
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[key] = Remembered(
            decision,
            view.version,
            frozenset().union(*(family.lacks for family in families)),
            min(contexts, default=float("inf")) / MOST_TOKENS_PER_BYTE,
        )
