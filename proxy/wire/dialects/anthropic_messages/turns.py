"""The conversation as the vendor wants it: a system prompt, then turns of user and assistant by turns.

Rules (section "Messages" of the vendor's documents, and what LiteLLM 1.109.1 has measured): the first turn is the
user's; all results of one assistant turn's calls stand first in the next user turn; text is never blank; a system
message in the middle stands directly behind a user turn, before an assistant turn or at the end, and only newer
models know it; thinking blocks return as they came, where they stood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.core.chat import Chat, Losses, Message, ToolCall
from proxy.core.family import Family
from proxy.wire.dialects.anthropic_messages.blocks import PLACEHOLDER, Block, block, cache_control
from proxy.wire.peek import refuse

THINKING: Final = "thinking_blocks"
"""The field of a message in which signed thinking goes to the client and returns."""

_SYSTEM: Final = frozenset({"system", "developer"})
_SIGNED: Final[Mapping[str, str]] = {"thinking": "signature", "redacted_thinking": "data"}
_BAD_IN_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
_BREAKPOINTS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})


class Turns:
    """Takes messages in their order; `system` and `messages` are the request's fields once it is `close`d."""

    def __init__(self, family: Family, losses: Losses) -> None:
        self.system: list[Block] = []
        self.messages: list[Block] = []
        self._family = family
        self._losses = losses
        self._late: list[Block] = []
        """System messages from the middle that wait for their place."""

    def add(self, message: Message, path: str) -> None:
        """Put `message` where it belongs; raises BAD_REQUEST for content that cannot be represented."""
        if message.role in _SYSTEM:
            self._add_system(message, path)
        elif message.role == "assistant":
            blocks = self._assistant(message, path)
            if blocks:
                self._settle_late()
                self._extend("assistant", blocks)
        elif message.role == "tool":
            self._extend("user", [self._result(message, path)])
        else:
            self._extend("user", self._blocks(message, path) or [_text(PLACEHOLDER)])
        self._note_lost(message, path)

    def close(self, path: str) -> None:
        """All messages are in; `path` is the last one's."""
        self._settle_late()
        for turn in self.messages:
            if turn["role"] == "user":
                turn["content"].sort(key=lambda one: one["type"] != "tool_result")
        if not self.messages or self.messages[0]["role"] != "user":
            self.messages.insert(0, {"role": "user", "content": [_text(PLACEHOLDER)]})
        last = self.messages[-1]
        if last["role"] == "assistant":
            if self._family.prefill is False:
                refuse(
                    f"`{path}` is the assistant's: this model does not continue a begun answer. "
                    "End with a user message.", path,
                )  # fmt: skip
            end = last["content"][-1]
            if end["type"] == "text":
                end["text"] = end["text"].rstrip()

    def _add_system(self, message: Message, path: str) -> None:
        blocks = self._words(message, path)
        if not self.messages:
            self.system += blocks
        elif self._family.mid_system:
            self._late += blocks
        elif blocks:
            self._losses.drop(path, "the model knows no system message here; it is put to it as the user's words")
            self._extend("user", blocks)

    def _settle_late(self) -> None:
        """A user turn is over: what the system had to say goes behind it."""
        if self._late:
            role = "system" if self.messages[-1]["role"] == "user" else "user"
            self.messages.append({"role": role, "content": self._late})
            self._late = []

    def _extend(self, role: str, blocks: list[Block]) -> None:
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def _blocks(self, message: Message, path: str) -> list[Block]:
        found = [block(part, f"{path}.content[{i}]", self._losses) for i, part in enumerate(message.parts)]
        blocks = [one for one in found if one is not None]
        if blocks:
            blocks[-1] |= self._breakpoint(message, path)
        return blocks

    def _words(self, message: Message, path: str) -> list[Block]:
        """The same of a speaker who may not show pictures."""
        blocks = self._blocks(message, path)
        if any(one["type"] != "text" for one in blocks):
            refuse(f"`{path}` holds more than text. Put images and files into user messages.", path)
        return blocks

    def _breakpoint(self, message: Message, path: str) -> Block:
        """A cache breakpoint on a whole message."""
        return cache_control(
            {name: message.extra[name] for name in _BREAKPOINTS & message.extra.keys()}, path, self._losses
        )

    def _assistant(self, message: Message, path: str) -> list[Block]:
        blocks = self._words(message, path)
        if len(blocks) > 1 and not any("cache_control" in one for one in blocks):
            blocks = [_text("".join(one["text"] for one in blocks))]
        calls = enumerate(message.tool_calls)
        blocks += [_tool_use(call, f"{path}.tool_calls[{i}]", self._losses) for i, call in calls]
        if message.reasoning and not message.thinking:
            self._losses.drop(f"{path}.reasoning_content", "only signed thinking can be given back")
        for place, one in sorted(_thinking(message.thinking), key=lambda pair: pair[0]):
            blocks.insert(place, one)
        return blocks

    def _result(self, message: Message, path: str) -> Block:
        if not message.tool_call_id:
            path += ".tool_call_id"
            refuse(f"`{path}` is missing: send the id of the call that this answers.", path)
        result: Block = {"type": "tool_result", "tool_use_id": call_id(message.tool_call_id)}
        blocks = self._blocks(message, path)
        for one in blocks:  # a breakpoint within a result is one behind it
            result |= {"cache_control": one.pop("cache_control")} if "cache_control" in one else {}
        if blocks:
            plain = len(blocks) == 1 and blocks[0]["type"] == "text"
            result["content"] = blocks[0]["text"] if plain else blocks
        if message.extra.get("is_error") is True:
            result["is_error"] = True
        return result

    def _note_lost(self, message: Message, path: str) -> None:
        if message.name is not None and message.role != "tool":
            self._losses.drop(f"{path}.name", "there is no equivalent")
        for name, value in message.extra.items():
            if value and name not in _BREAKPOINTS and not (name == "is_error" and message.role == "tool"):
                self._losses.drop(f"{path}.{name}", "there is no equivalent", content=name == "audio")


def turns(chat: Chat, family: Family, losses: Losses) -> Turns:
    """The whole conversation."""
    told = Turns(family, losses)
    for number, message in enumerate(chat.messages):
        told.add(message, f"messages[{number}]")
    told.close(f"messages[{len(chat.messages) - 1}]")
    return told


def call_id(identity: str) -> str:
    """A call's id in the letters that the vendor allows; other vendors' ids hold more."""
    return _BAD_IN_ID.sub("_", identity) or "_"


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _tool_use(call: ToolCall, path: str, losses: Losses) -> Block:
    if call.kind != "function":
        refuse(f"`{path}` is a custom tool call; this model knows functions only.", path)
    try:
        given = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        losses.drop(f"{path}.function.arguments", "they are no JSON object, so they are put into one", content=True)
        given = {"arguments": call.arguments}
    return {"type": "tool_use", "id": call_id(call.id), "name": call.name, "input": given}


def _thinking(carried: Sequence[Mapping[str, Any]]) -> list[tuple[int, Block]]:
    """Blocks that this vendor has signed, with the place where each stood; without one, in order at the front."""
    found = []
    for order, one in enumerate(carried):
        if isinstance(one.get(_SIGNED.get(one.get("type", ""), "")), str):
            place = one.get("index", order)
            kept = {name: value for name, value in one.items() if name != "index"}
            found.append((place if isinstance(place, int) and place >= 0 else order, kept))
    return found
