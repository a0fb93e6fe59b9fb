"""What operators may do: `POST /admin/test` sends a real request, `POST /admin/reload` reads the configuration anew."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.request import Inbound, Tenant
from proxy.engine.journey import Journey
from proxy.engine.pipeline import Engine
from proxy.engine.reload import Reloader
from proxy.routing.facts import AUTO
from proxy.web.asgi import read_body
from proxy.web.captured import CapturedReply
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

    def __init__(self, engine: Engine, chat: InboundDialect, reloader: Reloader) -> None:
        self._engine = engine
        self._chat = chat
        self._reloader = reloader

    async def reload(self, _request: Request) -> Response:
        """Read the configuration anew; 409 and every reason if it stays as it was."""
        done = await self._reloader.reload()
        return json_response(done, 200 if done.ok else 409)

    async def test(self, request: Request) -> Response:
        server = self._engine.live.server
        body = await read_body(request.scope, request.receive, server.max_body, server.body_timeout)
        try:
            trial = msgspec.json.decode(body, type=_Trial)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProxyError(ErrorKind.BAD_REQUEST, f"Send {{prompt, context?, model?}}: {error}") from None
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
