"""The official SDK against the real server, straight and through Failsoft: the same calls, the same answers."""

import json

import openai
import pytest

from tests.real.gguf import EOS, TOOL_CALL
from tests.real.llama import Llama

MESSAGES = [
    {"role": "system", "content": "You are a tiny model. 🦙"},
    {"role": "user", "content": "Say anything."},
]
SEVERITY = {
    "type": "object",
    "properties": {"severity": {"enum": ["low", "high"]}},
    "required": ["severity"],
    "additionalProperties": False,
}
BLOCK = {"type": "function", "function": {"name": "block", "description": "Block it.", "parameters": SEVERITY}}


def counts(usage: object) -> tuple[int, int, int]:
    """Prompt, completion and total tokens; how many of them came from a cache depends on what ran before."""
    assert isinstance(usage, openai.types.CompletionUsage)
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


def test_chat(client: openai.OpenAI, llama: Llama) -> None:
    """Greedy text and token counts are those that the server gives when it is asked without a proxy."""
    asked = {"model": llama.model, "messages": MESSAGES, "max_tokens": 24, "temperature": 0, "seed": 7}
    straight = llama.post("/v1/chat/completions", asked)
    answer = client.chat.completions.create(**asked)
    assert answer.object == "chat.completion"
    assert answer.model == llama.model
    assert answer.choices[0].message.content == straight["choices"][0]["message"]["content"]
    assert answer.choices[0].finish_reason == straight["choices"][0]["finish_reason"] == "length"
    assert counts(answer.usage) == counts(openai.types.CompletionUsage(**straight["usage"]))
    assert counts(answer.usage)[1] == 24


def test_a_seed_decides_the_sampled_text(client: openai.OpenAI, llama: Llama) -> None:
    asked = {"model": llama.model, "messages": MESSAGES, "max_tokens": 24, "temperature": 1.5, "seed": 11}
    straight = llama.post("/v1/chat/completions", asked)["choices"][0]["message"]["content"]
    assert client.chat.completions.create(**asked).choices[0].message.content == straight
    assert client.chat.completions.create(**(asked | {"seed": 12})).choices[0].message.content != straight


@pytest.mark.parametrize("include_usage", [False, True])
def test_streamed_chat(client: openai.OpenAI, llama: Llama, include_usage: bool) -> None:
    """The pieces add up to the whole answer; usage comes last, and only where it was asked for."""
    asked = {"model": llama.model, "messages": MESSAGES, "max_tokens": 24, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    *pieces, last = list(client.chat.completions.create(**asked, **options, stream=True))
    if include_usage:
        assert last.choices == []
        assert counts(last.usage) == counts(whole.usage)
        last = pieces.pop()
    chunks = [*pieces, last]
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.model for chunk in chunks} == {llama.model}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]


def test_a_field_that_only_this_server_knows_reaches_it(client: openai.OpenAI, llama: Llama) -> None:
    """`n_probs` and `timings_per_token` are llama.cpp's own; the answer to them comes back untouched."""
    answer = client.completions.create(
        model=llama.model,
        prompt="Hello",
        max_tokens=3,
        temperature=0,
        extra_body={"ignore_eos": True, "return_tokens": True, "timings_per_token": True},
    )
    assert answer.model_extra is not None
    assert answer.model_extra["timings"]["predicted_n"] == 3


def test_an_answer_that_ends_by_itself(client: openai.OpenAI, tiny: Llama) -> None:
    """`logit_bias` lifts the token that ends an answer above all others."""
    answer = client.chat.completions.create(
        model=tiny.model, messages=MESSAGES, max_tokens=24, temperature=0, logit_bias={str(EOS): 100}
    )
    assert answer.choices[0].finish_reason == "stop"
    assert counts(answer.usage)[1] == 1


def test_an_answer_in_the_form_of_a_schema(client: openai.OpenAI, llama: Llama) -> None:
    """The grammar that the server makes of the schema holds even a model that knows nothing."""
    answer = client.chat.completions.create(
        model=llama.model,
        messages=MESSAGES,
        max_tokens=400,
        temperature=0,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "finding", "schema": SEVERITY, "strict": True},
        },
    )
    assert answer.choices[0].finish_reason == "stop"
    assert json.loads(answer.choices[0].message.content or "")["severity"] in ("low", "high")


def test_a_tool_call_in_a_stream(client: openai.OpenAI, tiny: Llama) -> None:
    """The call's name comes first, its arguments in pieces; together they are what the schema asks for."""
    chunks = list(
        client.chat.completions.create(
            model=tiny.model,
            messages=MESSAGES,
            max_tokens=400,
            temperature=0,
            logit_bias={str(TOOL_CALL): 50, str(EOS): 100},
            tools=[BLOCK],
            tool_choice="required",
            parallel_tool_calls=False,
            stream=True,
        )
    )
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert {call.index for call in calls} == {0}
    assert calls[0].id
    assert calls[0].function is not None
    assert calls[0].function.name == "block"
    arguments = [call.function.arguments or "" for call in calls if call.function]
    assert len(arguments) > 2
    assert json.loads("".join(arguments))["severity"] in ("low", "high")
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [("Hello", 1), (["Hello", "there"], 2), ([40, 41, 42], 1), ([[40, 41], [42]], 2)],
    ids=["text", "texts", "tokens", "lists of tokens"],
)
def test_legacy_completion(client: openai.OpenAI, llama: Llama, prompt: object, choices: int) -> None:
    asked = {"model": llama.model, "prompt": prompt, "max_tokens": 8, "temperature": 0}
    straight = llama.post("/v1/completions", asked)
    answer = client.completions.create(**asked)
    assert answer.object == "text_completion"
    assert [choice.text for choice in answer.choices] == [choice["text"] for choice in straight["choices"]]
    assert [choice.index for choice in answer.choices] == list(range(choices))
    assert counts(answer.usage) == counts(openai.types.CompletionUsage(**straight["usage"]))


def test_streamed_legacy_completion(client: openai.OpenAI, llama: Llama) -> None:
    asked = {"model": llama.model, "prompt": "Hello", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**asked).choices[0].text
    chunks = list(client.completions.create(**asked, stream=True))
    said = [choice for chunk in chunks for choice in chunk.choices]
    assert len(said) > 1
    assert "".join(choice.text for choice in said) == whole
    assert said[-1].finish_reason == "length"


def test_models(client: openai.OpenAI, llama: Llama) -> None:
    """Failsoft lists a model by its upstream's name too; what is listed can be asked for."""
    [listed] = [model.id for model in client.models.list() if model.id.endswith(llama.model)]
    answer = client.completions.create(model=listed, prompt="Hello", max_tokens=1)
    assert counts(answer.usage)[1] == 1


def test_a_bad_parameter_is_the_callers_error(client: openai.OpenAI, llama: Llama) -> None:
    """The server's own 400 and its own words, as the SDK's typed exception."""
    with pytest.raises(openai.BadRequestError, match="temperature") as caught:
        client.chat.completions.create(
            model=llama.model, messages=MESSAGES, max_tokens=4, extra_body={"temperature": "hot"}
        )
    assert caught.value.type == "invalid_request_error"
