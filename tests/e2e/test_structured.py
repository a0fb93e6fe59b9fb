"""Structured output from targets that have none: the official SDK parses it, and no stream ever lies."""

from __future__ import annotations

from dataclasses import replace

import openai
import pydantic
import pytest

from tests.e2e.harness import document, upstream
from tests.upstream import Script, ToolCall, Usage


class Place(pydantic.BaseModel):
    city: str
    people: int = pydantic.Field(ge=0)


PARIS = Place(city="Paris", people=2)
AS_PLACE = {
    "type": "json_schema",
    "json_schema": {"name": "place", "schema": Place.model_json_schema(), "strict": True},
}
AS_OBJECT = {"type": "json_object"}
FENCED = Script(deltas=("```", "json\n", '{"city":"Par', 'is","people":2}', "\n``", "`\n"))
WORDS = Script(deltas=("Paris", " has ", "two."))
WRONG = Script(deltas=('{"city":"Par', 'is"', "}"))
ASKED = {"messages": [{"role": "user", "content": "Name a city, as JSON."}]}
EMULATED = "response_format: emulated: the model is asked for it in words, and its answer is checked"

# A target by its provider and model, the form that it lacks, and what it is sent in place of it.
LACKING = [
    ("deepseek", "deepseek-v4-pro", AS_PLACE, {"response_format": AS_OBJECT}),
    ("anthropic", "claude-opus-4-1", AS_PLACE, {"output_config": None}),
    ("anthropic", "claude-sonnet-5", AS_OBJECT, {"output_config": None}),
    ("lmstudio", "local", AS_OBJECT, {"response_format": {
        "type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}}),
]  # fmt: skip
lacking = pytest.mark.parametrize(("provider", "model", "form", "native"), LACKING)


def routed(fake, provider, model, **route):
    routes = [{"name": "r", "match": {"model": "*"}, "use": [f"up/{model}"], **route}]
    return document({"up": upstream(fake, provider=provider)}, offline={"levels": []}) | {"routes": routes}


@lacking
async def test_the_form_is_asked_for_in_words_and_given(one, serve, provider, model, form, native):
    proxy = await serve(routed(one, provider, model))
    one.default = FENCED
    answer = await proxy.chat(**ASKED, response_format=form)
    assert (answer.status, answer.headers["x-failsoft-lossy"]) == (200, EMULATED)
    assert Place.model_validate_json(answer.text) == PARIS
    sent = one.seen[-1].request.json
    assert native == {name: sent.get(name) for name in native}
    assert "Answer with" in str(sent.get("system") or sent["messages"][0])
    stream = await proxy.chat(**ASKED, response_format=form, stream=True)
    assert (Place.model_validate_json(stream.text), stream.frames[-1]) == (PARIS, b"data: [DONE]")


async def test_a_dictionary_is_not_forced_to_be_empty(one, serve):
    """The vendor's grammar knows closed objects only."""
    proxy = await serve(routed(one, "anthropic", "claude-sonnet-5"))
    one.default = Script(deltas=('{"sizes":{"Paris":2}}',))

    class Sizes(pydantic.BaseModel):
        sizes: dict[str, int]

    async with proxy.sdk() as sdk:
        answer = await sdk.chat.completions.parse(model="m", **ASKED, response_format=Sizes)
    assert answer.choices[0].message.parsed == Sizes(sizes={"Paris": 2})
    assert "output_config" not in one.seen[-1].request.json


async def test_a_server_that_the_file_says_has_no_schemas(one, serve):
    families = {"one/*": {"json_schema": False, "json_object": False}}
    proxy = await serve(document({"one": upstream(one)}, families=families))
    one.default = FENCED
    for form in (AS_PLACE, AS_OBJECT):
        answer = await proxy.chat(**ASKED, response_format=form)
        assert (Place.model_validate_json(answer.text), answer.headers["x-failsoft-lossy"]) == (PARIS, EMULATED)
        assert "response_format" not in one.seen[-1].request.json


async def test_a_form_beside_tools(one, serve):
    """Gemini 2.5 refuses the two together."""
    proxy = await serve(routed(one, "gemini", "gemini-2.5-flash"))
    one.default = FENCED
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    answer = await proxy.chat(**ASKED, response_format=AS_PLACE, tools=tools)
    assert (Place.model_validate_json(answer.text), answer.headers["x-failsoft-lossy"]) == (PARIS, EMULATED)
    assert "responseMimeType" not in one.seen[-1].request.json.get("generationConfig", {})
    await proxy.chat(**ASKED, response_format=AS_PLACE)
    assert one.seen[-1].request.json["generationConfig"]["responseMimeType"] == "application/json"


@pytest.mark.parametrize(("provider", "model"), [("deepseek", "deepseek-v4-pro"), ("anthropic", "claude-opus-4-1")])
async def test_the_sdk_parses_whole_and_streamed(one, serve, provider, model):
    proxy = await serve(routed(one, provider, model))
    one.default = FENCED
    async with proxy.sdk() as sdk:
        whole = await sdk.chat.completions.parse(model="m", **ASKED, response_format=Place)
        assert whole.choices[0].message.parsed == PARIS
        async with sdk.chat.completions.stream(model="m", **ASKED, response_format=Place) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.parsed == PARIS


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("unfit", [WORDS, Script(deltas=("",))])
async def test_another_target_answers_where_nothing_was_told_yet(one, two, serve, unfit, stream):
    """The first is asked once more, then the next; in a stream too, for words are no object and stay behind."""
    ups = {"one": upstream(one, provider="deepseek"), "two": upstream(two)}
    proxy = await serve(document(ups, offline={"levels": []}))
    one.default, two.default = unfit, Script(deltas=('{"city":"Paris",', '"people":2}'))
    answer = await proxy.chat(**ASKED, response_format=AS_PLACE, stream=stream)
    assert Place.model_validate_json(answer.text) == PARIS
    assert answer.headers["x-failsoft-upstream"] == "two"
    assert (len(one.seen), len(two.seen)) == (2, 1)


async def test_a_whole_answer_that_does_not_satisfy_is_none(one, two, serve):
    ups = {"one": upstream(one, provider="deepseek"), "two": upstream(two)}
    proxy = await serve(document(ups, offline={"levels": []}))
    one.default, two.default = WRONG, Script(deltas=('{"city":"Paris",', '"people":2}'))
    assert Place.model_validate_json((await proxy.chat(**ASKED, response_format=AS_PLACE)).text) == PARIS


async def test_what_an_answer_that_does_not_fit_has_cost_is_counted(one, two, serve):
    """Twice in vain, then once well; the client is told of the answer it got."""
    ups = {"one": upstream(one, provider="deepseek"), "two": upstream(two)}
    proxy = await serve(document(ups, offline={"levels": []}))
    one.default = replace(WRONG, usage=Usage(100, 10))
    two.default = Script(deltas=('{"city":"Paris",', '"people":2}'), usage=Usage(7, 4))
    answer = await proxy.chat(**ASKED, response_format=AS_PLACE)
    assert answer.json["usage"]["total_tokens"] == 11
    latest = (await proxy.admin("requests"))["requests"][0]
    assert [attempt["outcome"] for attempt in latest["attempts"]] == ["unfit", "unfit", "success"]
    assert (latest["tokens"]["prompt"], latest["tokens"]["completion"]) == (207, 24)
    assert not latest["may_be_billed"]


async def test_a_vendor_that_does_not_count_may_bill_for_what_does_not_fit(one, serve):
    proxy = await serve(document({"one": upstream(one, provider="deepseek")}, offline={"levels": []}))
    one.default = replace(WRONG, usage=None)
    await proxy.chat(**ASKED, response_format=AS_PLACE)
    assert (await proxy.admin("requests"))["requests"][0]["may_be_billed"]


async def test_a_stream_never_lies(one, two, serve):
    """What the client has read so far looked well: it gets an error, and neither a finish reason nor an end mark.

    The answer was told to its end, so nobody is asked to go on with it.
    """
    config = document({"one": upstream(one, provider="deepseek"), "two": upstream(two)}, offline={"levels": []})
    config["routes"][0]["midstream"] = "continue"
    proxy = await serve(config)
    gate = one.gate()
    one.default = replace(WRONG, pauses={2: gate})
    async with proxy.sdk() as sdk:
        stream = await sdk.chat.completions.create(model="m", **ASKED, response_format=AS_PLACE, stream=True)
        choices = []

        async def read():
            async for chunk in stream:
                choices.append(chunk.choices[0])
                gate.open()

        with pytest.raises(openai.APIError, match="form that was asked for") as error:
            await read()
    assert "".join(choice.delta.content or "" for choice in choices) == '{"city":"Paris"}'
    assert ({choice.finish_reason for choice in choices}, error.value.code) == ({None}, "upstream_unfit")
    assert (len(one.seen), len(two.seen)) == (1, 0)


async def test_a_model_that_cannot_do_it_is_not_taken_for_a_sick_one(one, serve):
    proxy = await serve(routed(one, "deepseek", "deepseek-v4-pro"))
    one.default = WORDS
    for _ in range(12):
        answer = await proxy.chat(**ASKED, response_format=AS_PLACE)
        assert (answer.status, answer.error["code"]) == (502, "upstream_unfit")
    one.default = Script()
    assert (await proxy.chat(**ASKED)).text == "Hello, world!"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "finish"),
    [
        (Script(deltas=("Paris", " has"), finish="length"), "length"),
        (Script(deltas=("I will", " not."), finish="content_filter"), "content_filter"),
        (Script(tool_calls=(ToolCall("look"),)), "tool_calls"),
    ],
)
async def test_cut_filtered_and_calling_answers_are_told_as_they_came(one, serve, script, finish, stream):
    proxy = await serve(routed(one, "deepseek", "deepseek-v4-pro"))
    one.default = script
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    answer = await proxy.chat(**ASKED, response_format=AS_PLACE, tools=tools, stream=stream)
    assert (answer.status, answer.text) == (200, "" if script.tool_calls else "".join(script.deltas))
    assert f'"finish_reason":"{finish}"'.encode() in answer.body.replace(b": ", b":")


async def test_a_strict_route_does_without_emulation(one, serve):
    proxy = await serve(routed(one, "deepseek", "deepseek-v4-pro", strict_translation=True))
    answer = await proxy.chat(**ASKED, response_format=AS_PLACE)
    assert (answer.status, answer.error["param"], one.seen) == (400, "response_format", [])


async def test_a_bad_schema_is_refused_before_anything_is_sent(one, serve):
    proxy = await serve(routed(one, "deepseek", "deepseek-v4-pro"))
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}
    answer = await proxy.chat(**ASKED, response_format=form)
    assert (answer.status, answer.error["param"]) == (400, "response_format.json_schema.schema")
    assert not one.seen


async def test_explain_tells_it_beforehand(one, serve):
    proxy = await serve(routed(one, "deepseek", "deepseek-v4-pro"))
    headers = {"authorization": "Bearer admin-canary-83b2a6"}
    asked = {"request": {"model": "m", **ASKED, "response_format": AS_PLACE}}
    answer = await proxy.post("/admin/explain", asked, headers)
    [target] = answer.json["targets"]
    assert (target["mode"], target["losses"], target["refused"]) == ("translate", [EMULATED], None)
