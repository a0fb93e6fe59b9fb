"""What a decision costs, by the number of routes and by what they ask: `python -m benchmarks.routing`.

Each figure is one decision from the raw request: new facts, the rules, the targets ranked. The request is one that no
rule takes before the last, so every table is walked to its end. Printed are the median and the best of several rounds,
in microseconds, as means over many decisions.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from proxy.core.decision import Origin, Target, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.request import Inbound, Peek, Tenant
from proxy.routing import families, tasks
from proxy.routing.contents import read_contents
from proxy.routing.facts import Facts
from proxy.routing.routes import BoundRoute, RouteConfig
from proxy.routing.table import RouteTable
from proxy.routing.view import StillView

ROUNDS, SECONDS = 15, 0.1
PROMPT = "Could you look at the figures of the last quarter and tell me what stands out? " * 25
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def upstream(name: str, **facts: Any) -> Upstream:
    return Upstream(
        name, "compatible", Origin("http", "localhost", 1), "", {"openai_chat": "/"}, lambda _key: (),
        lambda _status, _headers, _body: UpstreamFailure(ErrorKind.FAULT), **facts,
    )  # fmt: skip


UPSTREAMS = {name: upstream(name) for name in ("one", "two", "three", "four")}
OFFLINE = upstream("offline", offline=True, local=True)
TARGETS = tuple(Target(place, "gpt-6-sol") for place in UPSTREAMS.values())

Rule = Callable[[int], dict[str, Any]]

MIXED: Sequence[Rule] = (
    lambda n: {"tenant": f"tenant-{n}"},
    lambda n: {"model": f"family-{n}-*", "plan": ["free", "gold"]},
    lambda n: {"header": {"x-team": f"team-{n}"}},
    lambda n: {"tenant": f"group-{n}-*", "stream": True},
    lambda n: {"metadata": {"project": f"p{n}"}, "plan": "gold"},
)
"""What large installations have: a rule per customer, team or project."""

KINDS: dict[str, Sequence[Rule]] = {
    "mixed": MIXED,
    "mixed, 1 in 10 by task": (*MIXED, *MIXED[:4], lambda n: {"task": "translation", "tenant": f"tenant-{n}"}),
    "every rule by task and tokens": (lambda _n: {"task": "translation", "tokens": "> 30000"},),
    "no two tests alike": (lambda n: {"tokens": f"> {30000 + n}"}, lambda n: {"not": {"model": [f"other-{n}", "*"]}}),
}


def table(kind: Sequence[Rule], size: int) -> RouteTable:
    def bound(name: str, match: dict[str, Any] | None) -> BoundRoute:
        use = [str(target) for target in TARGETS]
        return BoundRoute(RouteConfig.model_validate({"name": name, "match": match, "use": use}), TARGETS)

    rules = [bound(f"r{n}", kind[n % len(kind)](n)) for n in range(size - 1)]
    last = tuple(Target(OFFLINE, level) for level in ("stale", "patterns", "rules"))
    shipped = families.Families(families.load())
    return RouteTable([*rules, bound("rest", None)], {"auto": ()}, UPSTREAMS, shipped, offline=last)


def requests(model: str = "auto") -> Iterator[Inbound]:
    """One request after another, none like the one before in anything that could be remembered."""
    said = [{"role": "system", "content": "You are a careful assistant."}, {"role": "user", "content": PROMPT}]
    body = json.dumps({"model": model, "messages": said, "stream": False}).encode()
    headers = {"host": "localhost", "content-type": "application/json", "x-team": "sales", "accept": "*/*"}
    number = 0
    while True:
        number += 1
        tenant = Tenant(f"acme-{number}", "gold")
        peek = Peek(model, metadata={"project": f"q{number}"})
        yield Inbound(f"r{number}", "c", "openai_chat", "/v1/chat/completions", headers, body, peek, tenant, 0.0)


def measure(routes: RouteTable, model: str) -> list[float]:
    """Microseconds per decision, one mean per round."""
    classifier, view, source = tasks.Classifier(tasks.load()), StillView(), requests(model)
    means = []
    for _ in range(ROUNDS):
        batch = [next(source) for _ in range(200)]
        spent, count = 0.0, 0
        while spent < SECONDS:
            start = time.perf_counter()
            for inbound in batch:
                routes.decide(Facts(inbound, read_contents, lambda: NOON, classifier), view)
            spent += time.perf_counter() - start
            count += len(batch)
        means.append(spent / count * 1e6)
    return means


def main() -> None:
    print(f"decision in µs, median (best) of {ROUNDS} rounds; prompt of {len(PROMPT)} bytes")
    print(f"{'rules':<34}{'routes':>8}{'auto':>18}{'upstream/model':>18}")
    for name, kind in KINDS.items():
        for size in (1, 50, 500, 2000):
            routes = table(kind, size)
            cells = []
            for model in ("auto", "two/gpt-6-sol"):
                means = measure(routes, model)
                cells.append(f"{statistics.median(means):9.1f} ({min(means):.1f})")
            print(f"{name:<34}{size:>8}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
