"""Anthropic: its own Messages protocol; the vendor's OpenAI layer loses too much to be used.

Its list of models says what each takes (its SDK 2.11: `ModelInfo`, read 2026-11-20).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from proxy.core.decision import Meter
from proxy.core.family import Thinking, Told
from proxy.core.secret import Secret
from proxy.providers import CLOUD, Headers, Provider
from proxy.wire.dialects.anthropic_messages.errors import classify
from proxy.wire.model_list import at, count, entries, flag

# The newer version refuses temperature, top_p and top_k even at their defaults, which older models still take.
_VERSION = (b"anthropic-version", b"2023-06-01")


def _auth(key: Secret) -> Headers:
    return ((b"x-api-key", key.reveal().encode("ascii")), _VERSION) if key else (_VERSION,)


_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def _supports(model: Mapping[str, Any], *place: str) -> bool | None:
    return flag(at(model, "capabilities", *place, "supported"))


def _efforts(model: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The levels, and `none` where thinking can be switched off by name."""
    known = [level for level in _EFFORTS if _supports(model, "effort", level)]
    if known and _supports(model, "thinking", "types", "disabled"):
        known.insert(0, "none")
    return tuple(known) or None


def _thinking(model: Mapping[str, Any]) -> Thinking | None:
    """How it is asked to think; that a model cannot be kept from it at all, the list does not say."""
    adaptive, enabled, disabled = (_supports(model, "thinking", "types", kind) for kind in _TYPES)
    if _supports(model, "thinking") is False:
        return "none"
    if adaptive:
        return "adaptive" if disabled else None
    return "budget" if enabled else None


_TYPES = ("adaptive", "enabled", "disabled")


def read_models(body: bytes) -> Mapping[str, Told]:
    """See `ReadModels`."""
    return {
        model["id"]: Told(
            context=count(model.get("max_input_tokens")),
            output=count(model.get("max_tokens")),
            images=_supports(model, "image_input"),
            json_schema=_supports(model, "structured_outputs"),
            efforts=_efforts(model),
            thinking=_thinking(model),
        )
        for model in entries(body, "data", "id")
    }


def _meter(counts: Literal["requests", "tokens"], limit: str) -> Meter:
    """By the vendor's "Rate limits"; resets are RFC 3339 moments."""
    name = f"anthropic-ratelimit-{limit}"
    return Meter(counts, f"{name}-remaining", f"{name}-reset", f"{name}-limit")


PROVIDER = Provider(
    name="anthropic",
    base_url="https://api.anthropic.com",
    speaks={"anthropic_messages": "/v1/messages"},
    auth=_auth,
    classify=classify,
    meters=(
        _meter("requests", "requests"),
        _meter("requests", "output-tokens"),  # without any no answer can begin
        _meter("tokens", "input-tokens"),
        _meter("tokens", "tokens"),
    ),
    timeouts=replace(CLOUD, progress=180.0),  # a tool's input may be held back until it is whole
    key_env="ANTHROPIC_API_KEY",
    models_path="/v1/models?limit=1000",  # without it, the first twenty
    reads_models=read_models,
)
