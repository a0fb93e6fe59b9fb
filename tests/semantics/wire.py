"""Upstreams in memory: a `Transport` that behaves as a test says, in virtual time, and remembers every request.

It keeps the port's promises as the real one does: the timers for the head of an answer and for silence are its own,
`expire` ends a read that waits, and nothing is left open by a cancelled call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import WireRequest, WireResponse

NEVER: Final = 1e9
"""Seconds; longer than any timer."""
LEFT: Final = "LEFT"
"""The fate of a request that the proxy itself gave up."""
OK: Final = "OK"

Piece = tuple[float, bytes | None, str | None]
"""Seconds until it comes, the bytes (None is a reset), and what the answer has come to by then, if it is decided."""


@dataclass(eq=False)
class Sent:
    """One request as the upstream saw it; `id` is its prompt.

    `fate` is OK, LEFT or the class of its failure, None while it is open.
    """

    number: int
    id: str
    upstream: str
    model: str
    key: str
    stream: bool
    behaviour: str
    at: float
    ended: float | None = None
    fate: str | None = None
    words: list[str] = field(default_factory=list)
    """What the model has said so far."""

    @property
    def place(self) -> tuple[str, str]:
        return self.upstream, self.model

    def say(self, count: int) -> list[str]:
        """The next words; no other request of a run has the same."""
        return [f"w{self.number}.{position} " for position in range(count)]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an upstream answers, and the class of reliability.md 1.3 that it stands for (OK: it is a good answer).

    `pieces` make the body. `head` is the seconds until status and headers come. `refused`: no connection is made.
    """

    fate: str
    pieces: Callable[[Sent], Iterator[Piece]]
    head: float = 0.05
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    refused: bool = False


class Wire:
    """Implements `Transport`. `manners` says how each upstream behaves now; upstreams are told apart by their host."""

    def __init__(self, behaviours: Mapping[str, Behaviour]) -> None:
        self.manners: dict[str, str] = {}
        self.sent: list[Sent] = []
        self.log: list[Sent] = []
        """Each request twice: when it came and when it had ended, in the order in which that happened."""
        self.open: set[Answer] = set()
        self._behaviours = behaviours

    def of(self, request_id: str) -> list[Sent]:
        """What was sent for one client's request, in order."""
        return [sent for sent in self.sent if sent.id == request_id]

    async def send(self, request: WireRequest) -> WireResponse:
        if request.method == "GET":
            return self._answer(None, Behaviour(OK, _model_list), request)
        sent = self._note(request)
        behaviour = self._behaviours[sent.behaviour]
        try:
            await _reach(behaviour, request.timeouts.first_byte)
        except UpstreamFailure:
            self.end(sent, "CONNECT" if behaviour.refused else "TIMEOUT")
            raise
        except asyncio.CancelledError:
            self.end(sent, LEFT)
            raise
        return self._answer(sent, behaviour, request)

    def end(self, sent: Sent, fate: str) -> None:
        """The request is over; what comes later changes nothing."""
        if sent.fate is None:
            sent.fate, sent.ended = fate, asyncio.get_running_loop().time()
            self.log.append(sent)

    async def aclose(self) -> None:
        """Whoever got an answer has closed it by now, or left it behind, which shows in `open`."""

    def _note(self, request: WireRequest) -> Sent:
        body = json.loads(request.body)
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        upstream = request.origin.host.partition(".")[0]
        sent = Sent(
            number=len(self.sent),
            id=body["messages"][-1]["content"],
            upstream=upstream,
            model=body["model"],
            key=headers.get("authorization", "").removeprefix("Bearer "),
            stream=bool(body.get("stream")),
            behaviour=self.manners[upstream],
            at=asyncio.get_running_loop().time(),
        )
        self.sent.append(sent)
        self.log.append(sent)
        return sent

    def _answer(self, sent: Sent | None, behaviour: Behaviour, request: WireRequest) -> Answer:
        answer = Answer(self, sent, behaviour, request.timeouts.idle)
        self.open.add(answer)
        return answer


class Answer:
    """Implements `WireResponse`."""

    def __init__(self, wire: Wire, sent: Sent | None, behaviour: Behaviour, idle: float) -> None:
        self.status = behaviour.status
        self.is_complete = False
        self.has_more = False
        self._wire = wire
        self._sent = sent
        self._behaviour = behaviour
        self._pieces = behaviour.pieces(sent or Sent(-1, "", "", "", "", stream=False, behaviour="", at=0.0))
        self._idle = idle
        self._expired: asyncio.Future[ErrorKind] = asyncio.get_running_loop().create_future()

    @property
    def headers(self) -> Mapping[str, str]:
        is_stream = self._sent is not None and self._sent.stream and self.status == 200
        kind = "text/event-stream" if is_stream else "application/json"
        return {"content-type": kind, **self._behaviour.headers}

    async def read(self) -> bytes:
        seconds, data, verdict = next(self._pieces, (0.0, b"", None))
        await asyncio.wait([self._expired], timeout=min(seconds, self._idle))
        if self._expired.done():
            raise self._failure(self._expired.result())
        if seconds > self._idle:
            raise self._failure(ErrorKind.IDLE_TIMEOUT)
        if verdict is not None:
            self._end(verdict)
        if data is None:
            raise UpstreamFailure(ErrorKind.FAULT, "reset")
        self.is_complete = data == b""
        return data

    def expire(self, kind: ErrorKind) -> None:
        if not self._expired.done():
            self._expired.set_result(kind)

    def close(self) -> None:
        self._end(LEFT)
        self._expired.cancel()
        self._wire.open.discard(self)

    def _failure(self, kind: ErrorKind) -> UpstreamFailure:
        self._end("TIMEOUT")
        return UpstreamFailure(kind)

    def _end(self, fate: str) -> None:
        if self._sent is not None:
            self._wire.end(self._sent, fate)


async def _reach(behaviour: Behaviour, patience: float) -> None:
    """Connect, and wait for the head of the answer."""
    if behaviour.refused:
        raise UpstreamFailure(ErrorKind.CONNECT, "refused", sent=False)
    await asyncio.sleep(min(behaviour.head, patience))
    if behaviour.head > patience:
        raise UpstreamFailure(ErrorKind.FIRST_BYTE_TIMEOUT)


def _model_list(_: Sent) -> Iterator[Piece]:
    yield 0.0, json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode(), None


def chunk(sent: Sent, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    """One frame of a streamed answer."""
    document = {
        "id": f"c{sent.number}",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": sent.model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def completion(sent: Sent, words: Sequence[str]) -> bytes:
    """A whole answer."""
    document = {
        "id": f"c{sent.number}",
        "object": "chat.completion",
        "created": 1,
        "model": sent.model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(words)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)},
    }
    return json.dumps(document).encode()
