"""A decision in plain sentences and as JSON; it is made by the same call that serves requests, only watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.decision import Decision, Step, Target
from proxy.core.errors import ProxyError
from proxy.routing.facts import Facts
from proxy.routing.table import RouteTable, Trace, Tried
from proxy.routing.view import View

Notes = Callable[[Target], Sequence[str]]
"""What others know of a candidate: identity or translated, what is lost, its price, its breaker."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision, or the error in its place, and how it came about.

    `first` is the candidate that would answer in the state that was looked at, None if none would. `routes` counts
    all routes. The verdict's `task`, `complexity` and `evidence` are there whether a rule asked or not.
    """

    decision: Decision | None
    error: ProxyError | None
    first: Target | None
    tried: tuple[Tried, ...]
    skipped: tuple[Step, ...]
    routes: int
    forced: bool
    model: str
    plan: str | None
    tokens: int
    task: str
    complexity: str
    evidence: tuple[str, ...]

    @property
    def taken(self) -> Tried | None:
        return next((tried for tried in self.tried if tried.taken), None)


def explain(table: RouteTable, facts: Facts, view: View) -> Explanation:
    """Decide and watch; never raises."""
    trace, decision, error = Trace(), None, None
    try:
        decision = table.decide(facts, view, trace)
    except ProxyError as refused:
        error = refused
    return Explanation(
        decision=decision,
        error=error,
        first=None if decision is None else _first_ready(decision, view),
        tried=tuple(trace.tried),
        skipped=tuple(dict.fromkeys(trace.skipped)),  # a model and a route may both name a target
        routes=len(table.rules),
        forced=trace.forced,
        model=facts.model,
        plan=facts.plan,
        tokens=facts.tokens,
        task=facts.task,
        complexity=facts.complexity,
        evidence=facts.verdict.evidence,
    )


def _first_ready(decision: Decision, view: View) -> Target | None:
    return next((t for t in decision.candidates if not view.is_down(t.upstream.name) and view.rest(t) is None), None)


def no_notes(_target: Target) -> Sequence[str]:
    return ()


def render(explanation: Explanation, notes: Notes = no_notes) -> str:
    """Lines for a terminal."""
    return "\n".join(_lines(explanation, notes))


def _lines(explanation: Explanation, notes: Notes) -> Iterator[str]:
    yield (
        f"asked: {explanation.model}   plan {explanation.plan or '(none)'}   tokens ≈{explanation.tokens}   "
        f"task {explanation.task} ({explanation.complexity})"
    )
    if explanation.evidence:
        yield f"  because: {'; '.join(explanation.evidence)}"
    yield _headline(explanation)
    if explanation.decision is not None:
        places = [str(target) for target in explanation.decision.candidates]
        width = max(map(len, places))
        for number, target in enumerate(explanation.decision.candidates, 1):
            yield f"  {number} {target!s:<{width}}   {'   '.join(notes(target))}".rstrip()
    for step in explanation.skipped:
        yield f"  left out: {step.subject} ({step.why})"
    if explanation.error is not None:
        yield f"error {explanation.error.status} {explanation.error.code}: {explanation.error.message}"
    if missed := [tried for tried in explanation.tried if not tried.taken]:
        yield "not taken: " + " · ".join(f"{t.number + 1} {t.name} ({t.because[-1]})" for t in missed)


def _headline(explanation: Explanation) -> str:
    taken = explanation.taken
    if taken is None:
        return "no route matched"
    if explanation.forced:
        return f"route {taken.name}   {taken.because[0]}"
    held = "   ".join(f"{said} ✓" for said in taken.because) or "it takes everything"
    return f"route {taken.name}   matched {_ordinal(taken.number + 1)} of {explanation.routes}: {held}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def as_json(explanation: Explanation, notes: Notes = no_notes) -> dict[str, Any]:
    """The same as plain data."""
    decision, error = explanation.decision, explanation.error
    return {
        "asked": explanation.model,
        "plan": explanation.plan,
        "tokens": explanation.tokens,
        "task": explanation.task,
        "complexity": explanation.complexity,
        "evidence": list(explanation.evidence),
        "route": None if decision is None else decision.route,
        "forced": explanation.forced,
        "rules": [
            {"route": t.name, "number": t.number + 1, "taken": t.taken, "because": list(t.because)}
            for t in explanation.tried
        ],
        "targets": [
            {"target": str(target), "params": dict(target.params), "notes": list(notes(target))}
            for target in (() if decision is None else decision.candidates)
        ],
        "first": None if explanation.first is None else str(explanation.first),
        "left_out": [{"target": step.subject, "why": step.why} for step in explanation.skipped],
        "error": None if error is None else {"status": error.status, "code": error.code, "message": error.message},
    }
