"""A simulated local server: models on a disk, a memory with a ceiling, loads that take until a gate opens.

One subclass per product (in `dialects/`) gives the wire format of its native API; `FakeUpstream(...).simulate(it)` asks
it first. Everything that is no business of its own is left to the fake's scripts.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.upstream.request import Request
from tests.upstream.script import PATIENCE, Gate, Script
from tests.upstream.seen import Seen


@dataclass(frozen=True)
class Model:
    """On the disk; `size` in GB, `longest` context in tokens."""

    name: str
    size: int = 4
    longest: int = 131072
    kind: str = "llm"


@dataclass(frozen=True)
class Loaded:
    """In memory, under the instance's id."""

    model: Model
    context: int


class NoMemory(Exception):
    """The ceiling would be passed."""


@dataclass
class LocalServer(ABC):
    """`loading` is a gate that every load has to pass, None lets them through at once. `broken` makes loads fail.

    A `stubborn` server ends a load although nobody waits for it any more.
    """

    models: dict[str, Model]
    ceiling: int = 1000
    jit: bool = False
    loading: Gate | None = None
    broken: str | None = None
    stubborn: bool = False
    default_context: int = 4096
    loaded: dict[str, Loaded] = field(default_factory=dict)
    loads: list[tuple[str, int | None]] = field(default_factory=list)
    """Every load that was asked for, with its context."""
    aborted: list[str] = field(default_factory=list)
    """Loads whose caller left before they were done."""
    unloads: list[str] = field(default_factory=list)
    pulls: list[str] = field(default_factory=list)
    evicted_busy: list[str] = field(default_factory=list)
    """Unloads of models that were answering just then: there must be none."""
    peak: int = 0
    seen: Callable[[], Iterable[Seen]] = field(default=list, repr=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @abstractmethod
    async def answer(self, request: Request) -> Script | None:
        """The answer to a request of the native API; None for all others."""

    @property
    def used(self) -> int:
        return sum(loaded.model.size for loaded in self.loaded.values())

    def find(self, name: str) -> Model | None:
        return self.models.get(name)

    def put(self, name: str, context: int | None = None) -> str:
        """Into memory, as its user would do it at the machine; the instance's id."""
        model = self.models[name]
        taken = {loaded.model.name for loaded in self.loaded.values()}
        instance = name if name not in taken else f"{name}:{len(self.loaded) + 1}"
        self.loaded[instance] = Loaded(model, context or self.default_context)
        self.peak = max(self.peak, self.used)
        self.mark()
        return instance

    async def load(self, name: str, context: int | None = None) -> str:
        """What the API's load does: wait for the gate, then take memory. Raises NoMemory."""
        self.loads.append((name, context))
        self.mark()
        if self.used + self.models[name].size > self.ceiling:
            raise NoMemory
        if self.loading is not None:
            try:
                await self.loading.passage()
            except asyncio.CancelledError:
                self.aborted.append(name)
                if self.stubborn:
                    self.put(name, context)
                self.mark()
                raise
        return self.put(name, context)

    def unload(self, instance: str) -> bool:
        """What the API's unload does; false if there is no such instance."""
        self.unloads.append(instance)
        loaded = self.loaded.pop(instance, None)
        if loaded is not None and self.is_answering(loaded.model.name):
            self.evicted_busy.append(instance)
        self.mark()
        return loaded is not None

    def is_answering(self, model: str) -> bool:
        """True while a prompt to the model is under way."""
        return any(
            seen.path.endswith("completions")
            and seen.request.json.get("model") == model
            and seen.answered is None
            and seen.gone is None
            for seen in self.seen()
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is true of this server."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await self._changed.wait()

    def mark(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def reply(value: Any, status: int = 200) -> Script:
    """A JSON answer."""
    return Script(status=status, body=json.dumps(value).encode())
