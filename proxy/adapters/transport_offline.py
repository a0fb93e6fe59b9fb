"""The transport of offline upstreams: answers from `synth` in the process itself, as bytes like any other."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.core.chat import Chat
from proxy.core.errors import ErrorKind
from proxy.core.events import Event
from proxy.core.ports import WireRequest, WireResponse
from proxy.synth.answer import Occasion, Satisfies, synthesize
from proxy.synth.rules import OfflineConfig
from proxy.wire.dialects import InboundDialect


class _Answer:
    """A whole body that is already here."""

    __slots__ = ("_body", "headers")
    status = 200
    is_complete = True

    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self.headers = {"content-type": content_type}

    @property
    def has_more(self) -> bool:
        return bool(self._body)

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def expire(self, kind: ErrorKind) -> None:
        """Nothing here takes time."""

    def close(self) -> None:
        self._body = b""


class OfflineTransport:
    """Implements `Transport`. The path's end tells the dialect; `x-failsoft-*` request headers tell the occasion.

    One is made for each answer, with the rules of the configuration under which the request came in.
    """

    def __init__(self, by_path: Mapping[str, InboundDialect], satisfies: Satisfies, config: OfflineConfig) -> None:
        self._by_path = by_path
        self._config = config
        self._satisfies = satisfies

    async def send(self, request: WireRequest) -> WireResponse:
        dialect = self._by_path[request.path]
        chats = dialect.decode_request(request.body)
        told = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        occasion = Occasion(
            request_id=told["x-client-request-id"],
            asked_model=told["x-failsoft-asked"],
            route=told["x-failsoft-route"],
            task=told.get("x-failsoft-task"),
            retry_after=int(told["x-failsoft-retry-after"]),
            created=int(told["x-failsoft-created"]),
        )
        events = synthesize(chats, chats[0].model, self._config, occasion, self._satisfies)
        if chats[0].stream:
            return _Answer(_encode(dialect, events, chats[0], occasion.created), "text/event-stream")
        return _Answer(dialect.encode_body(events, chats[0], occasion.created), "application/json")

    async def aclose(self) -> None:
        """There is nothing to close."""


def _encode(dialect: InboundDialect, events: list[Event], chat: Chat, created: int) -> bytes:
    encoder = dialect.encoder(chat, created)
    return b"".join([*map(encoder.feed, events), encoder.close()])
