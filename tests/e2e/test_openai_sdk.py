"""The official OpenAI SDK, pointed at the proxy by `base_url`, works unchanged."""

from __future__ import annotations

import asyncio

import openai
import pytest

from tests.e2e.harness import CHAT, document, upstream
from tests.upstream import Script, ToolCall

PROMPTS = {
    "string": ("a", 1),
    "list": (["a", "b"], 2),
    "tokens": ([1, 2, 3], 1),
    "list of tokens": ([[1, 2], [3]], 2),
}
TYPED = {
    400: openai.BadRequestError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}


@pytest.fixture
async def sdk(proxy):
    async with proxy.sdk() as client:
        yield client


@pytest.fixture
def sync_sdk(proxy):
    with proxy.sync_sdk() as client:
        yield client


async def test_chat(sdk):
    answer = await sdk.chat.completions.create(**CHAT)
    assert answer.choices[0].message.content == "Hello, world!"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 11
    assert answer._request_id.startswith("req_")


async def test_chat_stream(sdk):
    stream = await sdk.chat.completions.create(**CHAT, stream=True)
    chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Hello", ",", " world", "!", None]
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("asked", [True, False])
async def test_usage_chunk_comes_if_and_only_if_it_was_asked_for(sdk, asked):
    options = {"include_usage": asked}
    chunks = [c async for c in await sdk.chat.completions.create(**CHAT, stream=True, stream_options=options)]
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == ([11] if asked else [])
    assert all(chunk.choices for chunk in chunks) is not asked


async def test_usage_that_an_upstream_always_sends_is_kept_from_those_who_did_not_ask(sdk, one):
    one.script(Script(usage_always=True))
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**CHAT, stream=True)]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_tools_in_a_stream(sdk, one):
    one.script(Script(tool_calls=(ToolCall("weather"), ToolCall("time", ('{"zone":', '"CET"}'), "call_2"))))
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("weather", "time")]
    async with sdk.chat.completions.stream(**CHAT, tools=tools) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("call_1", "weather", '{"city":"Paris"}'),
        ("call_2", "time", '{"zone":"CET"}'),
    ]
    assert final.choices[0].finish_reason == "tool_calls"


async def test_several_choices(sdk):
    answer = await sdk.chat.completions.create(**CHAT, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**CHAT, n=2, stream=True)]
    assert {chunk.choices[0].index for chunk in chunks} == {0, 1}


async def test_raw_response_gives_the_receipt(sdk):
    raw = await sdk.chat.completions.with_raw_response.create(**CHAT)
    assert (raw.headers["x-failsoft-upstream"], raw.headers["x-failsoft-model"]) == ("one", "m")


@pytest.mark.parametrize(("prompt", "choices"), PROMPTS.values(), ids=PROMPTS)
async def test_legacy_prompt_forms(sdk, one, prompt, choices):
    answer = await sdk.completions.create(model="m", prompt=prompt, n=2)
    assert len(answer.choices) == 2 * choices
    assert one.seen[0].request.json["prompt"] == prompt
    stream = await sdk.completions.create(model="m", prompt=prompt, stream=True)
    texts: dict[int, str] = {}
    async for chunk in stream:
        index = chunk.choices[0].index
        texts[index] = texts.get(index, "") + chunk.choices[0].text
    assert texts == dict.fromkeys(range(choices), "Hello, world!")


async def test_legacy_options_reach_the_upstream(sdk, one):
    asked = {"echo": True, "suffix": "end", "logprobs": 2, "best_of": 2, "max_tokens": 5, "logit_bias": {"50256": -100}}
    answer = await sdk.completions.create(model="m", prompt="Say: ", **asked)
    assert answer.choices[0].text == "Say: Hello, world!"
    assert answer.choices[0].logprobs.tokens == ["Hello", ",", " world", "!"]
    assert asked.items() <= one.seen[0].request.json.items()


async def test_models(sdk, one):
    listed = [model.id async for model in await sdk.models.list()]
    assert {"one/fake-small", "one/vendor/fake:q4"} <= set(listed)
    for name in ("one/fake-small", "one/vendor/fake:q4"):
        assert (await sdk.models.retrieve(name)).id == name
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("one/absent")


@pytest.mark.parametrize("status", TYPED)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_typed_exceptions(serve, one, status, stream):
    proxy = await serve(document({"one": upstream(one)}, offline={"levels": []}))
    one.script(Script(status=status), times=None)
    async with proxy.sdk() as sdk:
        with pytest.raises(TYPED[status]) as caught:
            await sdk.chat.completions.create(**CHAT, stream=stream)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.request_id.startswith("req_")


async def test_an_unknown_model_is_not_found(serve, one):
    proxy = await serve(document({"one": upstream(one)}, offline={"levels": []}))
    one.script(Script(status=404), times=None)
    async with proxy.sdk() as sdk:
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.chat.completions.create(**CHAT)
    assert caught.value.code == "model_not_found"


async def test_an_unknown_client_key_is_refused(serve, one):
    tenants = {"acme": {"keys": ["sha256:" + "0" * 64]}}
    proxy = await serve(document({"one": upstream(one)}, tenants=tenants))
    async with proxy.sdk() as sdk:
        with pytest.raises(openai.AuthenticationError):
            await sdk.chat.completions.create(**CHAT)
    assert not one.seen


async def test_the_upstream_key_s_trouble_is_not_the_client_s(serve, one):
    """A 401 of the upstream is about the proxy's credentials: the client gets no 401 and none of its text."""
    proxy = await serve(document({"one": upstream(one)}, offline={"levels": []}))
    one.script(Script(status=401, error={"message": "Incorrect API key provided: sk-secret"}), times=None)
    async with proxy.sdk() as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.chat.completions.create(**CHAT)
    assert (caught.value.status_code, caught.value.code) == (503, "upstream_auth")
    assert "sk-secret" not in caught.value.response.text


async def test_a_timeout_of_the_client_is_a_timeout(proxy, one):
    """Where the proxy knows nothing of it; what it knows is told in `test_retries`."""
    one.script(Script(before_head="never"))
    async with proxy.sdk(timeout=0.2) as sdk:
        with pytest.raises(openai.APITimeoutError):
            await sdk.chat.completions.create(**CHAT, extra_headers={"x-stainless-read-timeout": "600"})
    await one.seen[0].closed()


async def test_a_timeout_of_the_upstream_is_a_504(serve, one):
    timeouts = {"first_byte": "100ms", "attempt": "100ms"}
    proxy = await serve(document({"one": upstream(one, timeouts=timeouts)}, offline={"levels": []}))
    one.script(Script(before_head="never"), times=None)
    async with proxy.sdk() as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.chat.completions.create(**CHAT)
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")


async def test_the_sdk_does_not_repeat_what_the_proxy_has_tried(serve, one):
    """`x-should-retry: false` keeps a client from tripling the load of an outage."""
    proxy = await serve(document({"one": upstream(one)}, offline={"levels": []}))
    one.script(Script(status=500), times=None)
    async with proxy.sdk(max_retries=2) as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.chat.completions.create(**CHAT)
    assert "x-stainless-retry-count" not in caught.value.response.headers
    assert len(one.seen) == int(caught.value.response.headers["x-failsoft-attempts"])


async def test_the_sync_sdk(sync_sdk, one):
    """The same client without asyncio, over its own connections."""

    def work():
        whole = sync_sdk.chat.completions.create(**CHAT).choices[0].message.content
        with sync_sdk.chat.completions.create(**CHAT, stream=True) as stream:
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        legacy = sync_sdk.completions.create(model="m", prompt="a").choices[0].text
        pieces = sync_sdk.completions.create(model="m", prompt="a", stream=True)
        listed = [model.id for model in sync_sdk.models.list()]
        return {whole, streamed, legacy, "".join(piece.choices[0].text for piece in pieces)}, listed

    said, listed = await asyncio.to_thread(work)
    assert said == {"Hello, world!"}
    assert "one/fake-large" in listed


async def test_the_sync_sdk_s_exceptions(sync_sdk, one):
    one.script(Script(status=400, error={"message": "too many cooks", "param": "messages"}))

    def work():
        with pytest.raises(openai.BadRequestError) as caught:
            sync_sdk.chat.completions.create(**CHAT)
        return caught.value

    error = await asyncio.to_thread(work)
    assert (error.param, "too many cooks" in error.message) == ("messages", True)


async def test_the_sync_sdk_leaves_in_mid_stream(sync_sdk, one):
    gate = one.gate()
    one.script(Script(pauses={3: gate}))

    def work():
        stream = sync_sdk.chat.completions.create(**CHAT, stream=True)
        next(iter(stream))
        stream.close()

    await asyncio.to_thread(work)
    await one.seen[0].closed()
    assert one.seen[0].left
