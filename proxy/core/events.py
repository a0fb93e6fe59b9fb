"""An answer as a list of events: the same list whether it was streamed or came whole.

Order: one `Start`, then for each choice its deltas and one `Finish`, then at most one `Tokens`. `Failed` ends a list
early. `choice` is the index of the choice, `index` the running number of a tool call within its choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.core.chat import ToolKind
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.usage import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


@dataclass(frozen=True, slots=True)
class Start:
    """The upstream began to answer; `created` is seconds since the epoch, 0 when it did not say.

    `extra` holds top-level fields that go with every chunk: `system_fingerprint`, `service_tier`, `x_failsoft`.
    """

    id: str
    model: str
    created: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """Thinking text."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Refuse:
    """The text of a refusal."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolOpen:
    """A tool call begins; its arguments (of a custom tool: its free text) follow as `ToolArgs` with the same index."""

    index: int
    id: str
    name: str
    choice: int = 0
    signature: str | None = None
    kind: ToolKind = "function"


@dataclass(frozen=True, slots=True)
class ToolArgs:
    """A piece of a tool call's JSON arguments, cut anywhere."""

    index: int
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Extra:
    """A field without an event of its own (`name` within the delta), carried as it is: signatures, annotations."""

    name: str
    value: Any
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    reason: FinishReason
    choice: int = 0
    logprobs: Any = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The usage of the whole answer; where an upstream repeats it, the last one holds."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Failed:
    """The upstream reported, inside its answer, that it failed. `detail` is for the operator only.

    `cause` says more where more is known, such as words that are fit for the client.
    """

    kind: ErrorKind
    detail: str = ""
    cause: UpstreamFailure | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The upstream said something for which there is no word here; `what` names it, such as `event message_pause`.

    It is counted and goes no further.
    """

    what: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """From here the upstream can go on with its answer, if it is asked with `token`; nothing of it is told twice then.

    `at` is how many characters it had told.
    """

    token: str
    at: int = 0


Event = Start | Text | Reason | Refuse | ToolOpen | ToolArgs | Extra | Finish | Tokens | Failed | Unknown | Checkpoint

_MOST_NAMES = 64
_LONGEST_NAME = 64
OTHERS = "others"


def tally(counts: dict[str, int], what: str, times: int = 1) -> None:
    """Count an unknown thing; upstreams make up the names, so they are cut and beyond some number thrown together."""
    name = "".join(letter if letter.isprintable() else "?" for letter in what[:_LONGEST_NAME])
    if name not in counts and len(counts) >= _MOST_NAMES:
        name = OTHERS
    counts[name] = counts.get(name, 0) + times


SEMANTIC = (Text, Reason, Refuse, ToolOpen, ToolArgs, Finish)
"""Events that commit the proxy to an upstream (an empty `Text` or `Reason` does not)."""


def is_semantic(event: Event) -> bool:
    """True if `event` is something a client would miss: text that is not empty, a tool call, a finish."""
    if isinstance(event, Text | Reason | Refuse):
        return bool(event.text)
    return isinstance(event, SEMANTIC)


@dataclass(slots=True)
class FoldedTool:
    id: str
    name: str
    arguments: str = ""
    signature: str | None = None
    kind: ToolKind = "function"


@dataclass(slots=True)
class FoldedChoice:
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tools: dict[int, FoldedTool] = field(default_factory=dict)
    finish: FinishReason | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    logprobs: Any = None


@dataclass(slots=True)
class Folded:
    """A whole answer, put together from its events."""

    id: str = ""
    model: str = ""
    created: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    choices: dict[int, FoldedChoice] = field(default_factory=dict)
    usage: Usage | None = None
    failed: Failed | None = None

    def choice(self, index: int) -> FoldedChoice:
        return self.choices.setdefault(index, FoldedChoice())


def _start(folded: Folded, event: Start) -> None:
    folded.id, folded.model = event.id, event.model
    folded.created, folded.extra = event.created, event.extra


def _text(folded: Folded, event: Text) -> None:
    folded.choice(event.choice).text += event.text


def _reason(folded: Folded, event: Reason) -> None:
    folded.choice(event.choice).reasoning += event.text


def _refuse(folded: Folded, event: Refuse) -> None:
    folded.choice(event.choice).refusal += event.text


def _tool_open(folded: Folded, event: ToolOpen) -> None:
    tool = FoldedTool(event.id, event.name, "", event.signature, event.kind)
    folded.choice(event.choice).tools[event.index] = tool


def _tool_args(folded: Folded, event: ToolArgs) -> None:
    folded.choice(event.choice).tools[event.index].arguments += event.text


def _extra(folded: Folded, event: Extra) -> None:
    folded.choice(event.choice).extra[event.name] = event.value


def _finish(folded: Folded, event: Finish) -> None:
    choice = folded.choice(event.choice)
    choice.finish, choice.logprobs = event.reason, event.logprobs


def _tokens(folded: Folded, event: Tokens) -> None:
    folded.usage = event.usage


def _failed(folded: Folded, event: Failed) -> None:
    folded.failed = event


def _no_part(folded: Folded, event: Unknown | Checkpoint) -> None:
    """It is no part of the answer."""


_FOLDS: Mapping[type, Any] = {
    Start: _start,
    Text: _text,
    Reason: _reason,
    Refuse: _refuse,
    ToolOpen: _tool_open,
    ToolArgs: _tool_args,
    Extra: _extra,
    Finish: _finish,
    Tokens: _tokens,
    Failed: _failed,
    Unknown: _no_part,
    Checkpoint: _no_part,
}


def fold(events: Iterable[Event]) -> Folded:
    """Put a list of events together into the answer it describes."""
    folded = Folded()
    for event in events:
        _FOLDS[type(event)](folded, event)
    return folded
