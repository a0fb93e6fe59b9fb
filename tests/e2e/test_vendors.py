"""What each OpenAI-shaped vendor does in its own way, as the official SDK meets it through the proxy."""

from __future__ import annotations

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
