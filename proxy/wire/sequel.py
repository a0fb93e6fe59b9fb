"""A further request for the rest of an answer: when it may be made, what is in it, and how its answer is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from proxy.core.chat import Chat
from proxy.core.decision import Mode, Target, Upstream
from proxy.core.family import UNKNOWN
from proxy.core.usage import tokens_of
from proxy.wire.bridge import Gathered
from proxy.wire.crossing import Crossing
from proxy.wire.dialects import Answer, Decoder, Passage, UpstreamDialect, can_pause
from proxy.wire.fit import decoded
from proxy.wire.peek import top_level

_LENGTHS = ("max_tokens", "max_completion_tokens")
_VERSION: Final = re.compile(r"/(?:v\d+|beta)$")


def prevents_replay(chat: Chat) -> str | None:
    """What of a request keeps its answer from being told twice, None if nothing does.

    Several choices come in any order; log probabilities belong to tokens, which are cut otherwise elsewhere; and the
    prompt that a legacy completion repeats is no part of the answer.
    """
    if chat.n != 1:
        return "there is more than one choice"
    if chat.logprobs or chat.extra.get("logprobs") is not None:
        return "log probabilities were asked for"
    return "the prompt is part of the answer" if chat.extra.get("echo") else None


def prevents_prefill(chat: Chat, text: str, target: Target) -> str | None:
    """What keeps a target from going on with `text`, None if nothing does.

    It must be known to do that. JSON that is held to a grammar begins anew; so does a model that thinks first.
    """
    if not _goes_on(target):
        return "the model is not known to continue a begun answer"
    if not text.strip():
        return "there is no text to go on with"
    if "prompt" in chat.extra:
        return "a legacy completion has no messages"
    if chat.response_format is not None and chat.response_format.kind != "text":
        return "the answer is held to a format"
    if chat.reasoning_effort not in (None, "none"):
        return "the model is asked to think first"
    return prevents_replay(chat)


def _goes_on(target: Target) -> bool:
    """True if the model is known to continue its own last message, or the vendor to have any model do so."""
    known = (target.family or UNKNOWN).prefill
    return bool(target.upstream.quirks.prefix_path) if known is None else known


def prefilled(body: bytes, text: str, target: Target) -> Mapping[str, Any]:
    """The fields to lay over a chat's `body` such that its last message is the beginning of the answer.

    Blanks at its end stay behind: vendors refuse them, and models go on badly after them. What the caller wants at most
    is less by what it has. Who would think first unless told otherwise is told otherwise.
    """
    said, family = top_level(body), target.family or UNKNOWN
    mark = {"prefix": True} if target.upstream.quirks.prefix_path else {}
    messages = [*decoded(said["messages"]), {"role": "assistant", "content": text.rstrip(), **mark}]
    thinks = family.default_effort not in (None, "none") and "none" in (family.efforts or ())
    unthinking = {"reasoning_effort": "none"} if thinks else {}
    limits = {name: decoded(said[name]) for name in _LENGTHS if name in said}
    left = {name: max(1, most - tokens_of(len(text))) for name, most in limits.items() if isinstance(most, int)}
    return {"messages": messages, **unthinking, **left}


def prefill_path(upstream: Upstream) -> str | None:
    """Where a marked beginning is gone on with, None where that is where all is answered."""
    path = upstream.quirks.prefix_path
    return _VERSION.sub("", upstream.base) + path if path else None


class Sequel:
    """A `Crossing` whose answer is the rest of another one: a stream of `dialect`, read by `passage`.

    With a `token` the upstream itself is asked to go on, from where it gave that.
    """

    __slots__ = ("_crossing", "_dialect", "_passage", "_token")
    count = 1

    def __init__(
        self, crossing: Crossing, dialect: UpstreamDialect, passage: Callable[[Decoder], Passage], token: str = ""
    ) -> None:
        self._token = token
        self._crossing = crossing
        self._dialect = dialect
        self._passage = passage

    @property
    def mode(self) -> Mode:
        return self._crossing.mode

    @property
    def is_gathered(self) -> bool:
        return self._crossing.is_gathered

    @property
    def losses(self) -> Sequence[str]:
        return self._crossing.losses

    def take(self, number: int) -> bytes:
        body = self._crossing.take(number)
        return self._dialect.from_checkpoint(body, self._token) if self._token and can_pause(self._dialect) else body

    def passage(self, number: int) -> Passage:  # noqa: ARG002 — there is one
        return self._passage(self.hold(Gathered(self._dialect) if self.is_gathered else self._dialect.decoder()))

    def hold(self, decoder: Decoder, number: int = 0) -> Decoder:
        return self._crossing.hold(decoder, number)

    def answer(self, bodies: Sequence[bytes]) -> Answer:
        return self._crossing.answer(bodies)
