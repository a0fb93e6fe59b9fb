"""The fake's own endpoints, for programs that drive it from outside.

POST /_control/script   {"script": {field: value, …}, "model"?, "path"?, "times"?}   times null: all requests
POST /_control/gate     {"open": name}
POST /_control/reset
GET  /_control/seen     every request: method, path, headers, body, frames, sent, answered, gone, left
GET  /_control/stats    requests, connections (ever), open (now, without the asker's own)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tests.upstream.request import Request
from tests.upstream.script import from_json
from tests.upstream.seen import Seen

if TYPE_CHECKING:
    from tests.upstream.server import FakeUpstream

_PREFIX = "/_control/"


def is_control(request: Request) -> bool:
    return request.path.startswith(_PREFIX)


async def obey(request: Request, fake: FakeUpstream) -> bytes:
    """Do what a control request says; the whole HTTP answer."""
    command = _COMMANDS.get((request.method, request.path.removeprefix(_PREFIX)))
    if command is None:
        return _answer(404, {"error": "no such control"})
    try:
        return _answer(200, command(request.json, fake))
    except (KeyError, TypeError, ValueError) as error:
        return _answer(400, {"error": str(error)})


def _answer(status: int, value: Any) -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} Control\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _script(document: Mapping[str, Any], fake: FakeUpstream) -> dict[str, Any]:
    script = from_json(document["script"], fake.gate)
    choice = {name: document[name] for name in ("model", "path", "times") if name in document}
    fake.script(script, **choice)
    return {"scripted": True}


def _gate(document: Mapping[str, Any], fake: FakeUpstream) -> dict[str, Any]:
    fake.gate(document["open"]).open()
    return {"open": document["open"]}


def _reset(_: Mapping[str, Any], fake: FakeUpstream) -> dict[str, Any]:
    fake.reset()
    return {"reset": True}


def _stats(_: Mapping[str, Any], fake: FakeUpstream) -> dict[str, Any]:
    return {"requests": fake.requests, "connections": fake.connected, "open": len(fake.connections) - 1}


def _seen(_: Mapping[str, Any], fake: FakeUpstream) -> list[dict[str, Any]]:
    return [_shown(seen) for seen in fake.everything]


def _shown(seen: Seen) -> dict[str, Any]:
    return {
        "method": seen.method,
        "path": seen.path,
        "headers": [list(pair) for pair in seen.request.headers],
        "body": seen.body.decode("utf-8", "replace"),
        "connection": seen.connection,
        "arrived": seen.arrived,
        "frames": seen.frames,
        "sent": seen.sent.decode("utf-8", "replace"),
        "answered": seen.answered,
        "gone": seen.gone,
        "left": seen.left,
    }


_COMMANDS: Mapping[tuple[str, str], Callable[[Mapping[str, Any], FakeUpstream], Any]] = {
    ("POST", "script"): _script,
    ("POST", "gate"): _gate,
    ("POST", "reset"): _reset,
    ("GET", "seen"): _seen,
    ("GET", "stats"): _stats,
}
