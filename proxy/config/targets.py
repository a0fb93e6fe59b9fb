"""What stands behind a name in `use`: upstream and model, or the targets of an alias, however deep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Any

from proxy.config.bind import OFFLINE
from proxy.config.problems import Path, suggest
from proxy.core.decision import Target, Upstream
from proxy.routing.routes import ModelConfig, TargetConfig

LEVELS = ("stale", "patterns", "rules")
MAX_DEPTH = 16

Complaint = tuple[Path, str]


@dataclass(frozen=True, slots=True)
class _Share:
    """A target on its way: its exact part of the route, and the fields it sets."""

    upstream: Upstream
    model: str
    part: Fraction
    params: Mapping[str, Any]


def _whole(shares: Sequence[_Share]) -> tuple[Target, ...]:
    """Exact parts to whole weights in the same proportion; each target once, where it stands first."""
    scale = lcm(*(share.part.denominator for share in shares)) if shares else 1
    targets = {
        (share.upstream.name, share.model): Target(share.upstream, share.model, int(share.part * scale), share.params)
        for share in reversed(shares)
    }
    return tuple(reversed(targets.values()))


@dataclass(slots=True)
class Names:
    """The names of one file. Complaints are collected; a name that stands for nothing gives no target."""

    upstreams: Mapping[str, Upstream]
    models: Mapping[str, ModelConfig]
    complaints: list[Complaint] = field(default_factory=list)
    _aliases: dict[str, tuple[_Share, ...]] = field(default_factory=dict)

    def targets(self, use: Iterable[TargetConfig], path: Path, params: Mapping[str, Any]) -> tuple[Target, ...]:
        """The targets of a `use` list that stands at `path`; `params` lie under those of each target."""
        shares = [
            _Share(share.upstream, share.model, share.part, {**params, **share.params})
            for share in self._shares(use, path, ())
        ]
        return _whole(shares)

    def alias(self, name: str) -> tuple[Target, ...]:
        """The targets of a name under `models:`."""
        return _whole(self._alias(name, ()))

    def _shares(self, use: Iterable[TargetConfig], path: Path, above: tuple[str, ...]) -> list[_Share]:
        found: list[_Share] = []
        for number, target in enumerate(use):
            part = Fraction(str(target.weight))
            inner = self._named(target.to, (*path, number), above)
            total = sum((share.part for share in inner), Fraction(0))
            found += [
                _Share(share.upstream, share.model, part * share.part / total, {**share.params, **target.params})
                for share in inner
            ]
        return found

    def _named(self, reference: str, path: Path, above: tuple[str, ...]) -> Sequence[_Share]:
        name, slash, model = reference.partition("/")
        if slash:
            return self._place(name, model, path)
        if name not in self.models:
            hint = suggest(name, [*self.models, *(f"{upstream}/*" for upstream in self.upstreams)])
            self.complaints.append((path, f"no such name under `models`: `{name}`{hint}"))
            return ()
        if not self.models[name].use:
            self.complaints.append((path, f"`{name}` stands for no target"))
            return ()
        if name in above:
            circle = " → ".join((*above[above.index(name) :], name))
            self.complaints.append((path, f"these names stand for each other: {circle}"))
            return ()
        if len(above) >= MAX_DEPTH:
            self.complaints.append((path, f"names stand for names more than {MAX_DEPTH} deep"))
            return ()
        return self._alias(name, above)

    def _alias(self, name: str, above: tuple[str, ...]) -> tuple[_Share, ...]:
        if name not in self._aliases:
            shares = self._shares(self.models[name].use, ("models", name, "use"), (*above, name))
            # Kept once per target: names that stand for names would otherwise multiply without bound.
            unique = {(share.upstream.name, share.model): share for share in reversed(shares)}
            self._aliases[name] = tuple(reversed(unique.values()))
        return self._aliases[name]

    def _place(self, name: str, model: str, path: Path) -> Sequence[_Share]:
        upstream = self.upstreams.get(name)
        if upstream is None:
            self.complaints.append((path, f"unknown upstream `{name}`{suggest(name, self.upstreams)}"))
        elif not model:
            self.complaints.append((path, f"which model? Write `{name}/model` or `{name}/*`"))
        elif name == OFFLINE and model not in LEVELS:
            self.complaints.append((path, f"unknown level `{model}`{suggest(model, LEVELS)}"))
        elif "*" in model and model != "*":
            self.complaints.append((path, "a target is one model; `*` stands only for the one that was asked for"))
        else:
            return (_Share(upstream, model, Fraction(1), {}),)
        return ()
