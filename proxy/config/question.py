"""A question put to the routes outside of any traffic: one request, who sends it, and the state of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from proxy.config.compile import Snapshot
from proxy.config.problems import suggest
from proxy.core.decision import Rest, Target, Upstream
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.family import Told
from proxy.core.request import Inbound, Tenant
from proxy.routing.contents import MOST_TOKENS_PER_BYTE, Contents, read_contents
from proxy.routing.facts import Facts
from proxy.routing.view import RESTING, THROTTLED, View
from proxy.synth.answer import LEVELS
from proxy.wire.dialects import UpstreamDialect, heard

CHAT = "/v1/chat/completions"

_ID = "question"
_NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Question:
    """One request as it would come in.

    `headers` have lower-case names. `tenant` is one of the file, None the anonymous one; `plan` stands in for the
    tenant's own, `tokens` for the estimated length of the prompt.
    """

    body: bytes
    endpoint: str = CHAT
    headers: Mapping[str, str] = field(default_factory=dict)
    tenant: str | None = None
    plan: str | None = None
    tokens: int | None = None


def facts_of(
    question: Question, snapshot: Snapshot, dialects: Mapping[str, UpstreamDialect], wall: Callable[[], datetime]
) -> Facts:
    """What the rules will read. It is asked with an administrator's rights, so a route can be forced.

    Raises ProxyError where the request would be refused before any rule is asked.
    """
    dialect = next((dialect for dialect in heard(dialects).values() if question.endpoint in dialect.paths), None)
    if dialect is None:
        raise ProxyError(ErrorKind.UNKNOWN_PATH)
    body = question.body
    if question.tokens is not None:  # how long a prompt can be is first judged by the bytes of its body
        body += b" " * (question.tokens // MOST_TOKENS_PER_BYTE + 1)
    inbound = Inbound(
        id=_ID,
        correlation_id=_ID,
        dialect=dialect.name,
        endpoint=question.endpoint,
        headers=question.headers,
        body=body,
        peek=dialect.peek(body),
        tenant=_tenant(question, snapshot),
        arrived=0.0,
        is_admin=True,
    )
    return Facts(inbound, _reader(question.tokens), wall, snapshot.classifier)


def _reader(tokens: int | None) -> Callable[[bytes], Contents]:
    if tokens is None:
        return read_contents
    return lambda body: replace(read_contents(body), tokens=tokens)


def _tenant(question: Question, snapshot: Snapshot) -> Tenant:
    """Who asks. Where the file takes nobody without a key, it is a tenant without plan and wishes.

    A tenant that the file does not name can only be one of a key made at run time, and those come with a plan.
    """
    tenant = snapshot.anonymous or Tenant(_NOBODY)
    if question.tenant is not None:
        if question.plan is None:
            _known("tenant", question.tenant, snapshot.tenants)
        tenant = snapshot.tenants.get(question.tenant) or Tenant(question.tenant)
    if not tenant.enabled:
        raise ProxyError(ErrorKind.UNKNOWN_KEY)
    if question.plan is None:
        return tenant
    _known("plan", question.plan, snapshot.plans)
    return replace(tenant, plan=question.plan)


def _known(kind: str, name: str, names: Mapping[str, object]) -> None:
    if name not in names:
        told = f"The file has no {kind} `{name[:64]}`{suggest(name, names)}"
        raise ProxyError(ErrorKind.BAD_REQUEST, told, param=kind)


@dataclass(frozen=True, slots=True)
class Assumed:
    """A view of which a part is assumed to be otherwise.

    `down` says of upstreams whether they are, `rests` of targets why they are not asked (None: they are), `models` what
    upstreams list. A level of offline answers that is not built in is never ready: the engine passes it over.
    """

    view: View
    down: Mapping[str, bool] = field(default_factory=dict)
    rests: Mapping[str, Rest | None] = field(default_factory=dict)
    models: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def version(self) -> int:
        return self.view.version

    def listed(self, upstream: str) -> frozenset[str] | None:
        return self.models.get(upstream) or self.view.listed(upstream)

    def told(self, target: Target) -> Told | None:
        return self.view.told(target)

    def loaded(self, upstream: str) -> frozenset[str]:
        return self.view.loaded(upstream)

    def is_down(self, upstream: str) -> bool:
        assumed = self.down.get(upstream)
        return self.view.is_down(upstream) if assumed is None else assumed

    def why_down(self, upstream: str) -> str:
        return self.view.why_down(upstream) if upstream not in self.down else "assumed"

    def paused(self, upstream: str) -> str | None:
        return None if self.down.get(upstream) is False else self.view.paused(upstream)

    def is_open(self, target: Target) -> bool:
        if target.upstream.offline:
            return target.model not in LEVELS
        name = str(target)
        return self.rests[name] is not None if name in self.rests else self.view.is_open(target)

    def rest(self, target: Target) -> Rest | None:
        if target.upstream.offline:
            return RESTING if self.is_open(target) else None
        name = str(target)
        return self.rests[name] if name in self.rests else self.view.rest(target)

    def first_token(self, target: Target) -> float | None:
        return self.view.first_token(target)

    def requests_at(self, upstream: str) -> int:
        return self.view.requests_at(upstream)


_HEALTH = {"down": True, "up": False}
_RESTS = {"open": RESTING, "throttled": THROTTLED, "closed": None}
_LISTS = "lists:"


def assume(view: View, states: Mapping[str, str], upstreams: Mapping[str, Upstream]) -> Assumed:
    """`view`, but for what is said: `down`, `up` or `lists:MODEL,…` of an upstream, `open`, `throttled`, `closed` of a
    target.

    Several states of one name stand with spaces between them. Raises ValueError for a state or an upstream that there
    is not.
    """
    down: dict[str, bool] = {}
    rests: dict[str, Rest | None] = {}
    models: dict[str, frozenset[str]] = {}
    for name, state in ((name, state) for name, several in states.items() for state in several.split()):
        upstream, slash, _ = name.partition("/")
        if upstream not in upstreams:
            raise ValueError(f"the file has no upstream `{upstream[:64]}`{suggest(upstream, upstreams)}")
        if slash and state in _RESTS:
            rests[name] = _RESTS[state]
        elif not slash and state in _HEALTH:
            down[name] = _HEALTH[state]
        elif not slash and state.startswith(_LISTS):
            models[name] = frozenset(state.removeprefix(_LISTS).split(","))
        else:
            raise ValueError(f"`{name}` can be assumed {_wanted(slash)}, not `{state[:64]}`")
    return Assumed(view, down, rests, models)


def _wanted(slash: str) -> str:
    return "`open`, `throttled` or `closed`" if slash else "`down`, `up` or `lists:MODEL,…`"
