"""The targets of one decision while it is being made: settled on a model, checked, ranked, each once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.core.decision import Step, Target
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.family import UNKNOWN
from proxy.routing.facts import Facts
from proxy.routing.families import Families, Refusal, refusal
from proxy.routing.names import AS_ASKED, own_choice
from proxy.routing.orders import Prices, Rank, listed
from proxy.routing.view import View

_SHOWN = 3  # targets whose refusal is told to the client


@dataclass(slots=True)
class Slate:
    """Three lists that follow each other: `ready` and `resting` models, `offline` answers.

    A target rests while its upstream is down or its breaker open: it is the last resort before the offline answers.
    From the place of the first one that is throttled in a cloud, one's own machines come first (`cut`), unless the
    route `keeps_order`: what a cloud turns away is best not sent to the next one.
    `kept` is the model that `upstream/*` keeps, None where each upstream chooses. `skipped` says what was left out.
    """

    facts: Facts
    view: View
    families: Families
    prices: Prices
    kept: str | None
    refuses_offline: bool
    keeps_order: bool = False
    ready: list[Target] = field(default_factory=list)
    resting: list[Target] = field(default_factory=list)
    offline: list[Target] = field(default_factory=list)
    skipped: list[Step] = field(default_factory=list)
    refused: list[tuple[Target, Refusal]] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    is_ranked: bool = False
    cut: int | None = None

    def add_named(self, targets: Sequence[Target], params: Mapping[str, Any]) -> None:
        """What the caller named, in its own order; an offline answer that was asked for by name is no last resort."""
        for target in self._fit(targets, params):
            self._place(target)

    def add(self, targets: Sequence[Target], rank: Rank) -> None:
        """What a rule uses; offline answers are put last."""
        fit = list(self._fit(targets, {}))
        models = [target for target in fit if not target.upstream.offline]
        self.offline += [target for target in fit if target.upstream.offline]
        if len(models) > 1 and rank is not listed:
            self.is_ranked = True
            models = list(rank(models, self.facts, self.view, self.prices))
        for target in models:
            self._place(target)

    @property
    def is_lasting(self) -> bool:
        """True if nothing of this one request but its names went into the result."""
        return not self.is_ranked and not self.refused

    def close(self, last: Sequence[Target]) -> tuple[Target, ...]:
        """The decision's candidates; `last` are the offline answers of every route.

        Raises ProxyError: CONTEXT or BAD_REQUEST if only the content stands against the models, else NO_CANDIDATE.
        """
        if self.cut is not None:
            self.ready[self.cut :] = sorted(self.ready[self.cut :], key=lambda target: not target.upstream.local)
        models = (*self.ready, *self.resting)
        if not models and not self.offline and self.refused:
            raise self._cannot_take()
        if not self.refuses_offline:
            self.offline += self._fit(last, {})
        if not models and not self.offline:
            raise ProxyError(ErrorKind.NO_CANDIDATE)
        return (*models, *self.offline)

    def _place(self, target: Target) -> None:
        if not (self.view.is_down(target.upstream.name) or self.view.is_open(target)):
            self.ready.append(target)
            return
        self.resting.append(target)
        if self.cut is None and not self.keeps_order and self._is_throttled(target):
            self.cut = len(self.ready)

    def _is_throttled(self, target: Target) -> bool:
        """True for a cloud's model whose keys all wait for the vendor's limit."""
        rest = self.view.rest(target)
        return not target.upstream.local and rest is not None and rest.why is ErrorKind.THROTTLE

    def _fit(self, targets: Sequence[Target], params: Mapping[str, Any]) -> Iterator[Target]:
        """Those that can serve the request, with their model settled; the reason is kept for the others."""
        for target in targets:
            settled = self._settle(target, params)
            if isinstance(settled, str):
                self._skip(target, settled)
                continue
            place = (settled.upstream.name, settled.model)
            if place in self.seen:
                continue
            self.seen.add(place)
            settled = self.families.known(settled, self.view.told(settled))
            against = refusal(settled.family or UNKNOWN, self.facts)
            if against is None:
                yield settled
            else:
                self.refused.append((settled, against))
                self._skip(settled, against.why)

    def _settle(self, target: Target, params: Mapping[str, Any]) -> Target | str:
        """The target with its model and fields, or why it cannot be had."""
        upstream, model = target.upstream, target.model
        if upstream.disabled is not None:
            return f"disabled: {upstream.disabled}"
        if (paused := self.view.paused(upstream.name)) is not None:
            return paused
        if upstream.offline and self.refuses_offline:
            return "offline answers are refused"
        if model != AS_ASKED:
            if not params:
                return target
        elif self.kept is not None:
            model = self.kept
        elif (own := own_choice(upstream, self.view)) is not None:
            model = own
        elif upstream.local:
            model = self.facts.model  # a local server answers with whatever model is loaded
        else:
            return "no model was named, and the upstream has no default_model and lists none"
        return Target(upstream, model, target.weight, {**params, **target.params} if params else target.params)

    def _skip(self, target: Target, why: str) -> None:
        self.skipped.append(Step(str(target), False, why))

    def _cannot_take(self) -> ProxyError:
        kinds = {against.kind for _, against in self.refused}
        told = "; ".join(f"{target}: {against.why}" for target, against in self.refused[:_SHOWN])
        return ProxyError(
            ErrorKind.CONTEXT if kinds == {ErrorKind.CONTEXT} else ErrorKind.BAD_REQUEST,
            f"No model that this request may go to can take it ({told}).",
            param="messages",
        )
