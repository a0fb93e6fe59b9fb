"""Which models one server has in memory, which of them are ours, and what to do next so that a model is ready.

Rules:
    1. What is in memory is used as it is, whoever loaded it; only what we loaded is ever unloaded.
    2. A model in use, or waited for, is not unloaded. One of ours stays `min_stay` before it makes room for another.
    3. Room is made where the server refused for want of memory, or at our own limit: the longest unused goes first.
    4. One of ours whose context is too short for those who wait is loaded anew, longer, once nobody uses it.
    5. An idle model of ours is unloaded after `ttl`.
    6. What the server told counts for `TRUST` seconds, but it is asked anew before anything is changed, for others may
       load and unload too: so there are no two copies.

Pure: `now` is monotonic seconds, and what is to be done is returned as a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from proxy.core.local import Instance, Keep, LocalModel, as_named

TRUST = 10.0
SHORTEST = 4096
"""Tokens; no model is loaded with less context, unless it has less."""

_MARGIN = 1.25  # the prompt's length is an estimate
_ANSWER = 1024  # tokens kept free for an answer whose length the caller left open


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is in memory and long enough."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the server what it has."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The server does not have the model."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load it, with a context of so many tokens; None leaves the length to the server."""

    context: int | None


@dataclass(frozen=True, slots=True)
class Unload:
    """First unload this one."""

    model: str
    instance: Instance


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done before something changes, or before `until`."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Full:
    """There is no room, and nothing of ours that could make some."""


Step = Ready | Ask | Absent | Load | Unload | Wait | Full


@dataclass(frozen=True, slots=True)
class _Home:
    """A model in memory; `since` and `used` (the end of the last use) are monotonic seconds."""

    model: str
    instance: Instance
    is_ours: bool
    since: float
    used: float


def length_for(prompt: int, answer: int | None) -> int:
    """The context length for a prompt of about `prompt` tokens and an answer of at most `answer`.

    Doubled from SHORTEST until both fit, so that a growing conversation seldom needs another load.
    """
    wanted = int(prompt * _MARGIN) + (_ANSWER if answer is None else answer)
    length = SHORTEST
    while length < wanted:
        length *= 2
    return length


class Residence:
    """The memory of one server, as far as we know it. `canonical` makes one of several names of a model.

    Who wants a model calls `join`, follows `step` until it is Ready, then `enter`s and at the end `leave`s; who gives
    up on the way calls `quit`.
    """

    def __init__(self, canonical: Callable[[str], str] = as_named, *, sizes_context: bool = True) -> None:
        self._canonical = canonical
        self._sizes_context = sizes_context
        self._known: dict[str, LocalModel] = {}
        self._homes: dict[str, _Home] = {}
        self._asked_at: float | None = None
        self._claims: dict[str, float] = {}
        self._waiting: Counter[str] = Counter()
        self._using: Counter[str] = Counter()
        self._wished: dict[str, int] = {}

    @property
    def loaded(self) -> frozenset[str]:
        """The models in memory, by the server's names."""
        return frozenset(home.model for home in self._homes.values())

    @property
    def owned(self) -> frozenset[str]:
        """Those of them that we loaded."""
        return frozenset(home.model for home in self._homes.values() if home.is_ours)

    @property
    def instances(self) -> frozenset[str]:
        """What is in memory, by the ids of instances."""
        return frozenset(self._homes)

    @property
    def has_claims(self) -> bool:
        """True while the server may still be loading what we asked for and did not wait for."""
        return bool(self._claims)

    def is_busy(self, model: str) -> bool:
        """True while one of our requests uses the model or waits for it."""
        name = self._canonical(model)
        return bool(self._using[name] or self._waiting[name])

    def join(self, model: str, prompt: int = 0, answer: int | None = None) -> None:
        """Somebody wants the model for a prompt of so many tokens."""
        name = self._canonical(model)
        self._waiting[name] += 1
        self._wished[name] = max(self._wished.get(name, 0), length_for(prompt, answer))

    def enter(self, model: str) -> None:
        """Who joined begins to use it."""
        self.quit(model)
        self._using[self._canonical(model)] += 1

    def quit(self, model: str) -> None:
        """Who joined waits no more."""
        name = self._canonical(model)
        self._waiting[name] -= 1
        if not self._waiting[name]:
            del self._waiting[name]
            self._wished.pop(name, None)

    def leave(self, model: str, now: float) -> None:
        """The use is over."""
        name = self._canonical(model)
        self._using[name] -= 1
        if not self._using[name]:
            del self._using[name]
        self._touch(name, now)

    def observe(self, models: Iterable[LocalModel], now: float) -> None:
        """What the server says it has. What we asked for and find loaded is ours, even if nobody waited to the end."""
        self._known = {self._canonical(model.name): model for model in models}
        before, self._homes = self._homes, {}
        for name, model in self._known.items():
            for instance in model.instances:
                home = before.get(instance.id)
                if home is None:
                    is_ours = self._claims.pop(name, now) > now
                    home = _Home(model.name, instance, is_ours, now, now)
                context = instance.context or home.instance.context  # not every server repeats what it was told
                self._homes[instance.id] = replace(home, instance=replace(instance, context=context))
        self._claims = {name: until for name, until in self._claims.items() if until > now}
        self._asked_at = now

    def doubt(self) -> None:
        """What we know may be wrong: ask before the next use."""
        self._asked_at = None

    def claim(self, model: str, until: float) -> None:
        """We are about to ask for the model: if it appears before `until`, it is ours."""
        self._claims[self._canonical(model)] = until

    def disclaim(self, model: str) -> None:
        """The server refused to load it."""
        self._claims.pop(self._canonical(model), None)

    def settle(self, model: str, instance: Instance, now: float) -> None:
        """It is loaded, and it is ours."""
        name = self._canonical(model)
        self._claims.pop(name, None)
        known = self._known.get(name)
        self._homes[instance.id] = _Home(known.name if known else model, instance, True, now, now)

    def gone(self, instance: str) -> None:
        """It was unloaded."""
        self._homes.pop(instance, None)

    def step(self, model: str, keep: Keep, now: float, *, since: float, crowded: bool = False) -> Step:
        """What to do so that the model is ready.

        `since` is when the way to it began: what was told before is enough to use a model, not to change what is in
        memory. `crowded` if the server has just refused the model for want of room.
        """
        name = self._canonical(model)
        if self._asked_at is None or now - self._asked_at > TRUST:
            return Ask()
        context = self._context(name, keep)
        home = self._home(name)
        if home is not None and self._is_enough(home, context):
            return Ready()
        if self._asked_at < since:
            return Ask()
        if home is not None:
            busy = self._using[name] or home.instance.is_busy
            return Wait(None) if busy else Unload(home.model, home.instance)
        if name not in self._known:
            return Absent()
        if crowded or (keep.most is not None and len(self.owned) >= keep.most):
            return self._make_room(keep, now)
        return Load(context)

    def is_at_hand(self, model: str, keep: Keep) -> bool:
        """True if the model was ready when the server was last asked, however long ago, and nothing speaks against it.

        That must do while the server is loading another one: nobody changes anything meanwhile but who loads.
        """
        name = self._canonical(model)
        home = self._home(name)
        return self._asked_at is not None and home is not None and self._is_enough(home, self._context(name, keep))

    def due(self, keep: Keep, now: float) -> tuple[Unload, ...]:
        """What has been idle for the time to live."""
        if keep.ttl is None:
            return ()
        return tuple(Unload(home.model, home.instance) for home in self._idle() if home.used + keep.ttl <= now)

    def next_due(self, keep: Keep) -> float | None:
        """When to look again for what is due; None if nothing can be before something changes."""
        if keep.ttl is None:
            return None
        return min((home.used + keep.ttl for home in self._idle()), default=None)

    def put_off(self, instance: str, now: float) -> None:
        """It could not be unloaded now: as if it had just been used."""
        home = self._homes.get(instance)
        if home is not None:
            self._homes[instance] = replace(home, used=now)

    def find(self, model: str) -> tuple[Instance, ...]:
        """The instances of a model in memory, its own name or an instance's."""
        name = self._canonical(model)
        return tuple(home.instance for home in self._homes.values() if self._answers_to(home, name))

    def is_another(self, asked: str, told: str) -> bool:
        """True if the server knows both names, and means different models by them.

        A name that it does not know may be an alias.
        """
        ours, theirs = self._meant_by(asked), self._meant_by(told)
        return bool(ours and theirs) and ours.isdisjoint(theirs)

    def _meant_by(self, name: str) -> frozenset[str]:
        """The models that the name may stand for, by key or by instance; behind an `@` stands a variant of the same."""
        key = self._canonical(_without_variant(name))
        by_key = (known for known in self._known if _without_variant(known) == key)
        by_id = (self._canonical(home.model) for id_, home in self._homes.items() if id_ == name)
        return frozenset((*by_key, *by_id))

    def _context(self, name: str, keep: Keep) -> int | None:
        if not self._sizes_context:
            return None
        known = self._known.get(name)
        longest = known.longest if known else None
        if keep.context is not None:
            return keep.context if longest is None else min(keep.context, longest)
        return None if longest is None else min(self._wished.get(name, SHORTEST), longest)

    def _home(self, name: str) -> _Home | None:
        """The longest instance that answers to the name."""
        homes = [home for home in self._homes.values() if self._answers_to(home, name)]
        return max(homes, key=lambda home: home.instance.context or 0, default=None)

    def _answers_to(self, home: _Home, name: str) -> bool:
        return name in (self._canonical(home.model), home.instance.id)

    def _is_enough(self, home: _Home, context: int | None) -> bool:
        """True if its context is long enough, is not known, or is not ours to change."""
        has = home.instance.context
        return not home.is_ours or has is None or context is None or context <= has

    def _idle(self) -> list[_Home]:
        """Ours, and of no use to anybody at present; the longest unused first."""
        idle = [
            home
            for home in self._homes.values()
            if home.is_ours and not home.instance.is_busy and not self.is_busy(home.model)
        ]
        return sorted(idle, key=lambda home: home.used)

    def _make_room(self, keep: Keep, now: float) -> Step:
        idle = self._idle()
        for home in idle:
            if home.since + keep.min_stay <= now:
                return Unload(home.model, home.instance)
        if not self.owned:
            return Full()
        return Wait(min((home.since + keep.min_stay for home in idle), default=None))

    def _touch(self, name: str, now: float) -> None:
        for id_, home in self._homes.items():
            if self._answers_to(home, name):
                self._homes[id_] = replace(home, used=now)


def _without_variant(name: str) -> str:
    return name.partition("@")[0]
