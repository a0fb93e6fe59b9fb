"""What else is wrong with a file that does not decode: its targets are followed as far as they can be read.

Without this, an unknown key in one place would hide an unknown upstream in another, and a file would be mended in
as many rounds as it has kinds of mistakes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from proxy.config.bind import OFFLINE, unusable
from proxy.config.problems import Complaint, suggest
from proxy.config.references import complaints, entries, section
from proxy.config.targets import Names
from proxy.routing.routes import ModelConfig, TargetConfig

_ANYWHERE = TargetConfig.model_validate(f"{OFFLINE}/rules")
"""Stands in for what cannot be read, so that nothing is said of it twice."""


def _target(raw: Any) -> TargetConfig:
    try:
        return TargetConfig.model_validate(raw)
    except ValidationError:
        return _ANYWHERE


def _model(raw: Any) -> ModelConfig:
    use = raw if isinstance(raw, list) else raw.get("use") if isinstance(raw, dict) else None
    if raw == {} or use == []:
        return ModelConfig()
    return ModelConfig(use=tuple(map(_target, use)) if isinstance(use, list) else (_ANYWHERE,))


def survey(raw: Mapping[str, Any], providers: Collection[str]) -> list[Complaint]:
    """Complaints about names and targets, from a plain document of any shape."""
    wrong = complaints(raw)
    for name, upstream in section(raw, "upstreams").items():
        provider = upstream.get("provider") if isinstance(upstream, dict) else None
        if isinstance(provider, str) and "${" not in provider and provider not in providers:
            path = ("upstreams", name, "provider")
            wrong.append((path, f"unknown provider `{provider[:80]}`{suggest(provider, providers)}"))
    upstreams = {name: unusable(name, "", "") for name in (*section(raw, "upstreams"), OFFLINE)}
    names = Names(upstreams, {name: _model(model) for name, model in section(raw, "models").items()})
    for name in names.models:
        names.alias(name)
    for number, route in entries(raw, "routes"):
        use = route.get("use") if isinstance(route, dict) else None
        if isinstance(use, list):
            names.targets(map(_target, use), ("routes", number, "use"), {})
    return [*wrong, *names.complaints]
