"""Which targets a request goes to: the first rule that holds, its targets ranked, those that cannot serve left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from proxy.core.decision import Decision, Step, Target, Upstream
from proxy.core.errors import ErrorKind, ProxyError
from proxy.routing.facts import Facts
from proxy.routing.families import Families
from proxy.routing.index import Index
from proxy.routing.matchers import Condition, compile_match
from proxy.routing.memory import Memory
from proxy.routing.names import AS_ASKED, Named, Names
from proxy.routing.orders import ORDERS, Prices, Rank
from proxy.routing.routes import BoundRoute, RouteConfig
from proxy.routing.slate import Slate
from proxy.routing.view import View

NO_ROUTE = "-"
"""Stands for the route's name where a named model was served without any."""

FORCE_HEADER = "x-failsoft-route"


@dataclass(frozen=True, slots=True)
class Rule:
    """A route, compiled. `own` are its targets that set fields, by name: they keep them when a caller names them."""

    number: int
    config: RouteConfig
    targets: tuple[Target, ...]
    conditions: tuple[Condition, ...]
    rank: Rank
    own: Mapping[str, Target]

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def takes_all(self) -> bool:
        return self.config.match is None

    @property
    def names_models(self) -> bool:
        """True if the rule itself says which names it takes, so that they need not be known."""
        return self.config.match is not None and self.config.match.model is not None


@dataclass(frozen=True, slots=True)
class Tried:
    """A rule that was asked, and its conditions up to the first that did not hold, in words."""

    name: str
    number: int
    taken: bool
    because: tuple[str, ...]


@dataclass(slots=True)
class Trace:
    """What `decide` notes down when somebody wants to know; filled even if it ends in an error."""

    tried: list[Tried] = field(default_factory=list)
    skipped: list[Step] = field(default_factory=list)
    forced: bool = False


class RouteTable:
    """The routes of one configuration, ready to decide.

    `models` maps aliases to their targets, `offline` are the last targets of every route that allows them, `plans`
    maps a plan to the patterns of the names it may ask for.
    """

    __slots__ = ("_by_name", "_index", "_memory", "_offline", "families", "names", "prices", "rules")

    def __init__(
        self,
        routes: Sequence[BoundRoute],
        models: Mapping[str, Sequence[Target]],
        upstreams: Mapping[str, Upstream],
        families: Families,
        *,
        offline: Sequence[Target] = (),
        plans: Mapping[str, Sequence[str]] | None = None,
        prices: Prices | None = None,
    ) -> None:
        routes = [replace(route, targets=tuple(map(families.known, route.targets))) for route in routes]
        models = {name: tuple(map(families.known, targets)) for name, targets in models.items()}
        self.rules = tuple(_compiled(number, route) for number, route in enumerate(routes))
        mentioned = [target for rule in self.rules for target in rule.targets]
        mentioned += [target for targets in models.values() for target in targets]
        self.names = Names(models, upstreams, mentioned, plans or {})
        self._by_name = {rule.name: rule for rule in self.rules}
        self._index = Index([(rule.config.match, rule.conditions) for rule in self.rules])
        self.families = families
        self._memory = Memory()
        self._offline = tuple(offline)
        self.prices = prices or {}

    def decide(self, facts: Facts, view: View, trace: Trace | None = None) -> Decision:
        """The ordered targets for a request.

        Raises ProxyError: MODEL_NOT_FOUND, NO_CANDIDATE; CONTEXT or BAD_REQUEST if no model there is can take the
        content. With a `trace`, every rule is asked in turn by the same tests, and the decision's `why` says it all.
        """
        rule = self._forced(facts, trace) or self._first(facts, trace)
        refuses = facts.inbound.refuses_offline or (rule is not None and rule.config.offline == "never")
        number = -1 if rule is None else rule.number
        key = (number, facts.model, facts.tenant, facts.plan, refuses)
        if trace is None and (known := self._memory.recall(key, facts, view)) is not None:
            return known
        slate = self._slate(rule, facts, view, refuses, trace)
        candidates = slate.close(self._offline)
        decision = _decision(rule, candidates, facts, (*_told(trace), *slate.skipped))
        if trace is None and slate.is_lasting:
            self._memory.keep(key, decision, view)
        return decision

    def _slate(self, rule: Rule | None, facts: Facts, view: View, refuses: bool, trace: Trace | None) -> Slate:
        """All targets that the request may go to."""
        named = self._named(rule, facts, view)
        kept = self.names.kept(facts.model) if named is None else named.kept
        keeps_order = rule is not None and rule.config.when_throttled == "next"
        slate = Slate(facts, view, self.families, self.prices, kept, refuses, keeps_order)
        if trace is not None:
            trace.skipped = slate.skipped
        if named is not None and (rule is None or rule.takes_all):
            targets = named.targets if rule is None else [rule.own.get(str(one), one) for one in named.targets]
            slate.add_named(targets, {} if rule is None else rule.config.params)
        if rule is not None:
            slate.add(rule.targets, rule.rank)
        return slate

    def _first(self, facts: Facts, trace: Trace | None) -> Rule | None:
        if trace is None:
            number = self._index.first(facts)
            return None if number is None else self.rules[number]
        for rule in self.rules:
            tried = _try(rule, facts)
            trace.tried.append(tried)
            if tried.taken:
                return rule
        return None

    def _forced(self, facts: Facts, trace: Trace | None) -> Rule | None:
        """The route that an administrator asks for by name."""
        name = facts.headers.get(FORCE_HEADER)
        if name is None or not facts.inbound.is_admin:
            return None
        rule = self._by_name.get(name)
        if rule is None:
            raise ProxyError(
                ErrorKind.BAD_REQUEST, f"{FORCE_HEADER}: there is no route {name[:64]!r}.", param=FORCE_HEADER
            )
        if trace is not None:
            trace.forced = True
            trace.tried.append(Tried(rule.name, rule.number, True, (f"asked for by {FORCE_HEADER}",)))
        return rule

    def _named(self, rule: Rule | None, facts: Facts, view: View) -> Named | None:
        """What the caller named; None only if it is unknown and the rule takes it nevertheless."""
        named = self.names.find(facts.model, view)
        known = named is not None or (rule is not None and (rule.names_models or self._may_have(rule, facts, view)))
        if not known or not self.names.permits(facts.plan, facts.model, named):
            raise self.names.unknown(facts.plan, facts.model, view)
        return named

    def _may_have(self, rule: Rule, facts: Facts, view: View) -> bool:
        """True while an upstream that takes any name has not told which it knows: it may have been down all along."""
        if not rule.takes_all or self.names.kept(facts.model) == AS_ASKED:
            return False
        return any(
            target.model == AS_ASKED and target.upstream.disabled is None and view.listed(target.upstream.name) is None
            for target in rule.targets
        )


def _compiled(number: int, route: BoundRoute) -> Rule:
    config = route.config
    conditions = () if config.match is None else compile_match(config.match)
    own = {str(target): target for target in route.targets if target.params}
    return Rule(number, config, route.targets, conditions, ORDERS[config.order], own)


def _try(rule: Rule, facts: Facts) -> Tried:
    said: list[str] = []
    for condition in rule.conditions:
        held = condition.holds(facts)
        said.append(condition.say(facts, held))
        if not held:
            return Tried(rule.name, rule.number, False, tuple(said))
    return Tried(rule.name, rule.number, True, tuple(said))


def _told(trace: Trace | None) -> Iterator[Step]:
    for tried in trace.tried if trace is not None else ():
        because = tried.because or ("it takes everything",)
        yield Step(tried.name, tried.taken, "; ".join(because if tried.taken else because[-1:]))


def _decision(rule: Rule | None, candidates: tuple[Target, ...], facts: Facts, why: tuple[Step, ...]) -> Decision:
    given = facts.inbound.tenant.defaults
    defaults = {name: value for name, value in given.items() if name != "model"} if given else {}
    if rule is None:
        return Decision(NO_ROUTE, candidates, defaults=defaults, why=why)
    config = rule.config
    return Decision(
        rule.name,
        candidates,
        deadline=config.deadline,
        max_attempts=config.retry.attempts,
        pause=config.retry.base,
        longest_pause=config.retry.max,
        defaults=defaults,
        strict_translation=config.strict_translation,
        hedge=None if config.hedge is None else config.hedge.after,
        continues=config.midstream == "continue",
        why=why,
    )
