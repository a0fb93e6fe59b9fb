"""A question answered: the decision explained, and of each candidate how the request gets there and at what price."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proxy.config.compile import Snapshot
from proxy.config.question import Question, facts_of
from proxy.core.decision import Decision, Mode, Target
from proxy.core.errors import ErrorKind, ProxyError
from proxy.routing.explain import Explanation, as_json, explain, render
from proxy.routing.facts import Facts
from proxy.routing.orders import USUAL_ANSWER, cost
from proxy.routing.view import View
from proxy.wire.crossing import cross, insist, spoken_at, unsaid
from proxy.wire.dialects import UpstreamDialect, heard
from proxy.wire.structured import unchecked

_RESTS: Mapping[ErrorKind, str] = {
    ErrorKind.RESTING: "breaker open",
    ErrorKind.MAINTENANCE: "in maintenance",
    ErrorKind.THROTTLE: "throttled",
    ErrorKind.MONEY: "out of money",
    ErrorKind.AUTH: "its keys are refused",
    ErrorKind.FORBIDDEN: "its keys may not use the model",
    ErrorKind.MODEL_ABSENT: "does not have the model",
}


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a request can expect of one candidate.

    `crossing` says how it gets there: `identity`, or from which dialect to which. `losses` will not arrive; `refused`
    is why it cannot be sent at all. `cost` is in USD, None where no price is known. `state` tells of the present.
    """

    mode: Mode
    crossing: str
    losses: tuple[str, ...]
    refused: str | None
    cost: float | None
    state: tuple[str, ...]

    def words(self) -> Sequence[str]:
        """For a line of an explanation."""
        return [*self._words()]

    def _words(self) -> Iterator[str]:
        yield self.crossing if self.refused is None else f"cannot be sent: {self.refused}"
        if self.losses:
            yield f"loses {'; '.join(self.losses)}"
        yield "price unknown" if self.cost is None else f"≈{self.cost:.6f} USD" if self.cost else "costs nothing"
        yield from self.state

    def as_json(self) -> dict[str, Any]:
        return {
            "mode": self.mode.value,
            "losses": list(self.losses),
            "refused": self.refused,
            "cost_usd": self.cost,
            "state": list(self.state),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """The explanation of one decision, and the prospects of its candidates by their names."""

    explanation: Explanation
    prospects: Mapping[str, Prospect]

    @property
    def text(self) -> str:
        """Lines for a terminal."""
        return render(self.explanation, self._notes)

    def as_json(self) -> dict[str, Any]:
        """The same as plain data; `text` holds the lines."""
        data = as_json(self.explanation, self._notes)
        for target in data["targets"]:
            target.update(self.prospects[target["target"]].as_json())
        return {**data, "text": self.text}

    def _notes(self, target: Target) -> Sequence[str]:
        return self.prospects[str(target)].words()


def answer(
    question: Question,
    snapshot: Snapshot,
    dialects: Mapping[str, UpstreamDialect],
    view: View,
    wall: Callable[[], datetime],
) -> Answer:
    """Decide as for a real request, and look at each candidate. Raises ProxyError where no rule would be asked."""
    facts = facts_of(question, snapshot, dialects, wall)
    explanation = explain(snapshot.table, facts, view)
    decision = explanation.decision
    if decision is None:
        return Answer(explanation, {})
    candidates = decision.candidates
    return Answer(explanation, {str(t): _prospect(t, decision, facts, snapshot, dialects, view) for t in candidates})


def _prospect(
    target: Target,
    decision: Decision,
    facts: Facts,
    snapshot: Snapshot,
    dialects: Mapping[str, UpstreamDialect],
    view: View,
) -> Prospect:
    inbound, upstream = facts.inbound, target.upstream
    params = {**unsaid(inbound.body, decision.defaults), **target.params}
    own = heard(dialects)[inbound.dialect]
    spoken = dialects[spoken_at(target, inbound.dialect, inbound.body, params)]
    mode, refused = Mode.TRANSLATE, None
    losses: tuple[str, ...] = ()
    try:
        crossing = cross(own, spoken, inbound, target, params, 0, unchecked)
        mode, losses = crossing.mode, tuple(crossing.losses)
        if decision.strict_translation:
            insist(crossing)
    except ProxyError as error:
        refused = error.message
    crossed = "identity" if mode is Mode.IDENTITY else f"{own.name} → {spoken.name}"
    answer_tokens = inbound.peek.max_tokens or USUAL_ANSWER
    return Prospect(
        mode=mode,
        crossing="in the process" if upstream.offline else crossed,
        losses=losses,
        refused=refused,
        cost=cost(target, facts.tokens, answer_tokens, snapshot.table.prices),
        state=tuple(_state(target, view)),
    )


def _state(target: Target, view: View) -> Iterator[str]:
    name = target.upstream.name
    if target.upstream.offline:
        if view.is_open(target):
            yield "has nothing to say"
        return
    if view.is_down(name):
        yield f"down: {why}" if (why := view.why_down(name)) else "down"
    if (rest := view.rest(target)) is not None:
        why = _RESTS.get(rest.why, f"rests ({rest.why.label})")
        yield why if rest.until is None else f"{why} until {rest.until.isoformat(timespec='seconds')}"
    if busy := view.requests_at(name):
        yield f"{busy} in flight"
    if (first := view.first_token(target)) is not None:
        yield f"first token after {first:.2f} s"
