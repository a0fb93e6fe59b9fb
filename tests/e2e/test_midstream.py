"""On a route with `midstream: continue` a stream that broke is finished by others, or honestly not at all."""

from __future__ import annotations

import json

import openai
import pytest

from tests.e2e.harness import CHAT, document, upstream
from tests.upstream import Script, Usage

WORDS = ("Hello", ",", " world", "!")
WHOLE = "".join(WORDS)
CUT = Script(cut_frames=3, ending="reset")
"""The role, `Hello` and the comma; then the connection is gone."""


def route(upstreams, **fields):
    """A document whose one route goes on with broken streams; the models are `m` everywhere."""
    use = fields.pop("use", [f"{name}/m" for name in upstreams])
    sections = fields.pop("sections", {})
    routes = [{"name": "all", "match": {"model": "*"}, "use": use, "midstream": "continue"} | fields]
    return document(upstreams, routes=routes, **sections)


@pytest.fixture
async def pair(serve, one, two):
    return await serve(route({"one": upstream(one), "two": upstream(two)}))


async def told(proxy, **fields):
    """What the official SDK makes of a stream: its chunks, and the error it ends with, if any."""
    chunks = []
    async with proxy.sdk() as client:
        try:
            async for chunk in await client.chat.completions.create(**CHAT, stream=True, **fields):
                chunks.append(chunk)
        except openai.APIError as error:
            return chunks, error
    return chunks, None


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def record(proxy):
    """The latest request, as operators see it."""
    return (await proxy.admin("requests"))["requests"][0]


async def test_another_target_repeats_the_answer_and_tells_the_rest(pair, one, two):
    one.script(CUT)
    chunks, error = await told(pair)
    assert error is None
    assert text_of(chunks) == WHOLE
    assert two.seen[0].request.json["messages"] == CHAT["messages"]
    marks = [getattr(chunk, "x_failsoft", None) for chunk in chunks]
    mark = {"resumed": True, "how": "replay", "upstream": "two", "model": "m"}
    assert [one for one in marks if one] == [mark] * (len(marks) - marks.index(mark))
    assert marks[-1] == mark
