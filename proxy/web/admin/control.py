"""What operators may do: `POST /admin/test` sends a real request, `POST /admin/reload` reads the configuration anew."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.core.errors import ProxyError
from proxy.core.request import Inbound, Tenant
from proxy.engine.captured import CapturedReply
from proxy.engine.journey import Journey
from proxy.engine.pipeline import Engine
from proxy.engine.reload import Reload, Reloader
from proxy.routing.facts import AUTO
from proxy.web.admin.asked import order_of
from proxy.web.admin.audit import DONE, Book
from proxy.web.inbound import new_request_id
from proxy.web.respond import json_response
from proxy.wire.dialects import InboundDialect

_OPERATOR = Tenant("(operator)")  # no name a file would give


class _Trial(msgspec.Struct, forbid_unknown_fields=True):
    """What the operator sends: a prompt, a system text and a model's name."""

    prompt: str
    context: str | None = None
    model: str = AUTO


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    choices: list[_Choice]


class Control:
    """Actions; each goes through the same engine as everything else."""

    def __init__(self, engine: Engine, chat: InboundDialect, reloader: Reloader, book: Book) -> None:
        self._engine = engine
        self._chat = chat
        self._reloader = reloader
        self._book = book

    async def reload(self, request: Request) -> Response:
        """Read the configuration anew; 409 and every reason if it stays as it was."""
        with self._book.deed(request, "reload") as deed:
            done = await self._reloader.reload()
            deed.subject = done.fingerprint
            deed.tell(_said(done))
        return json_response(done, 200 if done.ok else 409)

    async def test(self, request: Request) -> Response:
        trial = await order_of(request, self._engine.live.server, _Trial, "Send {prompt, context?, model?}")
        journey, reply = await self._ask(trial)
        answer = msgspec.json.decode(bytes(reply.body), type=_Answer).choices[0].message.content
        record = journey.record(self._engine.live.clock.monotonic())
        return json_response(
            {
                "id": record.id,
                "answer": answer,
                "route": record.route,
                "provider": record.upstream,
                "model": record.model,
                "offline": record.offline,
                "latency_ms": round(record.seconds * 1000, 3),
                "attempts": [
                    {"upstream": a.upstream, "model": a.model, "outcome": a.kind.label if a.kind else "success"}
                    for a in record.attempts
                ],
                "tokens": {"prompt": record.usage.prompt, "completion": record.usage.completion},
            }
        )

    async def _ask(self, trial: _Trial) -> tuple[Journey, CapturedReply]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": trial.prompt}]
        if trial.context is not None:
            messages.insert(0, {"role": "system", "content": trial.context})
        body = msgspec.json.encode({"model": trial.model, "messages": messages})
        clock = self._engine.live.clock
        request_id = new_request_id()
        journey = Journey(request_id, request_id, "/admin/test", clock.monotonic(), clock.wall())
        peek = self._chat.peek(body)
        inbound = Inbound(
            request_id, request_id, self._chat.name, "/v1/chat/completions", {}, body, peek, _OPERATOR, journey.started
        )
        reply = CapturedReply()
        try:
            await self._engine.serve(journey, inbound, reply)
        except ProxyError as error:
            journey.end(error.kind, error.status)
            raise
        finally:
            self._engine.settle(journey)
        return journey, reply


def _said(done: Reload) -> str:
    return DONE if done.ok else f"refused: {done.problems[0] if done.problems else 'no reason'}"
