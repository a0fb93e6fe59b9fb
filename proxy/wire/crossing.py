"""How one request crosses to one target and its answer comes back: untouched, or translated through the hub.

`cross()` chooses; the engine then needs no difference between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from proxy.core.chat import Chat, Losses
from proxy.core.decision import Mode, Quirks, Target
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.events import Event
from proxy.core.family import UNKNOWN, Family
from proxy.core.ports import CompileSchema
from proxy.core.request import Inbound, Peek
from proxy.wire.bridge import Gathered, Translation, translate_answers
from proxy.wire.dialects import Answer, Decoder, Encoder, InboundDialect, Passage, UpstreamDialect
from proxy.wire.fit import decoded, fit
from proxy.wire.held import Held, held_whole
from proxy.wire.peek import top_level
from proxy.wire.structured import FORMS, RESPONSE_FORMAT, Form, emulate
from proxy.wire.thoughts import Apart, Thoughts


class Crossing(Protocol):
    """One request on its way to one target."""

    @property
    def mode(self) -> Mode: ...

    @property
    def is_gathered(self) -> bool:
        """The upstream is asked for a whole answer, though the client gets a stream: its head comes late."""
        ...

    @property
    def count(self) -> int:
        """How many requests are to be sent, one after another: more than one only where prompts must be split."""
        ...

    def take(self, number: int) -> bytes:
        """The body of request `number`, once: it is not kept here for as long as an answer may take."""
        ...

    @property
    def losses(self) -> Sequence[str]:
        """What of the request does not reach the target, as `path: why`."""
        ...

    def passage(self, number: int) -> Passage:
        """For the streamed answer to body `number`."""
        ...

    def hold(self, decoder: Decoder, number: int = 0) -> Decoder:
        """The same with what the target leaves to us: thinking told apart, the answer held to the form asked for."""
        ...

    def answer(self, bodies: Sequence[bytes]) -> Answer:
        """Judge the whole answers to all bodies; raises UpstreamFailure for one that is none."""
        ...


def _take(bodies: list[bytes], number: int) -> bytes:
    body, bodies[number] = bodies[number], b""
    return body


class Identity:
    """Same dialect on both sides: the caller's bytes, with the target's model."""

    __slots__ = ("_bodies", "_dialect", "_peek", "_thinks_as", "losses")
    count = 1
    mode = Mode.IDENTITY
    is_gathered = False

    def __init__(
        self, dialect: InboundDialect, body: bytes, peek: Peek, target: Target, params: Mapping[str, Any]
    ) -> None:
        self._dialect = dialect
        self._peek = peek
        self._thinks_as = target.upstream.quirks.thinks_as
        quirks, params, self.losses = fit(body, target, params)
        self._bodies = [dialect.prepare(body, peek, target.model, quirks, params)]

    def take(self, number: int) -> bytes:
        return _take(self._bodies, number)

    def passage(self, number: int) -> Passage:  # noqa: ARG002 — there is one body
        return self._dialect.tap(self._peek, self._thinks_as)

    def hold(self, decoder: Decoder, number: int = 0) -> Decoder:  # noqa: ARG002 — the target sees to it
        return decoder

    def answer(self, bodies: Sequence[bytes]) -> Answer:
        return self._dialect.judge(bodies[0], self._thinks_as)


class Translated:
    """Different dialects: decoded once, encoded for the target, and the answer's events encoded for the caller."""

    __slots__ = (
        "_bodies", "_chats", "_created", "_encoder", "_forms", "_inbound", "_tag", "_upstream",
        "count", "is_gathered", "losses",
    )  # fmt: skip
    mode = Mode.TRANSLATE

    def __init__(
        self,
        inbound: InboundDialect,
        upstream: UpstreamDialect,
        chats: Sequence[Chat],
        target: Target,
        created: int,
        compile_schema: CompileSchema,
    ) -> None:
        self.count = len(chats)
        self._inbound = inbound
        self._upstream = upstream
        self._chats = chats
        self._created = created
        self._encoder: Encoder | None = None
        losses, quirks, family = Losses(), target.upstream.quirks, target.family or UNKNOWN
        self._tag = _tag(upstream, quirks)
        emulated = [
            emulate(chat, _no_forms(upstream, target, bool(chat.tools)), compile_schema, losses) for chat in chats
        ]
        asked, self._forms = zip(*emulated, strict=True)
        self.is_gathered = chats[0].stream and _must_come_whole(quirks, asked[0])
        if self.is_gathered:
            asked = tuple(replace(chat, stream=False) for chat in asked)
        self._bodies = [upstream.encode_request(chat, quirks, family, losses) for chat in asked]
        self.losses = tuple(dict.fromkeys(str(loss) for loss in losses.found))

    def take(self, number: int) -> bytes:
        return _take(self._bodies, number)

    def passage(self, number: int) -> Passage:
        if self._encoder is None:  # one encoder for all prompts: one id, one beginning, one end mark
            self._encoder = self._inbound.encoder(self._chats[0], self._created)
        chat = self._chats[number]
        last = number == len(self._chats) - 1
        decoder: Decoder = Gathered(self._upstream) if self.is_gathered else self._upstream.decoder()
        return Translation(self.hold(decoder, number), self._encoder, offset=number * chat.n, last=last)

    def hold(self, decoder: Decoder, number: int = 0) -> Decoder:
        if self._tag:
            decoder = Apart(decoder, self._tag)
        form = self._forms[number]
        return decoder if form is None else Held(decoder, form)

    def answer(self, bodies: Sequence[bytes]) -> Answer:
        told = [self._events(body, form) for body, form in zip(bodies, self._forms, strict=True)]
        return translate_answers(self._inbound, self._chats, told, self._created)

    def _events(self, body: bytes, form: Form | None) -> Sequence[Event]:
        events = self._upstream.decode_body(body)
        if self._tag:
            events = list(Thoughts(self._tag).events(events))
        return events if form is None else held_whole(events, form)


def _no_forms(upstream: UpstreamDialect, target: Target, has_tools: bool) -> frozenset[str]:
    """The forms of answers that the protocol has no words for, or that the server or the model refuses."""
    theirs, quirks, family = upstream.no_forms, target.upstream.quirks, target.family or UNKNOWN
    if has_tools and not family.tools_in_form:
        return theirs | FORMS
    if quirks.no_forms or family.no_forms:
        return theirs | quirks.no_forms | family.no_forms
    return theirs


def _lacks_form(no_forms: frozenset[str], body: bytes, params: Mapping[str, Any]) -> bool:
    """True if the body asks for one of these forms."""
    if not no_forms or not (RESPONSE_FORMAT in params or RESPONSE_FORMAT.encode() in body or b"\\u" in body):
        return False
    wanted = decoded({**top_level(body), **params}.get(RESPONSE_FORMAT))
    return isinstance(wanted, dict) and any(wanted.get("type") == form for form in no_forms)


def _tag(upstream: UpstreamDialect, quirks: Quirks) -> str:
    """The tag of thinking within text, empty if there is none; raw completions are nobody's chat."""
    return quirks.thinking_tag if upstream.name == _CHAT else ""


def _must_come_whole(quirks: Quirks, chat: Chat) -> bool:
    """True if the upstream is not to be trusted with a stream of what the chat asks for."""
    return any(getattr(chat, name, None) or name in chat.extra for name in quirks.unstreamed)


def _streams_badly(quirks: Quirks, body: bytes, peek: Peek) -> bool:
    """The same of a body that has not been decoded."""
    return bool(quirks.unstreamed) and peek.stream and any(name in top_level(body) for name in quirks.unstreamed)


_CHAT, _COMPLETIONS = _CHATS = ("openai_chat", "openai_completions")
_RESPONSES = "openai_responses"


def spoken_at(target: Target, dialect: str, body: bytes, params: Mapping[str, Any]) -> str:
    """The dialect in which a request that came in `dialect` is put to `target`: the same if it can be.

    Some models are served by the responses endpoint alone, or take function tools nowhere else; most know chats only.
    """
    paths, family = target.upstream.paths, target.family or UNKNOWN
    if dialect in _CHATS and _RESPONSES in paths and _needs_responses(family, body, params):
        return _RESPONSES
    if dialect == _COMPLETIONS and _CHAT in paths and not (family.completions and _is_taken(target, body)):
        return _CHAT
    return dialect if dialect in paths else next(iter(paths))


def _is_taken(target: Target, body: bytes) -> bool:
    """True unless the upstream takes one prompt of text for one answer, and the legacy completions ask for more."""
    if not target.upstream.quirks.lone_prompts:
        return True
    said = {
        name: decoded(value) for name, value in top_level(body).items() if name in ("prompt", "echo", "n", "best_of")
    }
    is_single = all(said.get(name) in (None, 1) for name in ("n", "best_of"))
    return is_single and not said.get("echo") and isinstance(said.get("prompt"), str)


def _needs_responses(family: Family, body: bytes, params: Mapping[str, Any]) -> bool:
    if family.only_responses or family.chat_tools == "yes":
        return family.only_responses
    if b"tools" not in body and b"\\u" not in body and "tools" not in params:
        return False
    said = {**top_level(body), **params}
    if family.chat_tools == "without_reasoning" and decoded(said.get("reasoning_effort")) == "none":
        return False
    tools = decoded(said.get("tools"))
    return isinstance(tools, list) and any(isinstance(tool, dict) and tool.get("type") == "function" for tool in tools)


_SAME = {"max_tokens": ("max_tokens", "max_completion_tokens")}
"""Fields that say the same as a default does."""


def unsaid(body: bytes, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `defaults` on which the caller was silent."""
    said = top_level(body)
    return {name: value for name, value in defaults.items() if not any(n in said for n in _SAME.get(name, (name,)))}


def cross(
    inbound: InboundDialect,
    upstream: UpstreamDialect,
    asked: Inbound,
    target: Target,
    params: Mapping[str, Any],
    created: int,
    compile_schema: CompileSchema,
) -> Crossing:
    """The crossing of what was `asked` to `target`, with `params` laid over the caller's own fields.

    `created` is seconds since the epoch; `compile_schema` is for answers that the target does not hold to their form.
    Raises ProxyError BAD_REQUEST if the request holds content that the upstream's dialect cannot represent.
    """
    body, peek = asked.body, asked.peek
    if inbound.name == upstream.name and not _needs_hub(upstream, body, peek, target, params):
        return Identity(inbound, body, peek, target, params)
    if params:
        body = inbound.prepare(body, peek, target.model, Quirks(asks_usage=False), params)
    chats = tuple(replace(chat, model=target.model) for chat in inbound.decode_request(body))
    return Translated(inbound, upstream, chats, target, created, compile_schema)


def _needs_hub(upstream: UpstreamDialect, body: bytes, peek: Peek, target: Target, params: Mapping[str, Any]) -> bool:
    """True if the answer in the caller's own dialect must be read and written anew."""
    quirks = target.upstream.quirks
    return (
        quirks.irregular
        or bool(_tag(upstream, quirks))
        or _streams_badly(quirks, body, peek)
        or _lacks_form(_no_forms(upstream, target, has_tools=True), body, params)
    )


def insist(crossing: Crossing) -> None:
    """For routes that allow no loss: raises ProxyError BAD_REQUEST if the request does not cross whole."""
    if crossing.losses:
        told = "; ".join(crossing.losses)
        message = f"This route sends requests whole or not at all, and this would be lost: {told}."
        raise ProxyError(ErrorKind.BAD_REQUEST, message, param=crossing.losses[0].partition(":")[0])
