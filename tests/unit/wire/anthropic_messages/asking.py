"""Chat requests in, Messages requests out: the shared way in of these tests, with the vendor's own types as a judge."""

from __future__ import annotations

import json
from typing import Any

import anthropic.types.message_create_params as params
from pydantic import TypeAdapter

from proxy.core.chat import Losses
from proxy.core.decision import Quirks
from proxy.core.family import UNKNOWN, Family
from proxy.routing.families import Families, load
from proxy.wire.dialects.anthropic_messages import DIALECT
from proxy.wire.dialects.openai_chat import DIALECT as CHAT

_TYPES = {
    False: TypeAdapter(params.MessageCreateParamsNonStreaming),
    True: TypeAdapter(params.MessageCreateParamsStreaming),
}
_SAMPLING = ("temperature", "top_p", "top_k")
"""What the types know no more: they are of a newer version of the API than the one that is spoken."""

_PLAIN = Quirks()
_FAMILIES = Families(load())


def family(model: str) -> Family:
    """What the shipped table says of a model."""
    return _FAMILIES.of("claude", model)


def ask(
    *messages: Any, of: Family | str = UNKNOWN, quirks: Quirks = _PLAIN, **fields: Any
) -> tuple[dict[str, Any], list[str]]:
    """The Messages request for a chat, and what is lost. Raises ProxyError, or ValidationError if the vendor would."""
    told = {"model": "m", "messages": list(messages) or [user("hi")], **fields}
    [chat] = CHAT.decode_request(json.dumps(told).encode())
    losses = Losses()
    body = DIALECT.encode_request(chat, quirks, family(of) if isinstance(of, str) else of, losses)
    sent = json.loads(body)
    # What the vendor's types do not know is dropped by reading, so that the two would differ.
    current = {name: value for name, value in sent.items() if name not in _SAMPLING}
    assert _read(_TYPES[sent.get("stream", False)].validate_python(current)) == current
    return sent, [str(loss) for loss in losses.found]


def _read(value: Any) -> Any:
    """The types read lists lazily: this reads them to their ends."""
    if isinstance(value, dict):
        return {name: _read(inner) for name, inner in value.items()}
    if isinstance(value, str | int | float | None):
        return value
    return [_read(inner) for inner in value]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = None, *calls: str, **fields: Any) -> dict[str, Any]:
    """A turn that calls the tools `calls`, with the ids `id_<name>`."""
    made = [call(name) for name in calls]
    return {"role": "assistant", "content": content} | ({"tool_calls": made} if made else {}) | fields


def call(name: str, arguments: str = "{}", identity: str | None = None) -> dict[str, Any]:
    return {
        "id": identity or f"id_{name}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def result(name: str, content: Any = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"id_{name}", "content": content}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def tool(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}} | fields}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
