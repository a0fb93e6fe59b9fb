"""When every upstream has failed, an honest, labelled answer comes back, in the caller's dialect and mode."""

from __future__ import annotations

import json

import openai
import pytest

from tests.e2e.harness import CHAT, document, upstream
from tests.upstream import Script

RULES = [
    {"name": "billing", "match": {"contains": ["invoice"]}, "text": "Billing is asleep ({model}, {route})."},
    {"name": "status", "match": {"contains": ["as JSON"]}, "text": "-", "value": {"status": "unknown"}},
]


@pytest.fixture
async def proxy(serve, one):
    one.default = Script(status=500)
    return await serve(document({"one": upstream(one)}, offline={"rules": RULES}))


def labelled(answer):
    assert answer.status == 200
    assert answer.headers["x-failsoft-offline"] == "rules"
    assert answer.headers["x-failsoft-upstream"] == "offline"
    return answer


async def test_whole_chat(proxy):
    answer = labelled(await proxy.chat(n=2)).json
    assert answer["object"] == "chat.completion"
    assert (answer["model"], answer["system_fingerprint"]) == ("offline/rules", "fp_offline")
    assert answer["x_failsoft"]["synthesized"] is True
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["stop", "stop"]
    assert answer["usage"]["completion_tokens"] > 0
    assert "No language model could be reached" in answer["choices"][0]["message"]["content"]


async def test_streamed_chat(proxy):
    answer = labelled(await proxy.chat(stream=True, stream_options={"include_usage": True}))
    assert answer.frames[-1] == b"data: [DONE]"
    chunks = [json.loads(frame[6:]) for frame in answer.frames[:-1]]
    assert {chunk["model"] for chunk in chunks} == {"offline/rules"}
    assert {chunk["system_fingerprint"] for chunk in chunks} == {"fp_offline"}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert "No language model could be reached" in answer.text


async def test_whole_and_streamed_say_the_same(proxy):
    messages = [{"role": "user", "content": "Where is my INVOICE?"}]
    whole = await proxy.chat(messages=messages)
    streamed = await proxy.chat(messages=messages, stream=True)
    assert whole.text == streamed.text == "Billing is asleep (m, all)."


async def test_legacy_completions(proxy):
    whole = labelled(await proxy.post("/v1/completions", {"model": "m", "prompt": ["invoice", "hi"], "n": 2})).json
    assert whole["object"] == "text_completion"
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    assert all(choice["text"] for choice in whole["choices"])
    streamed = labelled(await proxy.post("/v1/completions", {"model": "m", "prompt": "invoice", "stream": True}))
    chunks = [json.loads(frame[6:]) for frame in streamed.frames[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == "Billing is asleep (m, all)."
    assert streamed.frames[-1] == b"data: [DONE]"


async def test_token_prompts_get_an_answer_too(proxy):
    labelled(await proxy.post("/v1/completions", {"model": "m", "prompt": [1, 2, 3]}))


async def test_the_sdk_reads_it(proxy):
    async with proxy.sdk() as sdk:
        whole = await sdk.chat.completions.create(**CHAT)
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**CHAT, stream=True)]
    assert whole.model == chunks[0].model == "offline/rules"


async def test_spanish_is_answered_in_spanish(proxy):
    answer = await proxy.chat(messages=[{"role": "user", "content": "¿Cuál es la capital de Francia, por favor?"}])
    assert "ningún modelo" in answer.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_never_means_the_error(proxy, stream):
    answer = await proxy.chat({"x-failsoft-offline": "never"}, stream=stream)
    assert answer.status == 502
    assert answer.error["code"] == "upstream_fault"
    assert answer.headers["x-should-retry"] == "false"
    assert "x-failsoft-offline" not in answer.headers


async def test_json_is_never_invented(proxy):
    wants = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "required": ["age"]}}}
    answer = await proxy.chat(response_format=wants)
    assert (answer.status, answer.error["code"]) == (503, "offline_unavailable")


async def test_json_comes_from_a_rule_that_suits(proxy):
    messages = [{"role": "user", "content": "Tell me as JSON"}]
    answer = await proxy.chat(messages=messages, response_format={"type": "json_object"})
    assert json.loads(answer.text) == {"status": "unknown"}


async def test_a_required_tool_call_is_never_invented(proxy):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    answer = await proxy.chat(tools=tools, tool_choice="required")
    assert (answer.status, answer.error["code"]) == (503, "offline_unavailable")


async def test_a_request_at_fault_gets_no_offline_answer(proxy, one):
    one.script(Script(status=400))
    assert (await proxy.chat()).status == 400


async def test_no_upstream_at_all(serve):
    proxy = await serve(document({}, routes=[]))
    labelled(await proxy.chat(model="auto"))


async def test_a_route_may_forbid_it(serve, one):
    one.default = Script(status=500)
    route = {"name": "all", "match": {"model": "*"}, "use": ["one/*"], "offline": "never"}
    proxy = await serve(document({"one": upstream(one)}, routes=[route]))
    assert (await proxy.chat()).status == 502


async def test_throttled_everywhere_names_the_wait(serve, one):
    one.default = Script(status=429, headers=(("retry-after", "7"),))
    proxy = await serve(document({"one": upstream(one)}, offline={"levels": []}))
    answer = await proxy.chat()
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    with pytest.raises(openai.RateLimitError):
        async with proxy.sdk() as sdk:
            await sdk.chat.completions.create(**CHAT)
