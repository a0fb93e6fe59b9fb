"""Requests, upstreams and tables for the tests of routing, said in few words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from proxy.core.decision import Origin, Target, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.request import Inbound, Peek, Tenant
from proxy.routing.contents import Contents, read_contents
from proxy.routing.facts import Facts
from proxy.routing.families import Families, FamilyConfig, load
from proxy.routing.routes import BoundRoute, RouteConfig
from proxy.routing.table import RouteTable
from proxy.routing.tasks import Verdict, Words
from proxy.routing.view import StillView

FAMILIES = load()
MONDAY = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
WELL = StillView()


def upstream(name: str, **facts: Any) -> Upstream:
    return Upstream(
        name=name,
        provider="compatible",
        origin=Origin("http", "localhost", 1),
        base="",
        paths={"openai_chat": "/chat/completions"},
        headers=lambda _key: (),
        classify=lambda _status, _headers, _body: UpstreamFailure(ErrorKind.FAULT),
        **facts,
    )


UPSTREAMS: Mapping[str, Upstream] = {
    up.name: up
    for up in (
        upstream("local", local=True),
        upstream("cloud"),
        upstream("other"),
        upstream("third", default_model="third-default"),
        upstream("broken", disabled="it has no key"),
        upstream("offline", local=True, offline=True),
    )
}
OFFLINE = tuple(Target(UPSTREAMS["offline"], level) for level in ("stale", "patterns", "rules"))


def target(place: str, **facts: Any) -> Target:
    name, _, model = place.partition("/")
    return Target(UPSTREAMS[name], model, **facts)


def route(name: str, *use: str | Target, **config: Any) -> BoundRoute:
    """A bound route; `config` as in the file."""
    targets = tuple(item if isinstance(item, Target) else target(item) for item in use)
    written = {"name": name, "use": [str(item) for item in targets], **config}
    return BoundRoute(RouteConfig.model_validate(written), targets)


def table(
    *routes: BoundRoute,
    models: Mapping[str, Sequence[str]] | None = None,
    families: Mapping[str, FamilyConfig] | None = None,
    **more: Any,
) -> RouteTable:
    aliases = {name: tuple(map(target, places)) for name, places in (models or {}).items()}
    return RouteTable(routes, aliases, UPSTREAMS, Families(FAMILIES, families), **{"offline": OFFLINE, **more})


@dataclass(slots=True)
class Watched:
    """Counts how often each dear fact was worked out; a classifier that knows one word per task."""

    read: int = 0
    wall: int = 0
    classified: int = 0
    now: datetime = MONDAY
    words: list[Words] = field(default_factory=list)

    def read_body(self, body: bytes) -> Contents:
        self.read += 1
        return read_contents(body)

    def tell(self) -> datetime:
        self.wall += 1
        return self.now

    def classify(self, words: Words) -> Verdict:
        self.classified += 1
        self.words.append(words)
        task = next((task for task in ("code", "security", "writing") if task in words.last_user), "general")
        return Verdict(task, "complex" if len(words.last_user) > 200 else "simple")

    def believe(self, stated: Verdict, words: Words) -> Verdict:
        return Verdict(stated.task, self.classify(words).complexity)


def facts(
    model: str = "auto",
    *,
    plan: str | None = None,
    tenant: str = "acme",
    prompt: str = "Hello",
    headers: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    user: str | None = None,
    stream: bool = False,
    endpoint: str = "/v1/chat/completions",
    fields: Mapping[str, Any] | None = None,
    body: bytes | None = None,
    request_id: str = "request-1",
    is_admin: bool = False,
    defaults: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
    watched: Watched | None = None,
) -> Facts:
    """The facts of one request."""
    if body is None:
        said = {"model": model, "messages": [{"role": "user", "content": prompt}], **(fields or {})}
        body = json.dumps(said).encode()
    inbound = Inbound(
        id=request_id,
        correlation_id=request_id,
        dialect="openai_chat",
        endpoint=endpoint,
        headers=headers or {},
        body=body,
        peek=Peek(model, stream=stream, user=user, metadata=metadata or {}),
        tenant=Tenant(tenant, plan, defaults=defaults or {}, flags=flags or {}),
        arrived=0.0,
        is_admin=is_admin,
    )
    watched = watched or Watched()
    return Facts(inbound, watched.read_body, watched.tell, watched)


def places(candidates: Sequence[Target]) -> list[str]:
    return [str(candidate) for candidate in candidates]


def models_of(candidates: Sequence[Target]) -> list[str]:
    """The candidates that are models, not offline answers."""
    return [str(candidate) for candidate in candidates if not candidate.upstream.offline]
