"""What each OpenAI-shaped vendor does in its own way, as the official SDK meets it through the proxy."""

from __future__ import annotations

import json

import openai
import pytest

from tests.e2e.harness import document, upstream
from tests.upstream import Script, ToolCall

USER = {"role": "user", "content": "hi"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


@pytest.fixture
def vendor(serve, one):
    """A proxy in front of one fake that is configured as a vendor's."""

    async def start(provider, **fields):
        return await serve(document({"one": upstream(one, provider=provider, **fields)}))

    return start


async def sent(proxy, one, model="m", **fields):
    """What reaches the vendor, and the paths of what is lost."""
    answer = await proxy.post("/v1/chat/completions", {"model": model, "messages": [USER]} | fields)
    assert answer.status == 200, answer.body
    assert answer.headers["x-failsoft-upstream"] == "one"
    lost = answer.headers.get("x-failsoft-lossy", "")
    return one.seen[-1].request.json, [loss.partition(":")[0] for loss in lost.split("; ") if loss]


@pytest.mark.parametrize("provider", ["deepseek", "lmstudio", "ollama"])
async def test_the_length_is_said_under_the_name_that_is_obeyed(vendor, one, provider):
    told, lost = await sent(await vendor(provider), one, max_completion_tokens=9)
    assert (told["max_tokens"], "max_completion_tokens" in told, lost) == (9, False, [])


REFUSED = {
    "groq": {"logprobs": True, "top_logprobs": 2, "logit_bias": {"1": 1}, "n": 2},
    "ollama": {"tool_choice": "required", "parallel_tool_calls": False, "n": 2, "logit_bias": {"1": 1}, "user": "u"},
    "xai": {"web_search_options": {}},
}


@pytest.mark.parametrize("provider", REFUSED)
async def test_fields_that_are_refused_or_ignored_are_left_out_and_named(vendor, one, provider):
    told, lost = await sent(await vendor(provider), one, seed=1, **REFUSED[provider])
    assert not REFUSED[provider].keys() & told.keys()
    assert told["seed"] == 1
    assert set(lost) == REFUSED[provider].keys()


async def test_a_reasoning_grok_takes_no_penalties(vendor, one):
    told, lost = await sent(await vendor("xai"), one, "grok-4.7", presence_penalty=0.5, temperature=0.5)
    assert ("presence_penalty" in told, told["temperature"], lost) == (False, 0.5, ["presence_penalty"])


async def test_groq_gets_neither_names_nor_nulls(vendor, one):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
    told, lost = await sent(await vendor("groq"), one, messages=[USER | {"name": "ann"}, turn, RESULT])
    assert told["messages"] == [USER, {"role": "assistant", "tool_calls": [call]}, RESULT]
    assert lost == ["messages[0].name"]


async def test_deepseek_s_thinking_returns_with_its_calls(vendor, one):
    """Streamed, kept by the SDK, and sent back as it came: the next turn is refused without it."""
    one.script(Script(reasoning=("let me ", "see"), tool_calls=(ToolCall("weather"),)))
    async with (await vendor("deepseek")).sdk() as sdk:
        async with sdk.chat.completions.stream(model="deepseek-flash", messages=[USER], tools=TOOLS) as stream:
            message = (await stream.get_final_completion()).choices[0].message
        turn = message.model_dump(include={"role", "content", "reasoning_content"}) | {
            "tool_calls": [call.model_dump(include={"id", "type", "function"}) for call in message.tool_calls]
        }
        await sdk.chat.completions.create(model="deepseek-flash", messages=[USER, turn, RESULT], tools=TOOLS)
    assert one.seen[-1].request.json["messages"][1]["reasoning_content"] == "let me see"


async def test_deepseek_s_thinking_that_a_client_lost(vendor, one):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turn = {"role": "assistant", "content": "", "tool_calls": [call]}
    told, lost = await sent(await vendor("deepseek"), one, messages=[USER, turn, RESULT])
    assert told["messages"][1]["reasoning_content"] == " "
    assert lost == ["messages[1].reasoning_content"]


async def test_deepseek_is_told_in_its_own_words(vendor, one):
    proxy = await vendor("deepseek")
    text = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    told, lost = await sent(proxy, one, "deepseek-flash", messages=[text], reasoning_effort="none")
    assert (told["messages"][0]["content"], told["thinking"], lost) == ("ab", {"type": "disabled"}, [])
    assert "reasoning_effort" not in told
    told, lost = await sent(proxy, one, "deepseek-flash", reasoning_effort="medium")
    assert (told["reasoning_effort"], lost) == ("high", ["reasoning_effort"])


TYPED = [
    ("docker_model_runner", Script(status=404, body=b"model not found\n"), openai.NotFoundError),
    ("docker_model_runner", Script(status=503, body=b"not ready\n"), openai.InternalServerError),
    ("docker_model_runner", Script(status=400, body=b"request too large\n"), openai.BadRequestError),
    ("lmstudio", Script(body=b'{"error":"Unexpected endpoint or method. (POST /x)"}'), openai.InternalServerError),
    ("lmstudio", Script(status=400, body=b'{"error":{"message":"No models loaded."}}'), openai.NotFoundError),
    ("compatible", Script(status=429, body=b'{"error":{"message":"slow","code":429}}'), openai.RateLimitError),
    ("compatible", Script(body=b'{"error":{"message":"slow down","code":429}}'), openai.RateLimitError),
    ("compatible", Script(status=500, body=b"<html>502</html>"), openai.InternalServerError),
    ("compatible", Script(status=400, body=b'[{"error":{"message":"bad","code":400}}]'), openai.BadRequestError),
    ("deepseek", Script(finish="insufficient_system_resource"), openai.InternalServerError),
]


@pytest.mark.parametrize(("provider", "script", "kind"), TYPED)
async def test_errors_of_any_shape_are_typed(vendor, one, provider, script, kind):
    one.script(script, times=None)
    async with (await vendor(provider)).sdk(default_headers={"x-failsoft-offline": "never"}) as sdk:
        with pytest.raises(kind) as caught:
            await sdk.chat.completions.create(model="m", messages=[USER])
    assert caught.value.body.keys() >= {"message", "type", "param", "code"}


@pytest.mark.parametrize("irregular", [True, False])
async def test_an_irregular_server_can_be_read_anew(vendor, one, irregular):
    """Calls without index, arguments as an object, no finish reason: the SDK's own accumulator needs the protocol."""
    stream = b'data:{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":{"x":1}}}]}}]}\n\n'
    one.script(Script(chunks=(stream, b"data: [DONE]\n\n"), content_type="text/event-stream"), times=None)
    async with (await vendor("compatible", irregular=irregular)).sdk() as sdk:
        chunks = [c async for c in await sdk.chat.completions.create(model="m", messages=[USER], stream=True)]
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [call.index for call in calls] == ([0, 0] if irregular else [None])
    if irregular:
        assert "".join(call.function.arguments for call in calls) == '{"x":1}'
        assert chunks[-1].choices[0].finish_reason == "tool_calls"


PAIR = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("weather", "time")]
TIME = {"type": "function", "function": {"name": "time"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TIME]}}


@pytest.mark.parametrize("choice", [TIME, ALLOWED], ids=["named", "allowed"])
@pytest.mark.parametrize(
    ("provider", "told", "lost"), [("lmstudio", "required", []), ("ollama", None, ["tool_choice"])]
)
async def test_one_tool_is_offered_where_none_can_be_named(vendor, one, provider, told, lost, choice):
    body, losses = await sent(await vendor(provider), one, tools=PAIR, tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["time"]
    assert (body.get("tool_choice"), losses) == (told, lost)


async def test_a_server_that_obeys_no_choice_is_not_told_of_tools_that_it_may_not_call(vendor, one):
    body, losses = await sent(await vendor("ollama"), one, tools=PAIR, tool_choice="none")
    assert (not {"tools", "tool_choice"} & body.keys(), losses) == (True, [])


@pytest.mark.parametrize("provider", ["lmstudio", "ollama"])
async def test_a_picture_by_its_address_is_refused_before_anything_is_sent(vendor, one, provider):
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    async with (await vendor(provider)).sdk() as sdk:
        with pytest.raises(openai.BadRequestError, match="data: URL") as caught:
            await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": [picture]}])
    assert caught.value.param == "messages[0].content[0].image_url.url"
    assert not one.seen


@pytest.mark.parametrize("provider", ["lmstudio", "ollama", "groq"])
@pytest.mark.parametrize("stream", [True, False])
async def test_thinking_has_one_name_for_clients_and_its_own_for_the_server(vendor, one, provider, stream):
    one.script(Script(reasoning=("let me ", "see"), reasoning_field="reasoning"))
    proxy = await vendor(provider)
    async with proxy.sdk() as sdk:
        if stream:
            async with sdk.chat.completions.stream(model="m", messages=[USER]) as events:
                message = (await events.get_final_completion()).choices[0].message
        else:
            message = (await sdk.chat.completions.create(model="m", messages=[USER])).choices[0].message
        assert message.reasoning_content == "let me see"
        turn = {"role": "assistant", "content": message.content, "reasoning_content": message.reasoning_content}
        await sdk.chat.completions.create(model="m", messages=[USER, turn, USER])
    told = one.seen[-1].request.json["messages"][1]
    assert (told["reasoning"], "reasoning_content" in told) == ("let me see", False)


async def test_the_name_of_thinking_can_be_configured(vendor, one):
    one.script(Script(reasoning=("hm",), reasoning_field="thoughts"))
    answer = await (await vendor("compatible", reasoning_field="thoughts")).chat()
    assert answer.json["choices"][0]["message"]["reasoning_content"] == "hm"


@pytest.mark.parametrize("stream", [True, False])
async def test_thinking_between_tags_is_told_apart_where_that_is_configured(vendor, one, stream):
    """As LM Studio and llama.cpp give it when they leave the model's text as it is."""
    one.script(Script(deltas=("<th", "ink>\nlet me", " see</", "think>\n\n", "Hello", "!")))
    proxy = await vendor("lmstudio", reasoning_tag="think")
    async with proxy.sdk() as sdk:
        if stream:
            async with sdk.chat.completions.stream(model="m", messages=[USER]) as events:
                message = (await events.get_final_completion()).choices[0].message
        else:
            message = (await sdk.chat.completions.create(model="m", messages=[USER])).choices[0].message
    assert (message.reasoning_content, message.content) == ("let me see", "Hello!")


async def test_the_form_of_an_answer_is_looked_for_behind_the_thinking(vendor, one):
    """LM Studio takes no `json_object`, so the proxy sees to the form itself."""
    one.script(Script(deltas=("<think>{not JSON}</think>", '{"a": 1}')))
    proxy = await vendor("lmstudio", reasoning_tag="think")
    message = (await proxy.chat(response_format={"type": "json_object"})).json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("{not JSON}", '{"a": 1}')


async def test_raw_completions_keep_their_tags(vendor, one):
    one.script(Script(deltas=("<think>a</think>", "b")))
    proxy = await vendor("lmstudio", reasoning_tag="think")
    answer = await proxy.post("/v1/completions", {"model": "m", "prompt": "x"})
    assert answer.json["choices"][0]["text"] == "<think>a</think>b"


async def test_grok_s_reasoning_is_part_of_the_completion(vendor, one):
    details = {"completion_tokens_details": {"reasoning_tokens": 20}}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35} | details
    frames = [
        {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]
    chunks = tuple(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)
    one.script(Script(chunks=(*chunks, b"data: [DONE]\n\n"), content_type="text/event-stream"))
    async with (await vendor("xai")).sdk() as sdk:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        told = [chunk async for chunk in await sdk.chat.completions.create(model="m", messages=[USER], **options)]
    assert (told[-1].usage.completion_tokens, told[-1].usage.total_tokens) == (25, 35)


FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


async def test_groq_s_streams_of_json_are_made_here(vendor, one):
    """Asked for the whole, told as the stream that the client wanted."""
    one.script(Script(deltas=('{"a":', " 1}")))
    async with (await vendor("groq")).sdk() as sdk:
        options = {"response_format": FORM, "stream_options": {"include_usage": True}}
        async with sdk.chat.completions.stream(model="m", messages=[USER], **options) as events:
            completion = await events.get_final_completion()
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == ('{"a": 1}', "stop")
    assert completion.usage.total_tokens == 11
    body = one.seen[-1].request.json
    assert ("stream" in body, "stream_options" in body, body["response_format"]) == (False, False, FORM)


async def test_a_whole_answer_for_a_stream_may_take_its_time(vendor, one):
    """Its head comes when the model is done, long after that of a stream would have."""
    one.script(Script(deltas=("{}",), before_head=0.3), times=None)
    proxy = await vendor("groq", timeouts={"first_byte": "50ms", "first_token": "50ms"})
    answer = await proxy.chat(stream=True, response_format={"type": "json_object"})
    assert (answer.text, answer.headers["x-failsoft-upstream"]) == ("{}", "one")


@pytest.mark.parametrize(
    ("stream", "column"), [(True, {"event brand_new": 2, "block novelty": 1}), (False, {"block novelty": 1})]
)
async def test_what_there_is_no_word_for_is_counted_and_shown(vendor, one, stream, column):
    block = {"type": "novelty", "what": "?"}
    if stream:
        kinds = [
            {"type": "message_start", "message": {"id": "m", "model": "c"}}, {"type": "brand_new"},
            {"type": "content_block_start", "index": 0, "content_block": block}, {"type": "brand_new"},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "hi"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"},
        ]  # fmt: skip
        chunks = tuple(b"data: " + json.dumps(kind).encode() + b"\n\n" for kind in kinds)
        one.script(Script(chunks=chunks, content_type="text/event-stream"), times=None)
    else:
        content = [block, {"type": "text", "text": "hi"}]
        one.script(
            Script(body=json.dumps({"id": "m", "content": content, "stop_reason": "end_turn"}).encode()), times=None
        )
    proxy = await vendor("anthropic")
    for _ in range(2):
        answer = await proxy.chat(model="claude-sonnet-5", stream=stream)
        assert answer.text == "hi"
    told = await proxy.admin("statistics")
    assert told["upstreams"]["one"]["unknown"] == {what: 2 * times for what, times in column.items()}


async def test_an_error_before_the_first_word_is_told_as_it_would_be_without_a_stream(vendor, one):
    """A picture that the vendor cannot read is the client's to mend, wherever in the answer the vendor says so."""
    error = {"code": "invalid_image", "message": "The image is not valid."}
    kinds = [{"type": "response.created", "response": {}}, {"type": "response.failed", "response": {"error": error}}]
    chunks = tuple(b"data: " + json.dumps(kind).encode() + b"\n\n" for kind in kinds)
    one.script(Script(chunks=chunks, content_type="text/event-stream"), times=None)
    async with (await vendor("openai")).sdk() as sdk:
        with pytest.raises(openai.BadRequestError, match="The image is not valid") as caught:
            await sdk.chat.completions.create(model="gpt-5.5-pro", messages=[USER], stream=True)
    assert caught.value.code == "invalid_image"


async def test_deepseek_is_told_who_asks_and_not_what_it_ignores(vendor, one):
    proxy = await vendor("deepseek")
    told, lost = await sent(proxy, one, "deepseek-flash", user="ann", temperature=0.5)
    assert (told["user_id"], {"user", "temperature"} & told.keys(), lost) == ("ann", set(), ["temperature"])
    told, lost = await sent(proxy, one, "deepseek-flash", temperature=0.5, reasoning_effort="none")
    assert (told["temperature"], lost) == (0.5, [])


@pytest.mark.parametrize("provider", ["deepseek", "ollama"])
async def test_custom_tools_go_to_whoever_knows_them(serve, one, two, provider):
    proxy = await serve(document({"one": upstream(one, provider=provider), "two": upstream(two)}))
    tools = [{"type": "custom", "custom": {"name": "sql"}}]
    answer = await proxy.chat(tools=tools)
    assert (answer.headers["x-failsoft-upstream"], len(one.seen)) == ("two", 0)
    alone = await (await serve(document({"one": upstream(one, provider=provider)}))).chat(tools=tools)
    assert (alone.status, alone.error["param"]) == (400, "tools[0].type")


@pytest.mark.parametrize(
    ("fields", "path", "texts"),
    [
        ({"prompt": "a"}, "/completions", ["Hello, world!"]),
        ({"prompt": ["a", "b"]}, "/chat/completions", ["Hello, world!"] * 2),
        ({"prompt": "a ", "echo": True}, "/chat/completions", ["a Hello, world!"]),
        ({"prompt": "a", "n": 1, "best_of": 1, "echo": False, "suffix": "z"}, "/completions", ["Hello, world!"]),
    ],
)
async def test_ollama_is_asked_for_more_than_one_prompt_as_a_chat(vendor, one, fields, path, texts):
    async with (await vendor("ollama")).sdk() as sdk:
        answer = await sdk.completions.create(model="m", **fields)
    assert [choice.text for choice in answer.choices] == texts
    assert {seen.path.removeprefix("/v1") for seen in one.seen} == {path}


async def test_the_file_s_own_headers_go_with_every_request(vendor, one):
    proxy = await vendor("openai", headers={"OpenAI-Project": "p-1"})
    await proxy.chat({"openai-project": "the-client-s"}, model="gpt-4.1")
    asked = [seen.request.header("openai-project") for seen in one.everything]
    assert len(asked) >= 2, "the list of models too"
    assert set(asked) == {"p-1"}
