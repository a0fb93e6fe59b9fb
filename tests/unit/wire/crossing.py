"""A request on its way to one target, said in few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.adapters.schemas import compile_schema
from proxy.core.decision import Target
from proxy.core.request import Inbound, Tenant
from proxy.wire.crossing import Crossing, cross
from proxy.wire.dialects import UpstreamDialect
from proxy.wire.dialects.openai_chat import DIALECT as CHAT


def put(body: bytes, to: Target, params: Mapping[str, Any] | None = None, spoken: UpstreamDialect = CHAT) -> Crossing:
    """The crossing of a chat completion; answers are held to their form as in production."""
    inbound = Inbound("id", "id", CHAT.name, CHAT.paths[0], {}, body, CHAT.peek(body), Tenant("t"), 0.0)
    return cross(CHAT, spoken, inbound, to, params or {}, 1, compile_schema)
