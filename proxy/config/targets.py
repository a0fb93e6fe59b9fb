"""What stands behind a name in `use`: upstream and model, or the targets of an alias, however deep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Any

from proxy.config.bind import OFFLINE
from proxy.config.problems import MANY, Complaint, Path, suggest
from proxy.core.decision import Target, Upstream
from proxy.routing.routes import ModelConfig, TargetConfig

LEVELS = ("stale", "patterns", "rules")
MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class _Share:
    """A target on its way: its exact part of the route, and the fields it sets."""

    upstream: Upstream
    model: str
    part: Fraction
    params: Mapping[str, Any]


def _once(shares: Iterable[_Share]) -> tuple[_Share, ...]:
    """Each target once, where it stands first."""
    found: dict[tuple[str, str], _Share] = {}
    for share in shares:
        found.setdefault((share.upstream.name, share.model), share)
    return tuple(found.values())


def _whole(shares: Iterable[_Share]) -> tuple[Target, ...]:
    """Exact parts to whole weights in the same proportion."""
    kept = _once(shares)
    scale = lcm(*(share.part.denominator for share in kept))
    return tuple(Target(share.upstream, share.model, int(share.part * scale), share.params) for share in kept)


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
            places = (f"{upstream}/*" for upstream in self.upstreams)
            return self._complain(path, f"no such name under `models`: `{name}`", name, [*self.models, *places])
        if not self.models[name].use:
            return self._complain(path, f"`{name}` stands for no target")
        if name in above:
            circle = " → ".join((*above[above.index(name) :], name))
            return self._complain(path, f"these names stand for each other: {circle}")
        if len(above) >= MAX_DEPTH:
            return self._complain(path, f"names stand for names more than {MAX_DEPTH} deep")
        return self._alias(name, above)

    def _complain(
        self, path: Path, message: str, word: str | None = None, known: Iterable[str] = ()
    ) -> tuple[_Share, ...]:
        if len(self.complaints) < MANY:
            self.complaints.append((path, message + suggest(word, known)))
        return ()

    def _alias(self, name: str, above: tuple[str, ...]) -> tuple[_Share, ...]:
        if name not in self._aliases:
            shares = self._shares(self.models[name].use, ("models", name, "use"), (*above, name))
            # Each target once: names that stand for names would otherwise multiply without bound.
            self._aliases[name] = _once(shares)
        return self._aliases[name]

    def _place(self, name: str, model: str, path: Path) -> Sequence[_Share]:
        upstream = self.upstreams.get(name)
        if upstream is None:
            return self._complain(path, f"unknown upstream `{name}`", name, self.upstreams)
        if not model:
            return self._complain(path, f"which model? Write `{name}/model` or `{name}/*`")
        if name == OFFLINE and model not in LEVELS:
            return self._complain(path, f"unknown level `{model}`", model, LEVELS)
        if "*" in model and model != "*":
            return self._complain(path, "a target is one model; `*` stands only for the one that was asked for")
        return (_Share(upstream, model, Fraction(1), {}),)
