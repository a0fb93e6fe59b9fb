"""The whole file: composes the configuration classes that live beside the code they configure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from proxy.config.sections import (
    AlertConfig,
    CaseConfig,
    GuardConfig,
    LoggingConfig,
    PlanConfig,
    PriceConfig,
    ServerConfig,
    StorageConfig,
    TenantConfig,
)
from proxy.config.upstreams import UpstreamConfig
from proxy.fields import Many, Section
from proxy.routing.families import FamiliesConfig
from proxy.routing.routes import Models, RouteConfig
from proxy.routing.tasks import TasksConfig
from proxy.synth.rules import OfflineConfig

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Config(Section):
    """`routes.yaml`. Every section may be left out."""

    server: ServerConfig = ServerConfig()
    """Where and how the proxy listens. A change needs a restart."""
    storage: StorageConfig = StorageConfig()
    """Where counters and records are kept. A change needs a restart."""
    logging: LoggingConfig = LoggingConfig()
    """What is written about each request. A change needs a restart."""
    upstreams: dict[Name, UpstreamConfig] = Field(default={})
    """The places that requests can be sent to, by name. `offline` is always there."""
    models: Models = Field(default={})
    """Names that clients may ask for: each an ordered list of targets. `auto` is always there."""
    plans: dict[Name, PlanConfig] = Field(default={})
    """What tenants may do, by the plan's name."""
    tenants: dict[Name, TenantConfig] | None = None
    """Who may call, by name. Not written: everybody, as the anonymous tenant `public`."""
    routes: Many[RouteConfig] = ()
    """The rules, tried from the top. Not written: one route `default` over all upstreams in their order."""
    tasks: TasksConfig = TasksConfig()
    """More words from which task types are recognised, with their weights."""
    guards: Many[GuardConfig] = ()
    """Rules over the text of prompts and answers."""
    offline: OfflineConfig = OfflineConfig()
    """What is answered when no upstream could; the last targets of every route."""
    alerts: Many[AlertConfig] = ()
    """When somebody should be told."""
    families: FamiliesConfig = Field(default={})
    """What models can take, where the shipped table is wrong or silent: by a pattern for `model` or
    `upstream/model`."""
    prices: dict[str, PriceConfig] = Field(default={})
    """What models cost, by model or `upstream/model`; the order `cheapest` goes by it."""
    tests: Many[CaseConfig] = ()
    """Proofs of the routing of this file, run by `failsoft test` and before each reload."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    schema = Config.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Failsoft routes.yaml"}
