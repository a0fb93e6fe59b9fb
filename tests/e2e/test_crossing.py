"""Legacy completions over an upstream that has only chat (wire-facts 1.7)."""

from __future__ import annotations

import json

import pytest

from tests.e2e.harness import document, upstream
from tests.upstream import Script

LEGACY = {"model": "m", "prompt": "Say: "}
PATH = "/v1/completions"


@pytest.fixture
async def proxy(serve, one, two):
    """The first upstream has only chat, the second has both."""
    return await serve(document({"one": upstream(one, provider="deepseek"), "two": upstream(two)}))


async def test_a_prompt_becomes_a_message_and_the_answer_a_completion(proxy, one):
    answer = await proxy.post(PATH, LEGACY | {"max_tokens": 5, "temperature": 0.5, "stop": ["x"]})
    assert answer.status == 200, answer.body
    assert answer.headers["x-failsoft-mode"] == "translate"
    assert (answer.json["object"], answer.json["choices"][0]["text"]) == ("text_completion", "Hello, world!")
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert answer.json["usage"]["total_tokens"] == 11
    [seen] = one.seen
    assert seen.path == "/v1/chat/completions"
    sent = seen.request.json
    assert sent["messages"] == [{"role": "user", "content": "Say: "}]
    assert (sent["max_tokens"], sent["temperature"], sent["stop"]) == (5, 0.5, ["x"])


async def test_several_prompts_become_several_requests(proxy, one):
    answer = await proxy.post(PATH, LEGACY | {"prompt": ["a", "b"], "n": 2, "echo": True})
    texts = {choice["index"]: choice["text"] for choice in answer.json["choices"]}
    assert texts == {0: "aHello, world!", 1: "aHello, world!", 2: "bHello, world!", 3: "bHello, world!"}
    assert answer.json["usage"]["total_tokens"] == 22
    assert [seen.request.json["messages"][0]["content"] for seen in one.seen] == ["a", "b"]


@pytest.mark.parametrize("asked", [False, True])
async def test_streamed(proxy, one, asked):
    body = LEGACY | {"prompt": ["a", "b"], "echo": True, "stream": True, "stream_options": {"include_usage": asked}}
    answer = await proxy.post(PATH, body)
    assert answer.frames[-1] == b"data: [DONE]"
    assert answer.body.count(b"[DONE]") == 1
    chunks = [json.loads(frame.removeprefix(b"data: ")) for frame in answer.frames[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == {0: "aHello, world!", 1: "bHello, world!"}
    assert [chunk["usage"]["total_tokens"] for chunk in chunks if chunk.get("usage")] == ([22] if asked else [])


CANNOT_CROSS = {
    "tokens": {"prompt": [1, 2, 3]},
    "lists of tokens": {"prompt": [[1], [2]]},
    "suffix": {"suffix": "end"},
    "logprobs": {"logprobs": 2},
    "best_of": {"best_of": 3},
}


@pytest.mark.parametrize("fields", CANNOT_CROSS.values(), ids=CANNOT_CROSS)
async def test_what_a_chat_cannot_say_is_never_dropped_in_silence(proxy, one, two, fields):
    """It goes to an upstream that has the endpoint."""
    answer = await proxy.post(PATH, LEGACY | fields)
    assert not one.seen
    assert answer.status == 200, answer.body
    assert answer.headers["x-failsoft-upstream"] == "two"
    assert fields.items() <= two.seen[0].request.json.items()


@pytest.mark.parametrize("fields", CANNOT_CROSS.values(), ids=CANNOT_CROSS)
async def test_or_is_the_client_s_mistake_if_there_is_none(serve, one, fields):
    proxy = await serve(document({"one": upstream(one, provider="deepseek")}))
    answer = await proxy.post(PATH, LEGACY | fields)
    assert not one.seen
    assert answer.status == 400, answer.body
    assert answer.error["param"] in fields


async def test_a_second_prompt_that_fails_before_anything_was_said_moves_on(proxy, one):
    one.script(Script(status=500), when=lambda request: b'"b"' in request.body, times=None)
    answer = await proxy.post(PATH, LEGACY | {"prompt": ["a", "b"]})
    assert answer.headers["x-failsoft-upstream"] == "two"
    assert len(answer.json["choices"]) == 2


async def test_a_second_prompt_that_fails_in_a_stream_breaks_it(proxy, one, two):
    one.script(Script(status=500), when=lambda request: b'"b"' in request.body, times=None)
    answer = await proxy.post(PATH, LEGACY | {"prompt": ["a", "b"], "stream": True})
    assert json.loads(answer.frames[-1].removeprefix(b"data: "))["error"]["code"] == "stream_interrupted"
    assert not two.seen
