"""A decoded file to a snapshot: what one request needs, bound, resolved and never changed again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from proxy.config.bind import OFFLINE, BadSetting, bind, bind_offline, is_loopback, unusable
from proxy.config.document import Document
from proxy.config.problems import Complaint, ConfigError, Problem, suggest
from proxy.config.references import complaints
from proxy.config.schema import Config
from proxy.config.sections import LoggingConfig, PlanConfig, ServerConfig, StorageConfig, TenantConfig
from proxy.config.targets import Names
from proxy.core.decision import Target, Upstream
from proxy.core.request import Tenant
from proxy.providers import Provider
from proxy.routing.families import Families
from proxy.routing.families import load as load_families
from proxy.routing.routes import BoundRoute, RouteConfig
from proxy.routing.table import RouteTable
from proxy.routing.tasks import Classifier
from proxy.routing.tasks import load as load_tasks
from proxy.synth.rules import OfflineConfig

PUBLIC = "public"
"""The tenant that takes everybody, as long as the file names none."""


@dataclass(frozen=True, slots=True)
class Cost:
    """USD per million tokens, for the comparison of targets; what is billed is reckoned exactly elsewhere."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the configuration.

    `file` is its path as it was given and `fingerprint` twelve hexadecimal digits of its bytes' SHA-256;
    `document` has its lines. `server`, `storage` and `logging` take effect at a start only. `models` maps every
    alias to its targets (none: the routes decide). `keys` maps the SHA-256 of a caller's key, in hexadecimal, to
    its tenant's name; `anonymous` takes callers without a key, None if nobody does. `offline_targets` are the last
    targets of every route that allows them. `table` decides, `classifier` reads task types out of words. `warnings`
    are worth a line at the start.
    """

    file: str
    fingerprint: str
    document: Document
    config: Config
    server: ServerConfig
    storage: StorageConfig
    logging: LoggingConfig
    upstreams: Mapping[str, Upstream]
    models: Mapping[str, tuple[Target, ...]]
    plans: Mapping[str, PlanConfig]
    tenants: Mapping[str, Tenant]
    keys: Mapping[str, str]
    anonymous: Tenant | None
    routes: tuple[BoundRoute, ...]
    offline: OfflineConfig
    offline_targets: tuple[Target, ...]
    table: RouteTable
    classifier: Classifier
    warnings: tuple[Problem, ...]


def exposure(server: ServerConfig, anonymous: Tenant | None, host: str | None = None) -> str | None:
    """Why the proxy must not listen on `host` (the configured one if None), or None if it may."""
    host = server.host if host is None else host
    if anonymous is None or not anonymous.enabled or server.allow_anonymous or is_loopback(host):
        return None
    return (
        f"listening on {host} would serve callers without a key (tenant `{anonymous.name}`) to everybody who can "
        "reach it; give the tenants keys, listen on 127.0.0.1, or say `allow_anonymous: true`"
    )


def _upstreams(
    config: Config,
    document: Document,
    environ: Mapping[str, str],
    providers: Mapping[str, Provider],
    dialects: Collection[str],
) -> tuple[dict[str, Upstream], list[Complaint]]:
    found: dict[str, Upstream] = {}
    wrong: list[Complaint] = []
    known = [name for name, provider in providers.items() if not provider.offline]
    for name, section in config.upstreams.items():
        path = ("upstreams", name)
        found[name] = unusable(name, section.provider, "it is not configured correctly")
        if name == OFFLINE:
            wrong.append((path, f"`{OFFLINE}` is built in; name this upstream otherwise"))
        if section.keys is not None and section.auth is not None:
            wrong.append(((*path, "auth"), "write `keys` or `auth`, not both"))
        if section.provider not in known:
            hint = suggest(section.provider, known)
            wrong.append(((*path, "provider"), f"unknown provider `{section.provider}`{hint}"))
            continue
        written: Mapping[str, Any] = document.value["upstreams"][name]
        try:
            found[name] = bind(name, section, providers[section.provider], dialects, environ, written)
        except BadSetting as error:
            wrong.append(((*path, error.key), str(error)))
    for provider in providers.values():
        if provider.offline:
            found[OFFLINE] = bind_offline(provider, dialects)
    return found, wrong


def _tenant(name: str, config: TenantConfig) -> Tenant:
    return Tenant(
        name=name,
        plan=config.plan,
        enabled=config.enabled,
        anonymous=config.anonymous,
        defaults=config.defaults.model_dump(exclude_none=True),
        flags=config.flags,
    )


def _tenants(config: Config) -> dict[str, Tenant]:
    if config.tenants is None:
        return {PUBLIC: Tenant(PUBLIC, anonymous=True)}
    return {name: _tenant(name, section) for name, section in config.tenants.items()}


def _keys(config: Config) -> dict[str, str]:
    return {
        key.removeprefix("sha256:"): name for name, section in (config.tenants or {}).items() for key in section.keys
    }


def _default_route(config: Config) -> RouteConfig:
    """What holds while the file has no routes: every upstream in its order, or the built-in one if there is none."""
    use = [f"{name}/*" for name in config.upstreams] or [f"{OFFLINE}/{level}" for level in config.offline.levels]
    return RouteConfig.model_validate({"name": "default", "use": use or [f"{OFFLINE}/rules"]})


def _routes(config: Config, names: Names) -> tuple[BoundRoute, ...]:
    routes = config.routes or (_default_route(config),)
    return tuple(
        BoundRoute(route, names.targets(route.use, ("routes", number, "use"), route.params))
        for number, route in enumerate(routes)
    )


def _warnings(document: Document, upstreams: Mapping[str, Upstream]) -> tuple[Problem, ...]:
    return tuple(
        document.problem(("upstreams", name), f"disabled: {upstream.disabled}")
        for name, upstream in upstreams.items()
        if upstream.disabled is not None
    )


def _table(
    config: Config,
    routes: Sequence[BoundRoute],
    models: Mapping[str, tuple[Target, ...]],
    upstreams: Mapping[str, Upstream],
    offline: Sequence[Target],
) -> RouteTable:
    return RouteTable(
        routes,
        models,
        upstreams,
        Families(load_families(), config.families),
        offline=offline,
        plans={name: plan.models for name, plan in config.plans.items()},
        prices={name: Cost(float(price.input), float(price.output)) for name, price in config.prices.items()},
    )


def compile_config(
    config: Config,
    document: Document,
    fingerprint: str,
    environ: Mapping[str, str],
    providers: Mapping[str, Provider],
    dialects: Collection[str],
) -> Snapshot:
    """Bind, resolve and cross-check a decoded file. Raises ConfigError with every mistake."""
    upstreams, wrong = _upstreams(config, document, environ, providers, dialects)
    names = Names(upstreams, config.models)
    models = {"auto": (), **{name: names.alias(name) for name in config.models}}
    routes = _routes(config, names)
    tenants = _tenants(config)
    anonymous = next((tenant for tenant in tenants.values() if tenant.anonymous), None)
    if (why := exposure(config.server, anonymous)) is not None:
        wrong.append((("server", "host"), why))
    wrong += [*names.complaints, *complaints(document.value)]
    if wrong:
        raise ConfigError(document.problem(path, message) for path, message in wrong)
    offline = tuple(Target(upstreams[OFFLINE], level) for level in config.offline.levels)
    return Snapshot(
        file=document.file,
        fingerprint=fingerprint,
        document=document,
        config=config,
        server=config.server,
        storage=config.storage,
        logging=config.logging,
        upstreams=MappingProxyType(upstreams),
        models=MappingProxyType(models),
        plans=MappingProxyType(config.plans),
        tenants=MappingProxyType(tenants),
        keys=MappingProxyType(_keys(config)),
        anonymous=anonymous,
        routes=routes,
        offline=config.offline,
        offline_targets=offline,
        table=_table(config, routes, models, upstreams, offline),
        classifier=Classifier(load_tasks(), config.tasks.extra_words()),
        warnings=_warnings(document, upstreams),
    )


def with_every_key(snapshot: Snapshot) -> Snapshot:
    """The same with the upstreams in service that only lack a key.

    So that what is proved of a file holds on a machine that has none of its keys.
    """
    config = snapshot.config
    upstreams = {
        name: replace(upstream, disabled=None) if _lacks_a_key(upstream, config) else upstream
        for name, upstream in snapshot.upstreams.items()
    }

    def rebound(targets: Sequence[Target]) -> tuple[Target, ...]:
        return tuple(replace(target, upstream=upstreams[target.upstream.name]) for target in targets)

    routes = tuple(BoundRoute(route.config, rebound(route.targets)) for route in snapshot.routes)
    models = {name: rebound(targets) for name, targets in snapshot.models.items()}
    offline = rebound(snapshot.offline_targets)
    return replace(
        snapshot,
        upstreams=MappingProxyType(upstreams),
        models=MappingProxyType(models),
        routes=routes,
        offline_targets=offline,
        table=_table(config, routes, models, upstreams, offline),
    )


def _lacks_a_key(upstream: Upstream, config: Config) -> bool:
    """True if it is disabled, and neither switched off nor of a dialect that is not built in."""
    return upstream.disabled is not None and bool(upstream.paths) and config.upstreams[upstream.name].enabled
