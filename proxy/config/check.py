"""What is allowed in a configuration and yet worth a word: dead routes, disabled targets, settings without effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from proxy.config.compile import Snapshot
from proxy.config.problems import Path, Problem, suggest
from proxy.config.shadow import covers
from proxy.core.decision import Target
from proxy.providers import discover
from proxy.routing.orders import price_of
from proxy.routing.routes import BoundRoute

Level = Literal["error", "warning", "hint"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`warning`: probably not what was meant. `hint`: good to know. Errors come from loading, as ConfigError."""

    level: Level
    problem: Problem

    def __str__(self) -> str:
        where = f"{self.problem.path}: " if self.problem.path else ""
        return f"{self.problem.file}:{self.problem.line}: {self.level}: {where}{self.problem.message}"


Remark = tuple[Level, Path, str]

_NO_EFFECT: tuple[tuple[Path, str], ...] = (
    (("storage", "state"), "counters are kept in memory, whatever is written here"),
    (("storage", "ledger"), "requests are not yet recorded in a database"),
    (("upstreams", "*", "timeouts", "total"), "a request has the time of its route's `deadline`"),
    (("plans", "*", "requests"), "requests per period are not yet limited"),
    (("plans", "*", "tokens"), "tokens per period are not yet limited"),
    (("plans", "*", "budget"), "money per period is not yet limited"),
    (("plans", "*", "concurrency"), "requests in flight are not yet limited"),
    (("routes", "*", "cache"), "answers are not yet kept"),
    (("routes", "*", "guards"), "no text is screened yet"),
    (("guards",), "no text is screened yet"),
    (("alerts",), "nobody is alerted yet"),
)
"""Sections that decode and do nothing so far; whoever makes one work takes its line away."""

_DEFAULTS: Mapping[Path, str] = {
    ("storage", "state"): "memory",
    ("upstreams", "*", "timeouts", "total"): "600s",
}
"""What is written and is the case anyway needs no remark."""

_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"})


def _found(value: Any, pattern: Path, at: Path = ()) -> Iterator[Path]:
    """The paths of a document that fit `pattern`, in which `*` is any key or number."""
    if not pattern:
        if value not in ([], {}):
            yield at
    elif isinstance(value, dict):
        for key in value if pattern[0] == "*" else [name for name in value if name == pattern[0]]:
            yield from _found(value[key], pattern[1:], (*at, key))
    elif isinstance(value, list) and pattern[0] == "*":
        for number, below in enumerate(value):
            yield from _found(below, pattern[1:], (*at, number))


def _without_effect(snapshot: Snapshot) -> Iterator[Remark]:
    for pattern, why in _NO_EFFECT:
        for path in _found(snapshot.document.value, pattern):
            if _DEFAULTS.get(pattern) != _value(snapshot.document.value, path):
                yield "hint", path, f"has no effect yet: {why}"


def _value(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _disabled(snapshot: Snapshot) -> Iterator[Remark]:
    for name, upstream in snapshot.upstreams.items():
        if upstream.disabled is not None:
            is_meant = not snapshot.config.upstreams[name].enabled or not upstream.paths  # then nothing is to be done
            yield "hint" if is_meant else "warning", ("upstreams", name), f"disabled: {upstream.disabled}"


def _unchecked(snapshot: Snapshot) -> Iterator[Remark]:
    for name, upstream in snapshot.upstreams.items():
        config = snapshot.config.upstreams.get(name)
        if config is not None and "health" in config.model_fields_set and not upstream.local:
            why = "only servers of your own are checked; if it is one, write `local: true`"
            yield "warning", ("upstreams", name, "health"), f"has no effect: {why}"


def _addresses(snapshot: Snapshot) -> Iterator[Remark]:
    providers = discover()
    for name, upstream in snapshot.upstreams.items():
        usual = urlsplit(providers[upstream.provider].base_url or "").path
        if usual and not upstream.base:
            yield "warning", ("upstreams", name, "url"), f"an address of this provider usually ends in {usual}"


def _shadowed(snapshot: Snapshot) -> Iterator[Remark]:
    routes = snapshot.config.routes
    for number, route in enumerate(routes):
        above = next((other for other in routes[:number] if covers(other.match, route.match)), None)
        if above is not None:
            yield "warning", ("routes", number), f"never reached: `{above.name}` above takes every request it would"


def _answers(target: Target) -> bool:
    return target.upstream.disabled is None and not target.upstream.offline


def _unreachable(snapshot: Snapshot) -> Iterator[Remark]:
    for number, route in enumerate(snapshot.routes):
        path: Path = ("routes", number, "use")
        answering = [target for target in route.targets if _answers(target)]
        if not answering and not all(target.upstream.offline for target in route.targets):
            yield "warning", path, "every target is disabled, so only offline answers are given"
        seen: dict[tuple[str, str], int] = {}
        for index, target in enumerate(route.config.use):
            upstream, slash, model = target.to.partition("/")
            if slash and seen.setdefault((upstream, model), index) != index:
                yield "warning", (*path, index), f"never tried: use[{seen[upstream, model]}] is the same target"
        if len(answering) > route.config.retry.attempts:
            beyond = ", ".join(str(target) for target in answering[route.config.retry.attempts :])
            yield "hint", path, f"beyond the {route.config.retry.attempts} attempts of this route: {beyond}"


def _prices(snapshot: Snapshot) -> Iterator[Remark]:
    prices, families = snapshot.table.prices, snapshot.table.families
    for number, route in enumerate(snapshot.routes):
        if route.config.order != "cheapest":
            continue
        for target in route.targets:
            is_named = target.model != "*" and not target.upstream.offline and not target.upstream.local
            if is_named and price_of(families.known(target), prices) is None:
                yield "warning", ("routes", number, "order"), f"`{target}` has no price under `prices`"


def _lonely_hedges(snapshot: Snapshot) -> Iterator[Remark]:
    for number, route in enumerate(snapshot.routes):
        clouds = {str(one) for one in route.targets if _answers(one) and not one.upstream.local}
        if route.config.hedge is not None and len(clouds) < 2:
            yield "warning", ("routes", number, "hedge"), "has no effect: there are no two targets in a cloud"


def _is_alone(route: BoundRoute) -> bool:
    """True if requests of this route never have a second target. One that takes everything has what callers name."""
    return route.config.match is not None and len({str(one) for one in route.targets if _answers(one)}) < 2


def _without_a_second(snapshot: Snapshot) -> Iterator[Remark]:
    for number, route in enumerate(snapshot.routes):
        if route.config.midstream == "continue" and _is_alone(route):
            why = "there is no second target; only an upstream that gives checkpoints finishes its own streams"
            yield "warning", ("routes", number, "midstream"), why
    for name, upstream in snapshot.upstreams.items():
        used = [route for route in snapshot.routes if any(one.upstream.name == name for one in route.targets)]
        if upstream.timeouts.first_token_floor is not None and used and all(map(_is_alone, used)):
            why = "has no effect: no route has a second target to move on to"
            yield "warning", ("upstreams", name, "timeouts", "first_token"), why


def _open_secrets(snapshot: Snapshot) -> Iterator[Remark]:
    for name in snapshot.config.upstreams:
        written = snapshot.document.value["upstreams"][name].get("headers") or {}
        for header, value in written.items():
            if header.lower() in _CREDENTIALS and value and not str(value).startswith("${"):
                yield "warning", ("upstreams", name, "headers", header), 'a secret belongs into a variable: "${NAME}"'


def _families(snapshot: Snapshot) -> Iterator[Remark]:
    """A model's own name may hold a slash, so only what looks like an upstream's name is doubted."""
    for pattern in snapshot.config.families:
        upstream, slash, _ = pattern.partition("/")
        meant = suggest(upstream, snapshot.config.upstreams)
        if slash and upstream not in snapshot.upstreams and not set("*?") & set(upstream) and "did you mean" in meant:
            yield "warning", ("families", pattern), f"there is no upstream `{upstream}`{meant}"


_CHECKS: tuple[Callable[[Snapshot], Iterator[Remark]], ...] = (
    _disabled,
    _unchecked,
    _addresses,
    _shadowed,
    _unreachable,
    _prices,
    _lonely_hedges,
    _without_a_second,
    _open_secrets,
    _families,
    _without_effect,
)


def check(snapshot: Snapshot) -> list[Finding]:
    """Everything worth saying about a snapshot, warnings first, then by line."""
    remarks = (remark for run in _CHECKS for remark in run(snapshot))
    findings = [Finding(level, snapshot.document.problem(path, message)) for level, path, message in remarks]
    return sorted(findings, key=lambda finding: (finding.level == "hint", finding.problem))
