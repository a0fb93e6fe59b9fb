"""How long, how hard and how freely a model may think: what each family of models takes of a caller's wishes.

Thinking counts in `max_tokens`. Older models are given a budget of tokens; newer ones an effort, and think as much as
they find fit; some cannot be kept from thinking. While it thinks, a model's sampling cannot be changed and no tool be
forced; the newest take no sampling parameters at all, even at their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.chat import Chat, Losses, Message
from proxy.core.family import Family
from proxy.wire.gates import nearest_effort

USUAL_LIMIT: Final = 8192
"""Tokens of an answer where neither the caller nor the family says; the vendor takes no request without a limit."""

_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_BUDGETS: Final[Mapping[str, int]] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 24576,
    "max": 32768,
}
_SMALLEST_BUDGET: Final = 1024


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The request's `thinking` and `output_config.effort`; `is_on` if the model will think."""

    thinking: Mapping[str, Any] | None = None
    effort: str | None = None
    is_on: bool = False


def limit(chat: Chat, family: Family, losses: Losses) -> int:
    """`max_tokens`: the caller's wish as far as the model goes, else all that the model can."""
    if chat.max_tokens is None:
        return family.output or USUAL_LIMIT
    if family.output is not None and chat.max_tokens > family.output:
        losses.drop("max_tokens", f"the model writes {family.output} tokens at most")
        return family.output
    return chat.max_tokens


def reasoning(chat: Chat, family: Family, most: int, *, forces_tool: bool, losses: Losses) -> Reasoning:
    """How the model is asked to think, in `most` tokens together with its answer.

    `thinking` in the caller's own extension of the request is taken as it is.
    """
    own, wanted = chat.extra.get("thinking"), chat.reasoning_effort
    if isinstance(own, Mapping):
        return Reasoning(own, is_on=own.get("type") != "disabled")
    always = family.thinking == "always"
    if wanted is None:
        return Reasoning(is_on=always)
    if wanted == "none":
        return _not_at_all(family, losses)
    if wanted not in _BUDGETS or family.thinking == "none":
        losses.drop("reasoning_effort", "the model does not know it")
        return Reasoning(is_on=always)
    if family.thinking != "budget":
        return _effort(wanted, family.efforts or _EFFORTS, losses)
    why = _no_budget(chat, most, forces_tool)
    if why is not None:
        losses.drop("reasoning_effort", why)
        return Reasoning()
    tokens = min(_BUDGETS[wanted], max(_SMALLEST_BUDGET, most // 2))
    return Reasoning({"type": "enabled", "budget_tokens": tokens}, is_on=True)


def _not_at_all(family: Family, losses: Losses) -> Reasoning:
    """Most models do not think until they are asked; of the others only those that list `none` can be kept from it."""
    if family.thinking != "always":
        if family.thinking in ("none", "budget") or family.default_effort in (None, "none"):
            return Reasoning()
        if "none" in (family.efforts or ()):
            return Reasoning({"type": "disabled"})
    losses.drop("reasoning_effort", "the model cannot be kept from reasoning; it is asked for little")
    return Reasoning(effort="low", is_on=True)


def _effort(wanted: str, known: tuple[str, ...], losses: Losses) -> Reasoning:
    """An effort that the model knows, and the thinking text, which is left out unless it is asked for."""
    effort = nearest_effort(wanted, known)
    if effort != wanted:
        losses.drop("reasoning_effort", f"{wanted} is not known to the model, {effort} is sent")
    return Reasoning({"type": "adaptive", "display": "summarized"}, effort, is_on=True)


def _no_budget(chat: Chat, most: int, forces_tool: bool) -> str | None:
    if forces_tool:
        return "the model cannot reason where a tool is forced"
    if most <= _SMALLEST_BUDGET:
        return f"reasoning needs max_tokens of more than {_SMALLEST_BUDGET}"
    if _lacks_thinking(chat.messages):
        return "the turn to go on with has lost its thinking blocks"
    return None


def _lacks_thinking(messages: Sequence[Message]) -> bool:
    """True in the middle of a tool loop whose calls came without thinking: it must then go on without."""
    for message in reversed(messages):
        if message.role == "assistant":
            return bool(message.tool_calls) and not message.thinking
        if message.role == "user":
            return False
    return False


def sampling(chat: Chat, family: Family, is_reasoning: bool, losses: Losses) -> dict[str, Any]:
    """`temperature`, `top_p` and `top_k` as far as the model takes them."""
    wishes = {"temperature": chat.temperature, "top_p": chat.top_p, "top_k": chat.top_k}
    wanted: dict[str, Any] = {name: value for name, value in wishes.items() if value is not None}
    why = None
    if family.sampling == "never":
        why = "the model does not take it"
    elif family.sampling == "without_reasoning" and is_reasoning:
        why = "the model does not take it while it reasons"
    if why is not None:
        for name, value in wanted.items():
            if name == "top_k" or value != 1:  # 1 is what the model does anyway
                losses.drop(name, why)
        return {}
    if wanted.get("temperature", 0) > 1:
        losses.drop("temperature", "the model takes 1 at most")
        wanted["temperature"] = 1
    if "temperature" in wanted and wanted.pop("top_p", 1) != 1:
        losses.drop("top_p", "the model takes no top_p beside temperature")
    return wanted
