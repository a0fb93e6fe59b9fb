"""Names that point from one section of the file to another, and what must be there once only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

from proxy.config.problems import Path, suggest
from proxy.config.schema import Config
from proxy.config.targets import Complaint
from proxy.routing.matchers import MatchConfig, Task


def _unknown(kind: str, name: str | None, known: Iterable[str], path: Path) -> Iterator[Complaint]:
    if name is not None and name not in (names := set(known)):
        yield path, f"unknown {kind} `{name}`{suggest(name, names)}"


def _twice(kind: str, section: str, names: Iterable[str]) -> Iterator[Complaint]:
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        if name in seen:
            yield (section, number, "name"), f"a {kind} of this name is already there: {section}[{seen[name]}]"
        seen.setdefault(name, number)


def _names_once(config: Config) -> Iterator[Complaint]:
    yield from _twice("route", "routes", (route.name for route in config.routes))
    yield from _twice("guard", "guards", (guard.name for guard in config.guards))
    yield from _twice("alert", "alerts", (alert.name for alert in config.alerts))


def _tenants(config: Config) -> Iterator[Complaint]:
    tenants = config.tenants or {}
    owners: dict[str, str] = {}
    anonymous = [name for name, tenant in tenants.items() if tenant.anonymous]
    for name in anonymous[1:]:
        yield ("tenants", name, "anonymous"), f"only one tenant can be anonymous, and `{anonymous[0]}` is"
    for name, tenant in tenants.items():
        yield from _unknown("plan", tenant.plan, config.plans, ("tenants", name, "plan"))
        for number, key in enumerate(tenant.keys):
            if key in owners:
                yield ("tenants", name, "keys", number), f"this key already belongs to `{owners[key]}`"
            owners.setdefault(key, name)


def _plans_of(match: MatchConfig | None, path: Path) -> Iterator[tuple[Path, str]]:
    if match is None:
        return
    for number, plan in enumerate(match.plan or ()):
        yield (*path, "plan", number), plan
    yield from _plans_of(match.not_, (*path, "not"))


def _routes(config: Config) -> Iterator[Complaint]:
    guards = {guard.name for guard in config.guards}
    for number, route in enumerate(config.routes):
        for path, plan in _plans_of(route.match, ("routes", number, "match")):
            yield from _unknown("plan", plan, config.plans, path)
        for index, guard in enumerate(route.guards or ()):
            yield from _unknown("guard", guard, guards, ("routes", number, "guards", index))


def _plans(config: Config) -> Iterator[Complaint]:
    upstreams = {*config.upstreams, "offline"}
    for name, plan in config.plans.items():
        for number, model in enumerate(plan.models):
            upstream, slash, _ = model.partition("/")
            if slash and "*" not in upstream and "?" not in upstream:
                yield from _unknown("upstream", upstream, upstreams, ("plans", name, "models", number))


def _offline(config: Config) -> Iterator[Complaint]:
    tasks = get_args(Task)
    for number, rule in enumerate(config.offline.rules):
        yield from _unknown("task", rule.match.task, tasks, ("offline", "rules", number, "match", "task"))
    for level, times in Counter(config.offline.levels).items():
        if times > 1:
            yield ("offline", "levels"), f"`{level}` is written {times} times"


def _cases(config: Config) -> Iterator[Complaint]:
    tenants: Mapping[str, object] = config.tenants if config.tenants is not None else {"public": None}
    routes = [route.name for route in config.routes] or ["default"]
    for number, case in enumerate(config.tests):
        given, expect = ("tests", number, "given"), ("tests", number, "expect")
        yield from _unknown("plan", case.given.plan, config.plans, (*given, "plan"))
        yield from _unknown("tenant", case.given.tenant, tenants, (*given, "tenant"))
        for index, name in enumerate(case.given.down):
            yield from _unknown("upstream", name, config.upstreams, (*given, "down", index))
        yield from _unknown("route", case.expect.route, routes, (*expect, "route"))
        yield from _unknown("task", case.expect.task, get_args(Task), (*expect, "task"))


_CHECKS: tuple[Callable[[Config], Iterator[Complaint]], ...] = (
    _names_once,
    _tenants,
    _routes,
    _plans,
    _offline,
    _cases,
)


def complaints(config: Config) -> list[Complaint]:
    """Every name that points nowhere or stands twice."""
    return [complaint for check in _CHECKS for complaint in check(config)]
