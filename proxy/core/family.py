"""What the models of one family take, and how they want to be asked: facts about models, not about endpoints."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

Sampling = Literal["free", "without_reasoning", "never"]
Thinking = Literal["none", "budget", "level", "adaptive", "always"]
ChatTools = Literal["yes", "without_reasoning", "no"]


@dataclass(frozen=True, slots=True)
class Family:
    """Where nothing is known against it, a model is taken to accept everything.

    `context` and `output` are tokens of a prompt and of an answer at most, None where unknown. `lacks` names features
    that the models refuse (`images`, `tools`); `no_forms` names forms of answers that they cannot be held to
    (`json_schema`, `json_object`). `sampling`: whether temperature, top_p and their like are accepted always, only
    while the model does not reason, or never. `efforts` are the values of reasoning_effort that it knows, none of them
    if it never reasons, None where unknown; `default_effort` is in force when the caller is silent. `thinking` says how
    it is asked to think: by a token budget, by a level, adaptively, or always and unasked.
    `prefill`: a last assistant message is continued; None where that is not known: then it may be sent, but nobody
    relies on it. `forced_tools`: a tool call may be required. `mid_system`: system
    messages may stand in the middle of a conversation. `penalties`: frequency and presence penalties. `chat_tools`:
    function tools over chat completions. `only_responses`: the model is served by the responses endpoint alone.
    `completions`: by legacy completions too. `max_tokens`: chat completions may say the length of an answer by this
    older name of `max_completion_tokens`.
    `tool_ids`: calls and their results carry ids. `signatures`: tool calls must return with the signature they came
    with. `tools_in_form`: the model can be held to a form while it is offered tools. `price`: the name whose price it
    has, where it has none of its own; a dated version costs what the undated name does.
    """

    context: int | None = None
    output: int | None = None
    lacks: frozenset[str] = frozenset()
    no_forms: frozenset[str] = frozenset()
    sampling: Sampling = "free"
    efforts: tuple[str, ...] | None = None
    default_effort: str | None = None
    thinking: Thinking | None = None
    prefill: bool | None = None
    forced_tools: bool = True
    mid_system: bool = True
    penalties: bool = True
    chat_tools: ChatTools = "yes"
    only_responses: bool = False
    completions: bool = True
    max_tokens: bool = True
    tool_ids: bool = True
    signatures: bool = False
    tools_in_form: bool = True
    price: str | None = None


UNKNOWN = Family()


@dataclass(frozen=True, slots=True)
class Told:
    """What an upstream says by itself of one of its models, in the terms of `Family`; None where it is silent.

    `images`, `tools` and `json_schema` say whether the model takes them.
    """

    context: int | None = None
    output: int | None = None
    images: bool | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    efforts: tuple[str, ...] | None = None
    thinking: Thinking | None = None

    def facts(self) -> dict[str, Any]:
        """What it says, by name."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}


SILENT = Told()
