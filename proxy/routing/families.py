"""What a model can take, by the family its name belongs to and by what its upstream says of it: a table of facts."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib import resources
from typing import Annotated, Any

from pydantic import Field

from proxy.core.decision import Target
from proxy.core.errors import ErrorKind
from proxy.core.family import SILENT, UNKNOWN, ChatTools, Family, Sampling, Thinking, Told
from proxy.fields import Count, Many, Section
from proxy.routing.contents import MOST_TOKENS_PER_BYTE
from proxy.routing.facts import Facts
from proxy.routing.globs import Glob, Matches, compile_glob, compile_globs
from proxy.routing.names import AS_ASKED

_REMEMBERED = 1024
_LONGEST_NAME = 256
_FEATURES = ("images", "tools")
_FORMS = ("json_schema", "json_object")
_SETS = ("lacks", "no_forms")
_FACTS = tuple(field.name for field in fields(Family) if field.name not in _SETS)


class FamilyConfig(Section):
    """What the models whose names match can take; what is left out is assumed to work."""

    context: Count | None = None
    """Tokens of a prompt, at most."""
    images: bool | None = None
    """Whether a message may hold images."""
    tools: bool | None = None
    """Whether the model can call tools."""
    json_schema: bool | None = None
    """Whether it can be held to a JSON schema; else it is asked for one in words, and the proxy checks its answer."""
    json_object: bool | None = None
    """Whether it can be held to JSON; else likewise."""
    output: Count | None = None
    """Tokens of an answer, at most."""
    sampling: Sampling | None = None
    """Whether temperature, top_p and their like are accepted: `free`, `without_reasoning` or `never`."""
    efforts: Many[str] | None = None
    """The values of `reasoning_effort` that it knows."""
    default_effort: str | None = None
    """The effort in force when the caller is silent."""
    thinking: Thinking | None = None
    """How it is asked to think: `none`, `budget`, `level`, `adaptive` or `always`."""
    prefill: bool | None = None
    """Whether a last assistant message is continued. Only where this is `true` is a model asked to go on with an answer
    that broke."""
    forced_tools: bool | None = None
    """Whether a tool call may be required."""
    mid_system: bool | None = None
    """Whether system messages may stand in the middle of a conversation."""
    penalties: bool | None = None
    """Whether frequency and presence penalties are accepted."""
    chat_tools: ChatTools | None = None
    """Whether function tools are accepted over chat completions: `yes`, `without_reasoning` or `no`."""
    only_responses: bool | None = None
    """Whether the model is served by the responses endpoint alone."""
    completions: bool | None = None
    """Whether it is served by legacy completions; else those are put to it as chats."""
    max_tokens: bool | None = None
    """Whether chat completions may say `max_tokens`; else it becomes `max_completion_tokens`."""
    tool_ids: bool | None = None
    """Whether tool calls and their results carry ids."""
    signatures: bool | None = None
    """Whether tool calls must return with the signature they came with."""
    tools_in_form: bool | None = None
    """Whether it can be held to JSON or a schema while it is offered tools."""
    price: str | None = None
    """The name whose price it has, where `prices` has none for its own."""


FamiliesConfig = Annotated[dict[Glob, FamilyConfig], Field(examples=[{"llava-*": {"context": 4096, "tools": False}}])]
"""What stands under `families:`; keys are patterns for `model` or `upstream/model`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a target cannot serve a request."""

    kind: ErrorKind
    why: str


def load() -> Mapping[str, Any]:
    """The shipped table; read once, when a configuration is compiled."""
    text = resources.files("proxy.routing").joinpath("families.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


Table = Sequence[tuple[Matches, Mapping[str, Any]]]


class Families:
    """Looks up what a model can take: each fact from the first that states it, the configuration's entries before what
    the upstream says itself, and that before the shipped entries."""

    __slots__ = ("_find", "_own", "_shipped")

    def __init__(self, data: Mapping[str, Any], own: Mapping[str, FamilyConfig] | None = None) -> None:
        self._own: Table = [
            (compile_glob(glob), config.model_dump(exclude_none=True)) for glob, config in (own or {}).items()
        ]
        self._shipped: Table = [(compile_globs(row["models"]), row) for row in data["families"]]
        self._find: Callable[[str, str, Told], Family] = lru_cache(_REMEMBERED)(self._search)

    def of(self, upstream: str, model: str, told: Told = SILENT) -> Family:
        """The family of a model at an upstream that says of it what it has `told`; one that promises everything if
        nothing is known."""
        return self._find(upstream, model, told) if len(model) <= _LONGEST_NAME else UNKNOWN

    def known(self, target: Target, told: Told | None = None) -> Target:
        """The target with its family; one whose model is not settled yet stays as it is."""
        if (target.family is not None and told is None) or target.model == AS_ASKED:
            return target
        return replace(target, family=self.of(target.upstream.name, target.model, told or SILENT))

    def _search(self, upstream: str, model: str, told_of_it: Told) -> Family:
        names = (f"{upstream}/{model}", model, model.rpartition("/")[2])
        rows = (*_fitting(self._own, names), told_of_it.facts(), *_fitting(self._shipped, names))
        facts = ChainMap(*map(dict, rows))
        lacks = frozenset(name for name in _FEATURES if facts.get(name) is False)
        no_forms = frozenset(name for name in _FORMS if facts.get(name) is False)
        told = {name: facts[name] for name in _FACTS if name in facts}
        if "efforts" in told:
            told["efforts"] = tuple(told["efforts"])
        return Family(lacks=lacks, no_forms=no_forms, **told)


def _fitting(table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    return (row for fits, row in table if any(map(fits, names)))


def refusal(family: Family, facts: Facts) -> Refusal | None:
    """Why a model of this family cannot serve the request, None if nothing is known against it.

    The body is read only where something could be found against it: a small request fits any context.
    """
    if family.lacks and (wanted := family.lacks & facts.features):
        return Refusal(ErrorKind.BAD_REQUEST, f"it takes no {' and no '.join(sorted(wanted))}")
    longest = family.context
    if longest is None or len(facts.inbound.body) * MOST_TOKENS_PER_BYTE <= longest:
        return None
    if facts.tokens <= longest:
        return None
    return Refusal(ErrorKind.CONTEXT, f"about {facts.tokens} tokens do not fit into its {longest}")
