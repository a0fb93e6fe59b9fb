"""The canonical form to a `generateContent` request; what Gemini has no field for is a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from proxy.core.chat import Chat, Losses
from proxy.core.decision import Quirks
from proxy.core.family import Family
from proxy.wire.dialects.gemini_generate.contents import write_contents
from proxy.wire.dialects.gemini_generate.thinking import thinking_config
from proxy.wire.dialects.gemini_generate.tools import write_tools
from proxy.wire.dialects.openai_chat.write_request import ANSWERED_HERE, ONLY_COMPLETIONS, refuse_completions_only

_MOST_STOPS: Final = 5
_MOST_SEED: Final = 2**31
_TIERS: Final[Mapping[str, str]] = {"default": "standard", "flex": "flex", "priority": "priority", "fast": "priority"}
_SAMPLING: Final = (("temperature", "temperature"), ("top_p", "topP"), ("top_k", "topK"))
_PENALTIES: Final = (("frequency_penalty", "frequencyPenalty"), ("presence_penalty", "presencePenalty"))

_SILENT: Final[Mapping[str, Callable[[Any], bool]]] = {
    "modalities": lambda value: value == ["text"],
    "logit_bias": lambda value: value == {},
    "metadata": lambda value: value == {},
}
"""Fields that ask for nothing but what happens anyway."""

_CONTENT: Final = frozenset({"audio", "modalities", "web_search_options", "moderation"})
"""Fields that are more than tuning knobs: without them it is another request."""

# The fields of this API that callers of the vendor's compatible endpoint may set, under `extra_body.google`.
_NATIVE: Final[Mapping[str, str]] = {"cached_content": "cachedContent", "safety_settings": "safetySettings"}


def encode_request(chat: Chat, quirks: Quirks, family: Family, losses: Losses) -> bytes:
    """The body for either method. Raises ProxyError BAD_REQUEST for content that Gemini cannot be given."""
    refuse_completions_only(chat)
    chat = _without(chat, quirks, losses)
    body = write_contents(chat, family, losses) | write_tools(chat, family, losses)
    config = _config(chat, family, losses) | _response_format(chat)
    thinking = thinking_config(chat.reasoning_effort, family, losses)
    if thinking:
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    tier = chat.service_tier or "auto"
    if tier in _TIERS:
        body["serviceTier"] = _TIERS[tier]
    elif tier != "auto":
        losses.drop("service_tier", "Gemini has no such tier")
    if chat.user is not None:
        losses.drop("user", "Gemini has no field for it")
    return msgspec.json.encode(body | _extra(chat.extra, losses))


def _without(chat: Chat, quirks: Quirks, losses: Losses) -> Chat:
    """The chat without the fields that an upstream's configuration drops."""
    names = {"max_tokens" if name == "max_completion_tokens" else name for name in quirks.drop}
    told = [name for name in sorted(names & _OPTIONAL.keys()) if getattr(chat, name) != _OPTIONAL[name]]
    extra = {name: value for name, value in chat.extra.items() if name not in names}
    for name in (*told, *(name for name in chat.extra if name in names)):
        losses.drop(name, "the upstream refuses this field")
    return replace(chat, extra=extra, **{name: _OPTIONAL[name] for name in told})


_REQUIRED: Final = frozenset({"model", "messages", "stream", "include_usage", "extra"})
_EMPTY: Final = Chat("", ())
_OPTIONAL: Final[Mapping[str, Any]] = {
    name: getattr(_EMPTY, name) for name in Chat.__dataclass_fields__ if name not in _REQUIRED
}


def _config(chat: Chat, family: Family, losses: Losses) -> dict[str, Any]:
    """`generationConfig`, but for the form of the answer and the thinking."""
    config = _knobs(chat, _SAMPLING, losses, None if family.sampling != "never" else "the model samples as it likes")
    config |= _knobs(chat, _PENALTIES, losses, None if family.penalties else "the model refuses penalties")
    if chat.max_tokens is not None:
        config["maxOutputTokens"] = _within(chat.max_tokens, family.output, losses)
    if chat.seed is not None:
        if -_MOST_SEED <= chat.seed < _MOST_SEED:
            config["seed"] = chat.seed
        else:
            losses.drop("seed", "Gemini takes 32 bits")
    if chat.n != 1:
        config["candidateCount"] = chat.n
    stops = [stop for stop in chat.stop if stop]
    if stops:
        config["stopSequences"] = stops[:_MOST_STOPS]
    if len(stops) > _MOST_STOPS:
        losses.drop("stop", f"Gemini takes {_MOST_STOPS} of them", content=True)
    if chat.logprobs:
        config["responseLogprobs"] = True
        if chat.top_logprobs:
            config["logprobs"] = chat.top_logprobs
    return config


def _knobs(chat: Chat, names: Sequence[tuple[str, str]], losses: Losses, refused: str | None) -> dict[str, Any]:
    """Fields that cross under another name, unless the model refuses them."""
    told = {theirs: value for ours, theirs in names if (value := getattr(chat, ours)) is not None}
    if refused is None:
        return told
    for ours, theirs in names:
        if theirs in told:
            losses.drop(ours, refused)
    return {}


def _within(wanted: int, most: int | None, losses: Losses) -> int:
    if most is None or wanted <= most:
        return wanted
    losses.drop("max_completion_tokens", f"the model writes {most} at most")
    return most


def _response_format(chat: Chat) -> dict[str, Any]:
    wanted = chat.response_format
    if wanted is None or wanted.kind == "text":
        return {}
    config: dict[str, Any] = {"responseMimeType": "application/json"}
    if wanted.schema is not None:
        described = {"description": wanted.description} if wanted.description else {}
        config["responseJsonSchema"] = described | dict(wanted.schema)
    return config


def _extra(extra: Mapping[str, Any], losses: Losses) -> dict[str, Any]:
    """Top-level fields out of what has no place in the canonical form; the rest is lost."""
    fields: dict[str, Any] = {}
    for name, value in extra.items():
        if name == "store":
            fields["store"] = value
        elif name == "extra_body":
            fields |= _native(value, losses)
        elif name in ANSWERED_HERE or name in ONLY_COMPLETIONS or _says_nothing(name, value):
            continue
        else:
            losses.drop(name, "Gemini has no such field", content=name in _CONTENT)
    return fields


def _says_nothing(name: str, value: Any) -> bool:
    return name in _SILENT and _SILENT[name](value)


def _native(body: Any, losses: Losses) -> dict[str, Any]:
    google = body.get("google") if isinstance(body, Mapping) else None
    told = google if isinstance(google, Mapping) else {}
    for name in told:
        if name not in _NATIVE:
            losses.drop(f"extra_body.google.{name}", "it is not passed on")
    return {_NATIVE[name]: value for name, value in told.items() if name in _NATIVE}
