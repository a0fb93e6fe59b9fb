"""Responses to events: one machine for the events of a stream and for a whole answer.

    response.created            Start
    output_item.added           ToolOpen of a call
    …delta                      Text, Refuse, Reason, ToolArgs
    output_item.done            whatever of the item no delta has told
    completed, incomplete       Finish, Tokens
    failed, error               Failed

Deltas belong to an item by its place in the output. A server that sends no deltas, or no items, is understood too: an
item is told when it is done, and an output of which nothing was told when the response is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from proxy.core.chat import ToolKind
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import (
    Event,
    Extra,
    Failed,
    Finish,
    FinishReason,
    Reason,
    Refuse,
    Start,
    Text,
    Tokens,
    ToolArgs,
    ToolOpen,
    Unknown,
)
from proxy.core.usage import Usage
from proxy.wire.dialects.openai_responses.errors import failure_of
from proxy.wire.dialects.openai_responses.write_request import CALLS_BEFORE
from proxy.wire.lenient import Mender, mend, write_json
from proxy.wire.usage import read_usage

_CALLS: Final[Mapping[str, tuple[ToolKind, str]]] = {
    "function_call": ("function", "arguments"),
    "custom_tool_call": ("custom", "input"),
}
"""Items that are calls of the client's tools, and where their arguments stand."""

_UNFINISHED: Final[Mapping[str, FinishReason]] = {"content_filter": "content_filter", "steered": "stop"}
"""Reasons of an incomplete answer that are not its length."""

_PART_BREAK: Final = "\n\n"
"""Between two parts of the reasoning, which have titles of their own."""


class _Item:
    """What is known of one item of the output.

    `told` holds the parts of which something was given out, `speaks` makes the events of its text. `call` is the
    running number of a call, `reasons_by` how its thinking is told.
    """

    __slots__ = ("call", "is_done", "mender", "reasons_by", "speaks", "told")

    def __init__(self) -> None:
        self.call: int | None = None
        self.reasons_by: str | None = None
        self.told: set[tuple[str, int]] = set()
        self.speaks: Callable[[str], Event] = Text
        self.mender = Mender()
        self.is_done = False


class Reading:
    """One response on its way to events; a `Machine`. `over` once its end was told: then nothing follows."""

    __slots__ = ("_annotations", "_blocks", "_calls", "_items", "_logprobs", "_reasoned", "_started", "over")

    def __init__(self) -> None:
        self._items: dict[Any, _Item] = {}
        self._calls = 0
        self._blocks: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        self._reasoned: tuple[Any, str, int] | None = None
        self._started = False
        self.over = False

    def read(self, event: Any, name: str = "") -> Iterator[Event]:
        """The events of one stream event; `name` is the frame's, for servers that leave the `type` out."""
        if not isinstance(event, dict):
            yield self.fail(ErrorKind.NOT_AN_ANSWER, f"not an event: {str(event)[:200]}")
            return
        kind = event.get("type")
        if not isinstance(kind, str) or kind not in _EVENTS:
            kind = "error" if event.get("error") else kind if isinstance(kind, str) and kind else name
        tell = _EVENTS.get(kind)
        if tell is not None:
            yield from tell(self, event)
        elif kind not in _REPEATED:
            yield Unknown(f"event {kind}")

    def whole(self, response: Mapping[str, Any]) -> Iterator[Event]:
        """The events of a whole response."""
        yield from self.created({"response": response})
        yield from self._ended(response, complete=response.get("status") in (None, "completed"))

    def end(self) -> Iterable[Event]:
        """Not of this protocol: what is missing then, is missing."""
        return ()

    def fail(self, kind: ErrorKind, detail: str, cause: UpstreamFailure | None = None) -> Failed:
        """The last event there will be."""
        self.over = True
        return Failed(kind, detail, cause)

    def created(self, event: Mapping[str, Any]) -> Iterator[Event]:
        response = event.get("response")
        if self._started or not isinstance(response, dict):
            return
        self._started = True
        created, tier = response.get("created_at"), response.get("service_tier")
        yield Start(
            id=_word(response.get("id")),
            model=_word(response.get("model")),
            created=int(created) if isinstance(created, int | float) and 0 < created < 1e12 else 0,
            extra={"service_tier": mend(tier)} if isinstance(tier, str) and tier else {},
        )

    def item_added(self, event: Mapping[str, Any]) -> Iterator[Event]:
        item = event.get("item")
        if isinstance(item, dict) and _word(item.get("type")) in _CALLS and item.get("name"):
            yield from self._open(self._item(event), item)

    def item_done(self, event: Mapping[str, Any]) -> Iterator[Event]:
        item = event.get("item")
        if isinstance(item, dict):
            yield from self._whole_item(event.get("output_index"), item)

    def text(self, event: Mapping[str, Any]) -> Iterator[Event]:
        self._add_logprobs(event.get("logprobs"))
        yield from self._say(self._item(event), Text, ("text", _number(event, "content_index")), event.get("delta"))

    def refusal(self, event: Mapping[str, Any]) -> Iterator[Event]:
        part = ("refusal", _number(event, "content_index"))
        yield from self._say(self._item(event), Refuse, part, event.get("delta"))

    def summary(self, event: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._think(event, "summary", _number(event, "summary_index"), event.get("delta"))

    def thinking(self, event: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._think(event, "content", _number(event, "content_index"), event.get("delta"))

    def arguments(self, event: Mapping[str, Any]) -> Iterator[Event]:
        item = self._item(event)
        if item.call is not None:
            yield from self._argue(item, event.get("delta"))

    def annotation(self, event: Mapping[str, Any]) -> Iterator[Event]:
        self._item(event).told.add(("annotation", _number(event, "content_index")))
        self._annotate(event.get("annotation"))
        return iter(())

    def completed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        return self._end_of(event, complete=True)

    def incomplete(self, event: Mapping[str, Any]) -> Iterator[Event]:
        return self._end_of(event, complete=False)

    def failed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        response = event.get("response")
        yield self._failed(response.get("error") if isinstance(response, dict) else None)

    def error(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """`{type: error, code, message, param}`, or the same under `error`."""
        inner = event.get("error")
        yield self._failed(inner or {name: event.get(name) for name in ("code", "message", "param")})

    def _failed(self, error: Any) -> Failed:
        failure = failure_of(error, ErrorKind.FAULT)
        return self.fail(failure.kind, failure.detail, failure)

    def _end_of(self, event: Mapping[str, Any], *, complete: bool) -> Iterator[Event]:
        response = event.get("response")
        yield from self.created(event)
        yield from self._ended(response if isinstance(response, dict) else {}, complete=complete)

    def _ended(self, response: Mapping[str, Any], *, complete: bool) -> Iterator[Event]:
        output = response.get("output")
        if not self._items and isinstance(output, list):
            for index, item in enumerate(output):
                if isinstance(item, dict):
                    yield from self._whole_item(index, item)
        for item in self._items.values():
            rest = item.mender.close()
            if rest:
                yield item.speaks(rest)
        if self._annotations:
            yield Extra("annotations", self._annotations)
        if self._blocks:
            yield Extra("thinking_blocks", self._blocks)
        self.over = True
        logprobs = {"content": self._logprobs} if self._logprobs else None
        yield Finish(self._reason(response, complete=complete), 0, logprobs)
        usage = _usage(response.get("usage"))
        if usage is not None:
            yield Tokens(usage)

    def _reason(self, response: Mapping[str, Any], *, complete: bool) -> FinishReason:
        if complete:
            return "tool_calls" if self._calls else "stop"
        details = response.get("incomplete_details")
        why = details.get("reason") if isinstance(details, dict) else None
        return _UNFINISHED.get(why, "length") if isinstance(why, str) else "length"

    def _item(self, event: Mapping[str, Any]) -> _Item:
        place = event.get("output_index")
        key = place if isinstance(place, int) else _word(event.get("item_id"))
        return self._items.setdefault(key, _Item())

    def _whole_item(self, place: Any, item: Mapping[str, Any]) -> Iterator[Event]:
        """What no delta has told of an item."""
        known = self._item({"output_index": place, "item_id": item.get("id")})
        if known.is_done:
            return
        known.is_done = True
        kind = _word(item.get("type"))
        if kind in _CALLS:
            yield from self._open(known, item)
            if ("arguments", 0) not in known.told:
                yield from self._argue(known, item.get(_CALLS[kind][1]))
        elif kind == "message":
            yield from self._whole_message(known, item)
        elif kind == "reasoning":
            yield from self._whole_reasoning(place, known, item)
        else:
            yield Unknown(f"item {kind}")

    def _whole_message(self, known: _Item, item: Mapping[str, Any]) -> Iterator[Event]:
        for index, part in enumerate(_parts(item, "content")):
            if part.get("type") == "refusal":
                if ("refusal", index) not in known.told:
                    yield from self._say(known, Refuse, ("refusal", index), part.get("refusal"))
                continue
            if ("text", index) not in known.told:
                self._add_logprobs(part.get("logprobs"))
                yield from self._say(known, Text, ("text", index), part.get("text"))
            if ("annotation", index) not in known.told:
                for annotation in _parts(part, "annotations"):
                    self._annotate(annotation)

    def _whole_reasoning(self, place: Any, known: _Item, item: Mapping[str, Any]) -> Iterator[Event]:
        event = {"output_index": place, "item_id": item.get("id")}
        for field in ("summary", "content"):
            for index, part in enumerate(_parts(item, field)):
                if (field, index) not in known.told:
                    yield from self._think(event, field, index, part.get("text"))
        if item.get("encrypted_content"):
            block = {name: item.get(name) for name in ("type", "id", "encrypted_content")}
            block["summary"] = list(_parts(item, "summary"))
            if self._calls:
                block[CALLS_BEFORE] = self._calls
            self._blocks.append(block)

    def _open(self, known: _Item, item: Mapping[str, Any]) -> Iterator[Event]:
        if known.call is None:
            known.call, self._calls = self._calls, self._calls + 1
            known.speaks = partial(ToolArgs, known.call)
            # An id must be there and differ within the turn; the position serves if the server gave none.
            identity = _word(item.get("call_id")) or _word(item.get("id")) or f"call_{known.call}"
            yield ToolOpen(known.call, identity, _word(item.get("name")), kind=_CALLS[item["type"]][0])

    def _argue(self, known: _Item, arguments: Any) -> Iterator[Event]:
        if arguments is not None and not isinstance(arguments, str):
            arguments = write_json(arguments)
        return self._say(known, known.speaks, ("arguments", 0), arguments)

    def _say(self, known: _Item, kind: Callable[[str], Event], part: tuple[str, int], text: Any) -> Iterator[Event]:
        if isinstance(text, str) and text:
            known.told.add(part)
            known.speaks = kind
            text = known.mender.feed(text)
            if text:
                yield kind(text)

    def _think(self, event: Mapping[str, Any], field: str, index: int, text: Any) -> Iterator[Event]:
        """Reasoning is told by its summary or by its text, whichever an item begins with."""
        known = self._item(event)
        if not isinstance(text, str) or not text or known.reasons_by not in (None, field):
            return
        known.reasons_by = field
        part = (event.get("output_index"), field, index)
        if self._reasoned not in (None, part):
            yield Reason(_PART_BREAK)
        self._reasoned = part
        yield from self._say(known, Reason, (field, index), text)

    def _annotate(self, annotation: Any) -> None:
        """Chat completions know citations of URLs only, and nest them."""
        if isinstance(annotation, dict) and annotation.get("type") == "url_citation":
            told = {name: value for name, value in annotation.items() if name != "type"}
            self._annotations.append({"type": "url_citation", "url_citation": told})

    def _add_logprobs(self, logprobs: Any) -> None:
        for entry in logprobs if isinstance(logprobs, list) else ():
            if isinstance(entry, dict):
                self._logprobs.append({"bytes": None, "top_logprobs": []} | entry)


_EVENTS: Final[Mapping[str, Callable[[Reading, Mapping[str, Any]], Iterator[Event]]]] = {
    "response.created": Reading.created,
    "response.in_progress": Reading.created,
    "response.output_item.added": Reading.item_added,
    "response.output_item.done": Reading.item_done,
    "response.output_text.delta": Reading.text,
    "response.output_text.annotation.added": Reading.annotation,
    "response.refusal.delta": Reading.refusal,
    "response.reasoning_summary_text.delta": Reading.summary,
    "response.reasoning_text.delta": Reading.thinking,
    "response.function_call_arguments.delta": Reading.arguments,
    "response.custom_tool_call_input.delta": Reading.arguments,
    "response.completed": Reading.completed,
    "response.incomplete": Reading.incomplete,
    "response.failed": Reading.failed,
    "error": Reading.error,
}
_REPEATED: Final = frozenset(
    {"response.queued", "response.content_part.added", "response.content_part.done", "response.output_text.done",
     "response.refusal.done", "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
     "response.reasoning_summary_text.done", "response.reasoning_text.done", "response.function_call_arguments.done",
     "response.custom_tool_call_input.done"}
)  # fmt: skip
"""Events that only repeat what those say; all others are of tools that the vendor runs, or new."""


def _usage(usage: Any) -> Usage | None:
    """The same counts as in chat completions, under other names."""
    if not isinstance(usage, dict):
        return None
    return read_usage({
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "prompt_tokens_details": usage.get("input_tokens_details"),
        "completion_tokens_details": usage.get("output_tokens_details"),
    })  # fmt: skip


def _parts(holder: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    parts = holder.get(name)
    return (part for part in (parts if isinstance(parts, list) else ()) if isinstance(part, dict))


def _number(event: Mapping[str, Any], name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) else 0


def _word(value: Any) -> str:
    return mend(value) if isinstance(value, str) else ""
