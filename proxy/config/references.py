"""Names that point from one section of the file to another, and what must be there once only.

It reads the plain document and not the decoded sections, so that a wrong type elsewhere hides nothing: whatever is
not of the expected shape is somebody else's complaint and is passed over here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from proxy.config.problems import MANY, Complaint, Path, suggest
from proxy.routing.tasks import TASKS

Raw = Mapping[str, Any]


def section(raw: Any, name: str) -> Raw:
    """The mapping under `name`, empty if there is none."""
    found = raw.get(name) if isinstance(raw, dict) else None
    return found if isinstance(found, dict) else {}


def entries(raw: Any, name: str) -> list[tuple[int, Any]]:
    """The numbered members of the list under `name`; a single value counts as a list of one."""
    found = raw.get(name) if isinstance(raw, dict) else None
    if found is None:
        return []
    return list(enumerate(found if isinstance(found, list) else [found]))


def _text(raw: Any, name: str) -> str | None:
    found = raw.get(name) if isinstance(raw, dict) else None
    return found if isinstance(found, str) else None


def _unknown(kind: str, name: object, known: Iterable[str], path: Path) -> Iterator[Complaint]:
    if isinstance(name, str) and name not in (names := set(known)):
        yield path, f"unknown {kind} `{name[:80]}`{suggest(name, names)}"


def _names(raw: Raw, name: str) -> list[str]:
    return [found for _, entry in entries(raw, name) if (found := _text(entry, "name")) is not None]


def _once(raw: Raw) -> Iterator[Complaint]:
    for name in ("routes", "guards", "alerts"):
        seen: dict[str, int] = {}
        for number, entry in entries(raw, name):
            text = _text(entry, "name")
            if text is not None and seen.setdefault(text, number) != number:
                yield (name, number, "name"), f"{name}[{seen[text]}] already has the name `{text[:80]}`"


def _tenants(raw: Raw) -> Iterator[Complaint]:
    tenants = section(raw, "tenants")
    owners: dict[str, str] = {}
    anonymous = [
        name for name, tenant in tenants.items() if isinstance(tenant, dict) and tenant.get("anonymous") is True
    ]
    for name in anonymous[1:]:
        yield ("tenants", name, "anonymous"), f"only one tenant can be anonymous, and `{anonymous[0]}` is"
    for name, tenant in tenants.items():
        yield from _unknown("plan", _text(tenant, "plan"), section(raw, "plans"), ("tenants", name, "plan"))
        for number, key in entries(tenant, "keys"):
            if isinstance(key, str) and owners.setdefault(key.lower(), name) != name:
                yield ("tenants", name, "keys", number), f"this key already belongs to `{owners[key.lower()]}`"


def _conditions(raw: Raw, match: Any, path: Path) -> Iterator[Complaint]:
    for number, plan in entries(match, "plan"):
        yield from _unknown("plan", plan, section(raw, "plans"), (*path, "plan", number))
    if isinstance(match, dict) and "not" in match:
        yield from _conditions(raw, match["not"], (*path, "not"))


def _routes(raw: Raw) -> Iterator[Complaint]:
    for number, route in entries(raw, "routes"):
        yield from _conditions(raw, section(route, "match"), ("routes", number, "match"))
        for index, guard in entries(route, "guards"):
            yield from _unknown("guard", guard, _names(raw, "guards"), ("routes", number, "guards", index))


def _plans(raw: Raw) -> Iterator[Complaint]:
    upstreams = {*section(raw, "upstreams"), "offline"}
    for name, plan in section(raw, "plans").items():
        for number, model in entries(plan, "models"):
            upstream, slash, _ = model.partition("/") if isinstance(model, str) else ("", "", "")
            if slash and "*" not in upstream and "?" not in upstream:
                yield from _unknown("upstream", upstream, upstreams, ("plans", name, "models", number))


def _offline(raw: Raw) -> Iterator[Complaint]:
    offline = section(raw, "offline")
    for number, rule in entries(offline, "rules"):
        path = ("offline", "rules", number, "match", "task")
        yield from _unknown("task", _text(section(rule, "match"), "task"), TASKS, path)
    levels = Counter(level for _, level in entries(offline, "levels") if isinstance(level, str))
    for level, times in levels.items():
        if times > 1:
            yield ("offline", "levels"), f"`{level[:80]}` is written {times} times"


def _cases(raw: Raw) -> Iterator[Complaint]:
    tenants = raw["tenants"] if isinstance(raw.get("tenants"), dict) else {"public": None}
    routes = _names(raw, "routes") or ["default"]
    for number, case in entries(raw, "tests"):
        given, expect, path = section(case, "given"), section(case, "expect"), ("tests", number)
        yield from _unknown("plan", _text(given, "plan"), section(raw, "plans"), (*path, "given", "plan"))
        yield from _unknown("tenant", _text(given, "tenant"), tenants, (*path, "given", "tenant"))
        for index, name in entries(given, "down"):
            yield from _unknown("upstream", name, section(raw, "upstreams"), (*path, "given", "down", index))
        yield from _unknown("route", _text(expect, "route"), routes, (*path, "expect", "route"))
        yield from _unknown("task", _text(expect, "task"), TASKS, (*path, "expect", "task"))


_CHECKS: tuple[Callable[[Raw], Iterator[Complaint]], ...] = (_once, _tenants, _routes, _plans, _offline, _cases)


def complaints(raw: Raw) -> list[Complaint]:
    """Every name in a document that points nowhere or stands twice."""
    return [complaint for check in _CHECKS for complaint in islice(check(raw), MANY)]
