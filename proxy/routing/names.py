"""What the model's name in a request stands for: `auto`, an alias, `upstream/model`, or a model's own name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from proxy.core.decision import Target, Upstream
from proxy.core.errors import ErrorKind, ProxyError
from proxy.routing.facts import AUTO
from proxy.routing.globs import Matches, compile_globs
from proxy.routing.view import View

AS_ASKED = "*"
"""In a target: the model that the caller asked for."""

_LONGEST = 128  # characters of an unknown name that are compared and repeated
_MOST_COMPARED = 2000  # names that an unknown one is compared with
_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Named:
    """What a caller named: its targets (none for `auto`), and what `upstream/*` makes of it.

    `kept` is None where the caller named no model of its own, so that each upstream takes its default.
    """

    targets: tuple[Target, ...] = ()
    kept: str | None = None


class Names:
    """All names of one configuration; `mentioned` are the targets of its file, `plans` the patterns of each plan."""

    __slots__ = ("_mentioned", "_models", "_permits", "_upstreams")

    def __init__(
        self,
        models: Mapping[str, Sequence[Target]],
        upstreams: Mapping[str, Upstream],
        mentioned: Sequence[Target],
        plans: Mapping[str, Sequence[str]],
    ) -> None:
        self._models = {AUTO: Named(), **{name: Named(tuple(targets)) for name, targets in models.items()}}
        self._upstreams = upstreams
        self._permits: dict[str, Matches] = {plan: compile_globs(globs) for plan, globs in plans.items()}
        hosts: dict[str, dict[str, None]] = defaultdict(dict)
        for target in mentioned:
            if target.model != AS_ASKED and not target.upstream.offline:
                hosts[target.model][target.upstream.name] = None
        self._mentioned: Mapping[str, Sequence[str]] = {model: tuple(names) for model, names in hosts.items()}

    def find(self, asked: str, view: View) -> Named | None:
        """What `asked` stands for, None if for nothing, or for several upstreams that have it under this name."""
        if (alias := self._models.get(asked)) is not None:
            return alias
        name, _, model = asked.partition("/")
        upstream = self._upstreams.get(name)
        if upstream is not None and model not in ("", AS_ASKED):
            return Named((Target(upstream, model),), None if upstream.offline else model)
        host = self._host(asked, view)
        return None if host is None else Named((Target(host, asked),), asked)

    def kept(self, asked: str) -> str:
        """The model's own name in a name that stands for nothing known: without the upstream before it."""
        name, _, model = asked.partition("/")
        return model if model and name in self._upstreams else asked

    def permits(self, plan: str | None, asked: str, named: Named | None) -> bool:
        """True if a tenant of this plan may ask for the name, as it wrote it or as `upstream/model`.

        `auto` names nothing and is open to all, and so is every name to tenants without a plan.
        """
        fits = self._permits.get(plan) if plan is not None else None
        if fits is None or asked == AUTO or fits(asked):
            return True
        return named is not None and asked not in self._models and any(fits(str(t)) for t in named.targets)

    def unknown(self, plan: str | None, asked: str, view: View) -> ProxyError:
        """The one answer for a name that stands for nothing and for one that the plan withholds."""
        shown = asked if len(asked) <= _LONGEST else f"{asked[:_LONGEST]}…"
        known = self.visible(plan, view)[:_MOST_COMPARED]
        ends = {name.rpartition("/")[2]: name for name in known}
        wanted = asked[:_LONGEST]
        near = [ends.get(name, name) for name in get_close_matches(wanted, [*known, *ends], n=2 * _NEAREST)]
        hint = ", ".join(f"`{name}`" for name in list(dict.fromkeys(near))[:_NEAREST])
        message = f"The model `{shown}` does not exist, or you do not have access to it."
        if hint:
            message += f" Did you mean {hint}?"
        return ProxyError(ErrorKind.MODEL_NOT_FOUND, message, param="model")

    def visible(self, plan: str | None, view: View) -> tuple[str, ...]:
        """The names that a tenant of this plan may ask for, each once: aliases, then `upstream/model`."""
        names = dict.fromkeys(name for name in self._all(view) if self.permits(plan, name, None))
        return tuple(names)

    def _all(self, view: View) -> Iterator[str]:
        yield from self._models
        for upstream in self._enabled():
            yield from (f"{upstream.name}/{model}" for model in sorted(view.listed(upstream.name) or ()))
        for model, hosts in self._mentioned.items():
            yield from (f"{host}/{model}" for host in hosts if self._upstreams[host].disabled is None)

    def _enabled(self) -> Iterator[Upstream]:
        return (u for u in self._upstreams.values() if u.disabled is None and not u.offline)

    def _host(self, model: str, view: View) -> Upstream | None:
        """The one upstream that has a model by its plain name.

        Lists come first, for they are the truth; the file is asked where no list, or more than one, has the model.
        A disabled upstream counts only if no other is mentioned with the model: then the name is known, and the
        decision says why it cannot be served.
        """
        listing = [u for u in self._enabled() if model in (view.listed(u.name) or ())]
        if len(listing) == 1:
            return listing[0]
        mentioned = [self._upstreams[name] for name in self._mentioned.get(model, ())]
        enabled = [upstream for upstream in mentioned if upstream.disabled is None]
        hosts = enabled or mentioned
        return hosts[0] if len(hosts) == 1 else None


def own_choice(upstream: Upstream, view: View) -> str | None:
    """The model of an upstream whose caller named none: its default, else the first it lists that can talk.

    Of a local server's models those in memory come first: they answer at once, and nothing has to make room.
    """
    if upstream.default_model is not None:
        return upstream.default_model
    listed = view.listed(upstream.name)
    if not listed:
        return None
    loaded = view.loaded(upstream.name)
    return min(listed, key=lambda model: ("embed" in model.lower(), model not in loaded, model))
