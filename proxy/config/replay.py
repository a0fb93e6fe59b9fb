"""Recorded requests put to two versions of the routes: which of them would go elsewhere, and what that would cost.

What a log does not hold cannot be replayed: bodies, headers, metadata and the caller's user are never logged. A
request whose task or features a route asks for is left out unless they were recorded; the rest is taken to be absent,
and the comparison says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from proxy.config.compile import Snapshot, with_every_key
from proxy.config.question import Assumed
from proxy.core.decision import Target
from proxy.core.errors import ProxyError
from proxy.core.quantities import parse_moment
from proxy.core.request import Inbound, Peek, Tenant
from proxy.routing.contents import MOST_TOKENS_PER_BYTE, Contents
from proxy.routing.explain import explain
from proxy.routing.facts import Facts
from proxy.routing.matchers import MatchConfig
from proxy.routing.orders import cost
from proxy.routing.tasks import TASKS, Verdict, Words
from proxy.routing.view import StillView

_NEEDS = {"task": "task", "complexity": "complexity", "has": "has"}
"""Conditions whose facts are recorded only where a rule had asked for them."""

_ABSENT = ("header", "metadata")
"""Conditions on what is never logged."""

_LONGEST_PROMPT = 100_000_000  # tokens; a log that says more is not ours


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a line of the request log tells of one request."""

    id: str
    at: datetime
    asked: str
    tenant: str
    endpoint: str
    stream: bool
    prompt: int
    completion: int
    facts: Mapping[str, Any]

    @property
    def tokens(self) -> int:
        """The estimate that routing made, else the vendor's own count."""
        estimated = self.facts.get("tokens")
        return estimated if isinstance(estimated, int) else self.prompt


def recorded(line: str) -> Recorded | None:
    """Read one line of the log, None if it is no request in our format, or one that was refused unread."""
    try:
        said = json.loads(line)
        tokens, facts = said["tokens"], said.get("facts", {})
        found = Recorded(
            id=str(said["id"]),
            at=parse_moment(said["time"]),
            asked=str(said["asked"]),
            tenant=str(said["tenant"]),
            endpoint=str(said["endpoint"]),
            stream=said["stream"] is True,
            prompt=int(tokens["prompt"]),
            completion=int(tokens["completion"]),
            facts=facts if isinstance(facts, dict) else {},
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    is_request = said.get("event") == "request" and bool(found.asked)
    return found if is_request and 0 <= found.tokens <= _LONGEST_PROMPT else None


@dataclass(frozen=True, slots=True)
class _Remembered:
    """Stands in for the classifier: what was found when the request came."""

    facts: Mapping[str, Any]

    def classify(self, words: Words) -> Verdict:  # noqa: ARG002 — the words are not logged
        task = self.facts.get("task")
        complexity = self.facts.get("complexity")
        return Verdict(
            task if task in TASKS else "general",
            "complex" if complexity == "complex" else "simple",
            ("recorded",),
        )

    def believe(self, stated: Verdict, words: Words) -> Verdict:  # noqa: ARG002 — no header, so nothing is stated
        return self.classify(words)


@dataclass(frozen=True, slots=True)
class Way:
    """Where one request goes: `first` is `upstream/model`, or the code of an error. `cost` None: not known."""

    route: str
    first: str
    cost: float | None


def way(request: Recorded, snapshot: Snapshot) -> Way:
    """Put a recorded request to the routes; every upstream is taken to be well and idle."""
    tenant = snapshot.tenants.get(request.tenant) or Tenant(request.tenant, request.facts.get("plan"))
    inbound = Inbound(
        id=request.id,
        correlation_id=request.id,
        dialect="",
        endpoint=request.endpoint,
        headers={},
        body=b" " * (request.tokens // MOST_TOKENS_PER_BYTE + 1),
        peek=Peek(request.asked, stream=request.stream),
        tenant=tenant,
        arrived=0.0,
    )
    has = request.facts.get("has")
    contents = Contents(
        features=frozenset(map(str, has)) if isinstance(has, list) else frozenset(), tokens=request.tokens
    )
    facts = Facts(inbound, lambda _body: contents, lambda: request.at, _Remembered(request.facts))
    explanation = explain(snapshot.table, facts, Assumed(StillView()))
    if explanation.decision is None:
        return Way("-", _code(explanation.error), 0.0)
    first = explanation.first
    return Way(explanation.decision.route, _place(first), _cost(first, request, snapshot))


def _code(error: ProxyError | None) -> str:
    return "-" if error is None else f"error {error.code}"


def _place(target: Target | None) -> str:
    return "-" if target is None else str(target)


def _cost(target: Target | None, request: Recorded, snapshot: Snapshot) -> float | None:
    return None if target is None else cost(target, request.prompt, request.completion, snapshot.table.prices)


@dataclass(slots=True)
class Comparison:
    """What came of a replay. `moves` counts the requests that change, by their old and new route and target.

    `old_cost` and `new_cost` are USD, over the `priced` requests whose price is known on both sides; nothing that did
    not reach a model costs anything. `skipped` counts the others by the reason, `caveats` say what was taken as absent.
    """

    replayed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    routes_changed: int = 0
    targets_changed: int = 0
    moves: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    priced: int = 0
    old_cost: float = 0.0
    new_cost: float = 0.0
    caveats: tuple[str, ...] = ()

    def add(self, old: Way, new: Way) -> None:
        """Count one replayed request."""
        self.replayed += 1
        self.routes_changed += old.route != new.route
        self.targets_changed += old.first != new.first
        if (old.route, old.first) != (new.route, new.first):
            self.moves[old.route, old.first, new.route, new.first] += 1
        if old.cost is not None and new.cost is not None:
            self.priced += 1
            self.old_cost += old.cost
            self.new_cost += new.cost


def compare(old: Snapshot, new: Snapshot, lines: Iterable[str]) -> Comparison:
    """Replay a log. An upstream that only lacks its key counts as in service: the files are compared, not machines."""
    old, new = with_every_key(old), with_every_key(new)
    asked = {*_asked(old), *_asked(new)}
    needed = [condition for condition in _NEEDS if condition in asked]
    comparison = Comparison(caveats=tuple(_caveats(asked, old, new)))
    for line in lines:
        request = recorded(line)
        if request is None:
            comparison.skipped["no request, or one refused before routing"] += 1
        elif missing := next((name for name in needed if _NEEDS[name] not in request.facts), None):
            comparison.skipped[f"`{missing}` was not recorded"] += 1
        else:
            comparison.add(way(request, old), way(request, new))
    return comparison


def _asked(snapshot: Snapshot) -> Iterator[str]:
    """The conditions that the routes of a file use."""
    for route in snapshot.routes:
        match = route.config.match
        while match is not None:
            yield from _written(match)
            match = match.not_


def _written(match: MatchConfig) -> Iterator[str]:
    return (name for name in type(match).model_fields if getattr(match, name) is not None)


def _caveats(asked: set[str], old: Snapshot, new: Snapshot) -> Iterator[str]:
    for name in _ABSENT:
        if name in asked:
            yield f"`{name}` was taken to be absent: it is not logged"
    orders = {route.config.order for snapshot in (old, new) for route in snapshot.routes}
    if "weighted" in orders:
        yield "`weighted` was drawn per request: users and conversations are not logged"
    for order in ("fastest", "least_busy"):
        if order in orders:
            yield f"`{order}` was taken as listed: what was true then is not logged"
