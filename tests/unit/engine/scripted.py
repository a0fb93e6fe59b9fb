"""The engine over upstreams that follow a script, in virtual time: what waits for hours is over at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from proxy.adapters.local_models import LocalModels
from proxy.adapters.schemas import compile_schema
from proxy.adapters.transport_offline import OfflineTransport
from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.core.ports import WireRequest
from proxy.core.request import Inbound, Tenant
from proxy.core.usage import UsageRecord
from proxy.engine.admission import Admission
from proxy.engine.attempt import Attempts, Ears
from proxy.engine.journey import Journey
from proxy.engine.live import Live
from proxy.engine.pipeline import Engine
from proxy.engine.readiness import Readiness
from proxy.wire import dialects as wire_dialects

CHAT = "/v1/chat/completions"
PING = b": ping\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def whole(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    ).encode()


DONE = b"data: [DONE]\n\n"


@dataclass
class Answer:
    """What an upstream does with a request: the head after `head` seconds, then pieces, each after so many seconds.

    A `failure` comes in place of the head.
    """

    head: float = 0.0
    pieces: Sequence[tuple[float, bytes]] = ()
    failure: ErrorKind | None = None
    status: int = 200


def says(text: str, after: float = 0.0) -> Answer:
    """A stream whose first word comes `after` seconds."""
    return Answer(0.0, [(after, delta(text)), (0.0, delta("", "stop")), (0.0, DONE)])


def gives(text: str, after: float = 0.0) -> Answer:
    """A whole answer."""
    return Answer(after, [(0.0, whole(text))])


def fails(after: float = 0.0, kind: ErrorKind = ErrorKind.FAULT, status: int = 200) -> Answer:
    return Answer(after, (), kind if status == 200 else None, status)


NEVER = Answer(1e9)


@dataclass
class Call:
    """One request that an upstream got; `ended` is when the proxy let go of it. Times are seconds of the loop."""

    host: str
    at: float
    ended: float | None = None


class _Response:
    headers: Mapping[str, str] = {}

    def __init__(self, answer: Answer, call: Call) -> None:
        self.status = answer.status
        self._pieces = list(answer.pieces)
        self._call = call
        self._expired: asyncio.Future[ErrorKind] = asyncio.get_running_loop().create_future()

    @property
    def is_complete(self) -> bool:
        return not self._pieces

    @property
    def has_more(self) -> bool:
        return False

    async def read(self) -> bytes:
        if not self._pieces:
            return b""
        await asyncio.wait((self._expired,), timeout=self._pieces[0][0])
        if self._expired.done():
            raise UpstreamFailure(self._expired.result())
        return self._pieces.pop(0)[1]

    def expire(self, kind: ErrorKind) -> None:
        if not self._expired.done():
            self._expired.set_result(kind)

    def close(self) -> None:
        self._expired.cancel()
        self._call.ended = self._call.ended or asyncio.get_running_loop().time()


class ScriptedTransport:
    """A `Transport`: each host takes its answers in turn, the last one again and again."""

    def __init__(self, scripts: Mapping[str, Sequence[Answer]]) -> None:
        self.scripts = {host: list(answers) for host, answers in scripts.items()}
        self.calls: list[Call] = []

    async def send(self, request: WireRequest) -> _Response:
        loop = asyncio.get_running_loop()
        host = request.origin.host
        script = self.scripts[host]
        answer = script.pop(0) if len(script) > 1 else script[0]
        call = Call(host, loop.time())
        self.calls.append(call)
        is_answered = False
        try:
            async with asyncio.timeout(request.timeouts.first_byte):
                await asyncio.sleep(answer.head)
            if answer.failure is not None:
                raise UpstreamFailure(answer.failure)
            is_answered = True
        except TimeoutError:
            raise UpstreamFailure(ErrorKind.FIRST_BYTE_TIMEOUT) from None
        finally:
            if not is_answered:
                call.ended = loop.time()
        return _Response(answer, call)

    async def aclose(self) -> None:
        """Nothing is open."""

    def times(self, host: str) -> list[float]:
        """When it was asked, in seconds after the beginning of all."""
        return [call.at - 1000.0 for call in self.calls if call.host == host]


class _Reply:
    started = False

    def __init__(self) -> None:
        self.body = bytearray()

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        self.body += data

    async def finish(self, data: bytes = b"") -> None:
        self.body += data


class LoopClock(FakeClock):
    """The virtual loop's time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class Told:
    """What came of one request: the answer's text or the error, its receipt, and the record."""

    text: str = ""
    receipt: Mapping[str, str] = field(default_factory=dict)
    error: ProxyError | None = None
    record: UsageRecord | None = None

    @property
    def kinds(self) -> list[str]:
        """How each attempt ended: `one:hedged`, with a `+` where it was started beside another."""
        assert self.record is not None
        return [
            f"{'+' * made.is_hedge}{made.upstream}:{made.kind.label if made.kind else 'ok'}"
            for made in self.record.attempts
        ]


class Stage:
    """One engine. `upstreams` maps names to what else is written of them; each is at a host of its name."""

    def __init__(
        self, transport: ScriptedTransport, upstreams: Mapping[str, Mapping[str, Any]], route: Mapping[str, Any]
    ) -> None:
        at = {
            name: {"provider": "compatible", "url": f"https://{name}/v1", "keys": [], "local": False, **more}
            for name, more in upstreams.items()
        }
        routes = [{"name": "all", "match": {"model": "*"}, "use": [f"{name}/m" for name in upstreams], **route}]
        config = {"upstreams": at, "routes": routes, "offline": {"levels": []}}
        clock = LoopClock()
        self.live = Live(loads(json.dumps(config).encode(), "routes.yaml", {}), clock)
        self.admission = Admission(clock)
        self.records: list[UsageRecord] = []
        found = wire_dialects.discover()
        self._dialect = wire_dialects.heard(found)["openai_chat"]
        ready = Readiness(self.live, LocalModels(transport))
        offline = partial(OfflineTransport, {}, lambda _schema, _value: False)
        ears = Ears(self.live.health.hear, self.admission.began)
        attempts = Attempts(transport, offline, found, ready, clock, compile_schema, ears)
        self.engine = Engine(self.live, self.admission, attempts, wire_dialects.heard(found), [self.live, self], clock)

    def write(self, record: UsageRecord) -> None:
        self.records.append(record)

    async def ask(self, **fields: Any) -> Told:
        """One request to its end, whichever."""
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()
        clock = self.live.clock
        journey = Journey("r", "r", CHAT, clock.monotonic(), clock.wall())
        peek = self._dialect.peek(body)
        inbound = Inbound("r", "r", "openai_chat", CHAT, {}, body, peek, Tenant("t"), journey.started)
        reply, told = _Reply(), Told()
        try:
            await self.engine.serve(journey, inbound, reply)
            told.text = _text(bytes(reply.body))
        except ProxyError as error:
            journey.end(error.kind, error.status)
            told.error = error
        except asyncio.CancelledError:
            journey.end(ErrorKind.CLIENT_GONE, 499)
            raise
        finally:
            self.engine.settle(journey)
            told.record = self.records[-1]
        told.receipt = {name.decode(): value.decode() for name, value in journey.receipt()}
        return told


def _text(body: bytes) -> str:
    if body.startswith(b"{"):
        return str(json.loads(body)["choices"][0]["message"]["content"])
    frames = [frame.removeprefix(b"data: ") for frame in body.split(b"\n\n") if frame.startswith(b"data: {")]
    chunks = map(json.loads, frames)
    return "".join(
        chunk["choices"][0]["delta"].get("content", "") if "choices" in chunk else "[broken]" for chunk in chunks
    )
