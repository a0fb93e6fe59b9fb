"""A stage for faults: two fake upstreams, the proxy between them and a client, and all that anybody saw.

The upstreams are called `one` and `two`; by default a request goes to `one` first. Their default answers say different
things, so that it shows whose words a client reads. Policies live in virtual time (`stage.clock`): pauses pass at once,
and nothing takes any time. Where the time that something took decides, a test sets `stage.clock = SystemClock()`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from proxy.adapters.ledger_memory import MemoryLedger
from proxy.core.clock import Clock, FakeClock
from proxy.core.usage import UsageRecord
from proxy.engine.pipeline import Engine
from proxy.web.inbound import Endpoint
from tests.e2e.conftest import running
from tests.e2e.harness import ADMIN, CANARY, ENVIRONMENT, Answer, Proxy, document, upstream
from tests.upstream import PATIENCE, FakeUpstream, Gate, Script

PROMPT = "prompt-canary-41c7: what is the answer?"
"""What the client asks; it may be seen by upstreams and by nobody else."""
CLIENT_KEY = "sk-client-canary-90ab"
KEYS = {f"FAULT_KEY_{number}": f"sk-pool-canary-{number}" for number in range(3)}
"""More keys of an upstream, for `keys=["${FAULT_KEY_0}", …]`."""
SECRETS = (CANARY, ADMIN, CLIENT_KEY, *KEYS.values())
"""No client, no operator and no log may see any of these."""

SECOND = Script(deltas=("second", " ", "answer"))
FIRST_WORDS, SECOND_WORDS = "Hello, world!", "second answer"
NO_OFFLINE: Mapping[str, Any] = {"offline": {"levels": []}}
"""A section of the configuration: nobody stands in for upstreams that fail."""


@dataclass
class Stage:
    """`answers` is what the client got, `accepted` how many requests must have left a record."""

    one: FakeUpstream
    two: FakeUpstream
    clock: Clock = field(default_factory=FakeClock)
    answers: list[Answer] = field(default_factory=list)
    answered: dict[str, float] = field(default_factory=dict)
    """When the client had the whole answer, in monotonic seconds by the request's id."""
    accepted: int = 0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Those that run while nothing happens."""
    _proxy: Proxy | None = None

    @property
    def proxy(self) -> Proxy:
        assert self._proxy is not None, "nothing is served yet"
        return self._proxy

    @property
    def is_open(self) -> bool:
        return self._proxy is not None

    @property
    def endpoint(self) -> Endpoint:
        endpoint: Endpoint = self.proxy.app.hot["/v1/chat/completions"]
        return endpoint

    @property
    def engine(self) -> Engine:
        return self.endpoint._engine

    @property
    def records(self) -> list[UsageRecord]:
        """What the ledger remembers, in the order of the requests' ends."""
        (ledger,) = (ledger for ledger in self.engine._ledgers if isinstance(ledger, MemoryLedger))
        return list(ledger.latest(10_000))[::-1]

    async def serve(
        self,
        upstreams: Mapping[str, Any] | None = None,
        *,
        one: Mapping[str, Any] | None = None,
        two: Mapping[str, Any] | None = None,
        **sections: Any,
    ) -> Proxy:
        """Start the proxy: over `upstreams`, else over both fakes, whose entries `one` and `two` add to."""
        if upstreams is None:
            upstreams = {"one": upstream(self.one, **(one or {})), "two": upstream(self.two, **(two or {}))}
        config = document(upstreams, **sections)
        environment = ENVIRONMENT | KEYS
        self._proxy = await self.stack.enter_async_context(
            running(config, clock=self.clock, environment=environment)
        )  # fmt: skip
        self.tasks = asyncio.all_tasks()
        return self._proxy

    async def ask(
        self,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        path: str = "/v1/chat/completions",
        **fields: Any,
    ) -> Answer:
        """One chat by a client that reads all of its answer."""
        answer = await self.proxy.post(path, question(stream, fields), _signed(headers))
        return self.note(answer)

    async def ask_until(
        self, frames: int, gate: Gate, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Answer:
        """One streamed chat: opens `gate` once `frames` frames of it have been read, then reads the rest."""
        async with self.proxy.session.post(
            f"{self.proxy.url}/v1/chat/completions", json=question(True, fields), headers=_signed(headers)
        ) as answer:
            body = b""
            for _ in range(frames):
                body += await answer.content.readuntil(b"\n\n")
            gate.open()
            body += await answer.content.read()
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return self.note(Answer(answer.status, headers, body))

    def note(self, answer: Answer) -> Answer:
        """An answer to a request that must have left a record."""
        self.accepted += 1
        self.answers.append(answer)
        self.answered[answer.headers["x-request-id"]] = time.monotonic()
        return answer

    def told(self, number: int = -1) -> tuple[str, ...]:
        """How the tries of a request ended, as `one fault`; the last one's if it is not said which."""
        attempts = self.records[number].attempts
        return tuple(f"{made.upstream} {made.kind.label if made.kind else 'success'}" for made in attempts)

    async def health(self, name: str = "one", model: str = "m") -> Mapping[str, Any]:
        """What `/admin/status` says of a target's breaker."""
        status = await self.proxy.admin("status")
        (row,) = (row for row in status["upstreams"] if row["name"] == name)
        return next((target for target in row["breaker"]["targets"] if target["model"] == model), {"failures": 0})

    async def keys(self, name: str = "one") -> list[Mapping[str, Any]]:
        """What `/admin/status` says of an upstream's keys."""
        status = await self.proxy.admin("status")
        return next(row["key_pool"] for row in status["upstreams"] if row["name"] == name)


def question(stream: bool, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a chat."""
    return {"model": "m", "messages": [{"role": "user", "content": PROMPT}], "stream": stream, **fields}


def _signed(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {"authorization": f"Bearer {CLIENT_KEY}"} | dict(headers or {})


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """A stage; whatever was started on it has been stopped at the end."""
    async with FakeUpstream() as one, FakeUpstream() as two:
        two.default = SECOND
        stage = Stage(one, two)
        async with stage.stack:
            yield stage


async def soon(holds: Any, what: str) -> None:
    """Wait until `holds()`; an assertion that says `what` if that never comes."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110 — what is waited for has no event
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(what) from None
