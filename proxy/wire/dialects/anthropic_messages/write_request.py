"""The canonical form to a Messages request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.core.chat import Chat, Losses
from proxy.core.decision import Quirks
from proxy.core.family import Family
from proxy.wire.dialects.anthropic_messages.blocks import Block
from proxy.wire.dialects.anthropic_messages.schema import restrict
from proxy.wire.dialects.anthropic_messages.tools import toolbox
from proxy.wire.dialects.anthropic_messages.tuning import limit, reasoning, sampling
from proxy.wire.dialects.anthropic_messages.turns import turns
from proxy.wire.dialects.openai_chat.write_request import (
    ANSWERED_HERE,
    ONLY_COMPLETIONS,
    apply_quirks,
    refuse_completions_only,
)

LONG_ANSWER: Final = 21_333
"""Tokens. An answer that may be longer is asked for as a stream, or it might outlast the vendor's patience with a
silent connection: its SDK refuses to ask for the whole (3600 s · max_tokens / 128 000 > 600 s)."""

_EXTENSIONS: Final = ("cache_control", "container", "diagnostics", "inference_geo", "speed", "user_profile_id")
"""The vendor's own fields, which a caller may add to an OpenAI request."""

_TIERS: Final = {"auto": "auto", "priority": "auto", "default": "standard_only", "standard_only": "standard_only"}
_READ: Final = frozenset({"thinking", "safety_identifier", *_EXTENSIONS})
_NO_EQUIVALENT: Final[Sequence[tuple[str, Callable[[Any], bool]]]] = (
    ("n", lambda value: value != 1),
    ("seed", lambda value: value is not None),
    ("logprobs", bool),
    ("top_logprobs", bool),
    ("frequency_penalty", bool),
    ("presence_penalty", bool),
)
"""Fields that nothing stands for, and whether a value would have changed anything."""

_PERSONAL: Final = re.compile(r"\s*(?:[^@\s]+@[^@\s]+\.[^@\s]+|\+?[\d\s()-]{7,})\s*")
_MOST_BREAKPOINTS: Final = 4


def encode_request(chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
    """The body for an upstream; raises ProxyError BAD_REQUEST for content that cannot be represented."""
    refuse_completions_only(chat)
    told = turns(chat, family, losses)
    tools = toolbox(chat, family, losses)
    most = limit(chat, family, losses)
    thought = reasoning(chat, family, most, forces_tool=tools.forces, losses=losses)
    form = _format(chat, losses)
    system = [*told.system, *([{"type": "text", "text": tools.hint}] if tools.hint else [])]
    output = {"effort": thought.effort, "format": form}
    fields = {
        "model": chat.model,
        "max_tokens": most,
        "system": system,
        "messages": told.messages,
        "tools": list(tools.tools),
        "tool_choice": tools.choice,
        "thinking": thought.thinking,
        "output_config": {name: value for name, value in output.items() if value is not None},
        **sampling(chat, family, thought.is_on, losses),
        "stop_sequences": _stops(chat, losses),
        "metadata": _metadata(chat, losses),
        "service_tier": _tier(chat, losses),
        "stream": chat.stream or most > LONG_ANSWER,
        **{name: chat.extra[name] for name in _EXTENSIONS if name in chat.extra},
    }
    _note_lost(chat, losses)
    said = {name: value for name, value in fields.items() if _says(value)}
    _thin_out(said, losses)
    apply_quirks(quirks, said, losses)
    return msgspec.json.encode(said)


def _says(value: Any) -> bool:
    """False for what is as good as left out; zero says something."""
    return value is not None and value is not False and value != [] and value != {}


def _format(chat: Chat, losses: Losses) -> Mapping[str, Any] | None:
    """`output_config.format`; JSON without a schema is emulated before a request comes here."""
    wanted = chat.response_format
    if wanted is None or wanted.schema is None:
        return None
    schema, told = restrict(wanted.schema)
    for keyword in told:
        losses.drop("response_format.json_schema.schema", f"{keyword} is told to the model, not enforced")
    return {"type": "json_schema", "schema": schema}


def _stops(chat: Chat, losses: Losses) -> list[str]:
    stops = [stop for stop in chat.stop if stop.strip()]
    if len(stops) < len(chat.stop):
        losses.drop("stop", "the model does not stop at blanks alone")
    return stops


def _metadata(chat: Chat, losses: Losses) -> Mapping[str, str]:
    """`user_id`: an opaque name; the vendor wants no e-mail addresses and telephone numbers."""
    told = chat.extra.get("safety_identifier")
    name, value = ("safety_identifier", told) if isinstance(told, str) else ("user", chat.user)
    if not value:
        return {}
    if _PERSONAL.fullmatch(value):
        losses.drop(name, "the vendor wants no address or telephone number")
        return {}
    return {"user_id": value}


def _tier(chat: Chat, losses: Losses) -> str | None:
    tier = _TIERS.get(chat.service_tier or "")
    if chat.service_tier and tier is None:
        losses.drop("service_tier", f"the vendor has no {chat.service_tier} tier")
    return tier


def _note_lost(chat: Chat, losses: Losses) -> None:
    for name, matters in _NO_EQUIVALENT:
        if matters(getattr(chat, name)):
            losses.drop(name, "there is no equivalent", content=name == "n")
    for name in chat.extra:
        if name not in _READ and name not in ANSWERED_HERE and name not in ONLY_COMPLETIONS:
            losses.drop(name, "there is no equivalent")


def _thin_out(fields: Mapping[str, Any], losses: Losses) -> None:
    """The vendor takes four cache breakpoints; the last ones hold the longest prefixes."""
    spare = _MOST_BREAKPOINTS - ("cache_control" in fields)
    marked = [one for one in _marked(fields) if "cache_control" in one]
    for one in marked[: max(0, len(marked) - spare)]:
        del one["cache_control"]
        losses.drop("prompt_cache_breakpoint", f"the vendor takes {_MOST_BREAKPOINTS} breakpoints")


def _marked(fields: Mapping[str, Any]) -> Iterator[Block]:
    """Everything that may carry a breakpoint, in the order in which the vendor reads it."""
    yield from fields.get("tools", ())
    yield from fields.get("system", ())
    for turn in fields["messages"]:
        yield from turn["content"]
