"""What a family of models does not take of a request, and what is sent instead: a field is changed or left out.

The names are those of chat completions. Values at which a field says nothing (`temperature` 1) always pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.core.chat import Chat, Losses
from proxy.core.family import UNKNOWN, Family

_LEVELS: Final = {"none": 0, "minimal": 1, "low": 2, "medium": 4, "high": 5, "xhigh": 6, "max": 8}
"""How far apart the efforts are, by what vendors do with those they do not know (medium is nearer to high than to
low, xhigh nearer to high than to max); what lies between two goes up."""

_SAMPLING: Final[Mapping[str, Any]] = {"temperature": 1, "top_p": 1, "logprobs": False, "top_logprobs": 0}
_PENALTIES: Final[Mapping[str, Any]] = {"frequency_penalty": 0, "presence_penalty": 0}
_SILENT: Final[Mapping[str, Any]] = {
    **_SAMPLING, **_PENALTIES, "n": 1, "tool_choice": "auto", "parallel_tool_calls": True, "logit_bias": {},
}  # fmt: skip
_LENGTHS: Final = ("max_tokens", "max_completion_tokens")
REFUSED: Final = "the upstream refuses this field"
GATED: Final = ("reasoning_effort", *_SAMPLING, *_PENALTIES, *_LENGTHS)
"""The fields that `changes` asks for."""


@dataclass(frozen=True, slots=True)
class Change:
    """The field `name` becomes `value`, None to be left out."""

    name: str
    value: Any
    why: str


def says_nothing(name: str, value: Any) -> bool:
    """True if the field may be left out without anybody noticing."""
    return value is None or (name in _SILENT and value == _SILENT[name])


def gates_anything(family: Family) -> bool:
    """False if every request passes as it is."""
    return family is not UNKNOWN and (
        family.sampling != "free"
        or not (family.penalties and family.max_tokens)
        or family.efforts is not None
        or family.output is not None
    )


def changes(family: Family, said: Mapping[str, Any]) -> Iterator[Change]:
    """What must become different of the fields that the caller `said`."""
    effort = said.get("reasoning_effort")
    if effort is not None and family.efforts == ():
        yield Change("reasoning_effort", None, "the model does not reason")
    elif isinstance(effort, str) and family.efforts and effort not in family.efforts:
        nearest = nearest_effort(effort, family.efforts)
        yield Change("reasoning_effort", nearest, f"{effort} is not known to the model, {nearest} is sent")
        effort = nearest
    if family.sampling == "never":
        yield from _without(said, _SAMPLING, "the model does not take it")
    elif family.sampling == "without_reasoning" and (effort or family.default_effort) != "none":
        yield from _without(said, _SAMPLING, "the model takes it only with reasoning_effort none")
    if not family.penalties:
        yield from _without(said, _PENALTIES, "the model does not take it")
    for name in _LENGTHS:
        asked = said.get(name)
        if family.output is not None and isinstance(asked, int) and asked > family.output:
            yield Change(name, family.output, f"{asked} is more than the model's {family.output}, which is sent")


def nearest_effort(effort: str, known: tuple[str, ...]) -> str:
    """The effort of `known` that is most like `effort`; of two as near, the greater."""
    wanted = _LEVELS.get(effort, _LEVELS["medium"])
    return min(known, key=lambda one: (abs(_LEVELS.get(one, 0) - wanted), -_LEVELS.get(one, 0)))


def fitted(chat: Chat, family: Family, losses: Losses) -> Chat:
    """`chat` as the family takes it; what became different is among the losses."""
    said = {name: value for name in GATED if (value := getattr(chat, name, None)) is not None}
    found = tuple(changes(family, said))
    for change in found:
        losses.drop(change.name, change.why)
    return replace(chat, **{change.name: change.value for change in found}) if found else chat


def _without(said: Mapping[str, Any], names: Iterable[str], why: str) -> Iterator[Change]:
    for name in names:
        if not says_nothing(name, said.get(name)):
            yield Change(name, None, why)
