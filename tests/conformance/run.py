"""One run of a request through the proxy, and the evidence that it leaves."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from tests.conformance.columns import COLUMNS, Column
from tests.e2e.conftest import running
from tests.e2e.harness import Answer, Proxy, document, upstream
from tests.upstream import FakeUpstream, Script, Seen

_DIALECTS = (
    ("/chat/completions", "openai_chat"),
    ("/completions", "openai_completions"),
    ("/responses", "openai_responses"),
    ("/messages", "anthropic_messages"),
    ("Content", "gemini_generate"),
)
"""Which dialect a request to an upstream is in, by the end of its path."""


FIRST_WORD = b"Hello"


@dataclass(frozen=True)
class Run:
    """What the fake saw and what the client got."""

    column: Column
    seen: tuple[Seen, ...]
    answer: Answer

    @property
    def dialect(self) -> str:
        """The one in which the upstream was asked."""
        return next(name for end, name in _DIALECTS if self.seen[-1].path.endswith(end))

    @property
    def sent(self) -> dict[str, Any]:
        """The last body that the upstream got."""
        return self.seen[-1].request.json

    @property
    def losses(self) -> list[tuple[str, str]]:
        """Path and reason, as the client is told in `x-failsoft-lossy`."""
        told = self.answer.headers.get("x-failsoft-lossy", "")
        pairs = (loss.partition(": ") for loss in told.split("; ") if loss)
        return [(path, why) for path, _, why in pairs]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(frame[6:]) for frame in self.answer.frames if frame != b"data: [DONE]"]

    @property
    def finish(self) -> str | None:
        """The first choice's finish reason; the SDK's accumulator does not live through all of them."""
        told = [one for chunk in self.chunks for one in chunk["choices"]] if self.is_stream else [self.choice]
        return next((one["finish_reason"] for one in told if one["finish_reason"]), None)

    @property
    def is_stream(self) -> bool:
        return self.answer.headers["content-type"].startswith("text/event-stream")

    @property
    def completion(self) -> dict[str, Any]:
        """The answer; of a stream, what the official SDK's accumulator makes of it."""
        if not self.is_stream:
            whole: dict[str, Any] = self.answer.json
            return whole
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        for chunk in self.chunks:
            state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
        return state.get_final_completion().to_dict()

    @property
    def choice(self) -> dict[str, Any]:
        first: dict[str, Any] = self.completion["choices"][0]
        return first

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = self.choice["message"]
        return message

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """Names and arguments of the tool calls; the arguments None where they are no JSON."""
        calls = (call["function"] for call in self.message.get("tool_calls") or ())
        return [(call["name"], _json(call["arguments"])) for call in calls]


@dataclass(frozen=True)
class Bench:
    """A proxy with one upstream per column, each a fake of its own; clients ask for a model of the column's name."""

    proxy: Proxy
    fakes: Mapping[str, FakeUpstream]

    async def ask(self, column: Column, script: Script, path: str, body: Mapping[str, Any]) -> Run:
        """Send one request; the fake follows `script` unless the vendor would refuse."""
        fake = self.fakes[column.name]
        fake.default = script
        answer = await self.proxy.post(path, {"model": column.name, **body})
        return Run(column, tuple(fake.seen), answer)

    async def leave(self, column: Column, script: Script, path: str, body: Mapping[str, Any]) -> Run:
        """The client goes away at the first word; returns when the upstream's connection has ended."""
        fake = self.fakes[column.name]
        fake.default = script
        async with self._streaming(column, path, body):
            pass
        await fake.seen[-1].closed()
        return Run(column, tuple(fake.seen), Answer(200, {}, b""))

    async def hear_break(self, column: Column, script: Script, path: str, body: Mapping[str, Any]) -> Run:
        """The upstream's error comes when the client has heard the first word."""
        fake = self.fakes[column.name]
        gate = fake.gate()
        fake.default = replace(script, pauses={script.error_after: gate})
        async with self._streaming(column, path, body) as (answer, heard):
            gate.open()
            rest = await answer.content.read()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Run(column, tuple(fake.seen), Answer(answer.status, headers, heard + rest))

    @contextlib.asynccontextmanager
    async def _streaming(
        self, column: Column, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, bytes]]:
        """An answer of which the client has heard the first word, and that beginning; the connection then closes."""
        wanted = {"model": column.name, **body}
        async with self.proxy.session.post(self.proxy.url + path, json=wanted) as answer:
            yield answer, await answer.content.readuntil(FIRST_WORD)
            answer.close()


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Nothing is left of one bench in the next: no key is parked, no model known to be absent."""
    async with contextlib.AsyncExitStack() as stack:
        fakes = {column.name: await stack.enter_async_context(FakeUpstream()) for column in COLUMNS}
        for column in COLUMNS:
            for rule in column.rules:
                refusal = Script(status=rule.status, error={"message": rule.message})
                fakes[column.name].script(refusal, when=rule.broken_by, times=None)
        upstreams = {
            f"up{number}": upstream(fakes[column.name], provider=column.provider)
            for number, column in enumerate(COLUMNS)
        }
        routes = [
            {"name": f"r{number}", "match": {"model": column.name}, "use": [f"up{number}/{column.model}"]}
            for number, column in enumerate(COLUMNS)
        ]
        config = document(upstreams, offline={"levels": []}) | {"routes": routes}
        yield Bench(await stack.enter_async_context(running(config)), fakes)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
