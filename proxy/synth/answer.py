"""What is said when no model could be reached: honest, labelled, and never invented to please a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.chat import Chat
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import Event, Finish, Start, Text, Tokens
from proxy.core.usage import Usage, tokens_of
from proxy.synth.language import language_of
from proxy.synth.rules import OfflineConfig, RuleConfig

Satisfies = Callable[[Mapping[str, Any], Any], bool]
"""Whether a value satisfies a JSON schema."""

LEVELS = ("rules",)
"""The levels of synthesis that are built in; the others of the configuration are passed over."""

_PIECE = re.compile(r"\s*\S+")


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why an offline answer is given: what the caller asked for and how it was handled. `retry_after` in seconds."""

    request_id: str
    asked_model: str
    route: str
    task: str | None = None
    retry_after: int = 30
    created: int = 0


def synthesize(
    chats: Sequence[Chat], level: str, config: OfflineConfig, occasion: Occasion, satisfies: Satisfies
) -> list[Event]:
    """The answer to one request (`chats` are its prompts) as events.

    Raises UpstreamFailure OFFLINE_UNAVAILABLE where nothing true can be said in the form that was asked for: a tool
    call that must be made, or JSON that no rule supplies.
    """
    label = {"system_fingerprint": "fp_offline", "x_failsoft": {"synthesized": True, "level": level}}
    events: list[Event] = [Start(f"offline-{occasion.request_id}", f"offline/{level}", occasion.created, label)]
    prompt = completion = 0
    for number, chat in enumerate(chats):
        said = _say(chat, config, occasion, satisfies)
        prompt += tokens_of(sum(len(message.text) for message in chat.messages))
        for choice in range(number * chat.n, (number + 1) * chat.n):
            completion += tokens_of(len(said))
            events += [Text(piece, choice) for piece in _pieces(said)]
            events.append(Finish("stop", choice))
    events.append(Tokens(Usage(prompt, completion, source="counted")))
    return events


def _say(chat: Chat, config: OfflineConfig, occasion: Occasion, satisfies: Satisfies) -> str:
    if chat.tool_choice is not None and chat.tool_choice.mode in ("required", "named"):
        raise UpstreamFailure(ErrorKind.OFFLINE_UNAVAILABLE, "the caller requires a tool call")
    last = next((message.text for message in reversed(chat.messages) if message.role == "user"), "")
    language = language_of(last)
    rules = [rule for rule in config.rules if _speaks(rule, last.lower(), language, occasion.task)]
    if chat.response_format is not None and chat.response_format.kind != "text":
        schema = chat.response_format.schema or {"type": "object"}
        for rule in rules:
            if rule.value is not None and satisfies(schema, rule.value):
                return json.dumps(rule.value, ensure_ascii=False)
        raise UpstreamFailure(ErrorKind.OFFLINE_UNAVAILABLE, "the caller requires JSON that no rule supplies")
    template = rules[0].text if rules else config.said(language)
    return template.format(
        request_id=occasion.request_id,
        model=occasion.asked_model,
        route=occasion.route,
        retry_after=occasion.retry_after,
    )


def _speaks(rule: RuleConfig, last: str, language: str, task: str | None) -> bool:
    match = rule.match
    return (
        (match.task is None or match.task == task)
        and (match.language is None or match.language == language)
        and (not match.contains or any(words.lower() in last for words in match.contains))
    )


def _pieces(said: str) -> Iterator[str]:
    """Word by word with the white space around it, so that a stream of it looks like one."""
    end = 0
    for piece in _PIECE.finditer(said):
        end = piece.end()
        yield piece.group()
    if end < len(said):
        yield said[end:]
