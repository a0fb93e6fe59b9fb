"""On a route with `midstream: continue` a stream that broke is finished by others, or honestly not at all."""

from __future__ import annotations

import json
from dataclasses import replace

import openai
import pytest

from proxy.core.clock import FakeClock
from tests.e2e.harness import CANARY, CHAT, document, upstream
from tests.e2e.test_disconnect import idle, post
from tests.upstream import Script, ToolCall, Usage

WORDS = ("Hello", ",", " world", "!")
WHOLE = "".join(WORDS)
CUT = Script(cut_frames=3, ending="reset")
"""The role, `Hello` and the comma; then the connection is gone."""
OTHER = Script(deltas=("Hello", "! It", " is", " I"))
GOES_ON = "claude-opus-4-1"
REFUSES_TO = "claude-sonnet-5"
SHORT = {"idle": "300ms"}


def route(upstreams, use=("one/m", "two/m"), sections=None, **fields):
    """A document whose one route goes on with broken streams."""
    routes = [{"name": "all", "match": {"model": "*"}, "use": list(use), "midstream": "continue"} | fields]
    return document(upstreams, routes=routes, **(sections or {}))


@pytest.fixture
async def pair(serve, one, two):
    return await serve(route({"one": upstream(one, timeouts=SHORT), "two": upstream(two)}))


async def told(proxy, gate=None, **fields):
    """What the official SDK makes of a stream: its chunks, and the error it ends with, if any.

    The upstream's `gate` is opened once a word has been read.
    """
    chunks = []
    async with proxy.sdk() as client:
        try:
            stream = await client.chat.completions.create(**CHAT | fields, stream=True)
            async for chunk in stream:
                chunks.append(chunk)
                if gate is not None and text_of(chunks):
                    gate.open()
        except openai.APIError as error:
            return chunks, error
    return chunks, None


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def mark_of(chunk):
    return getattr(chunk, "x_failsoft", None)


def is_of_one_piece(chunks):
    """One id, model and time; one role, at the beginning; one finish, at the end."""
    assert len({(chunk.id, chunk.model, chunk.created) for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert [bool(choice.delta.role) for choice in choices] == [True] + [False] * (len(choices) - 1)
    assert [bool(choice.finish_reason) for choice in choices] == [False] * (len(choices) - 1) + [True]
    return True


async def tries(proxy):
    """How each try of the latest request ended, as operators see it."""
    latest = (await proxy.admin("requests"))["requests"][0]
    return [f"{one['upstream']} {one['outcome']}" for one in latest["attempts"]], latest


HEL = (b"H", b"e", b"l")
CUTS = {
    "reset": CUT,
    "closed": Script(cut_frames=3, ending="close"),
    "ended without a finish": Script(cut_frames=3),
    "half a frame": Script(cut_frames=3.5, ending="reset"),
    "silence": Script(cut_frames=3, ending="hang"),
    "first word only": Script(cut_frames=2, ending="reset"),
    "all but the finish": Script(cut_frames=5, ending="reset"),
    "an error inside": Script(error={"message": "boom", "type": "server_error"}, error_after=3),
    "a page inside": Script(
        chunks=(*(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % w for w in HEL), b"<p>\n\n")
    ),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
async def test_another_target_repeats_the_answer_and_tells_the_rest(pair, one, two, cut):
    gate = one.gate()
    one.script(replace(cut, pauses={3: gate}, before_end=gate))
    two.script(Script(model="elsewhere"))
    chunks, error = await told(pair, gate)
    assert error is None
    assert text_of(chunks) == WHOLE
    assert two.seen[0].request.json["messages"] == CHAT["messages"]
    assert two.seen[0].headers["authorization"] == f"Bearer {CANARY}"
    marks = [mark_of(chunk) for chunk in chunks]
    mark = {"resumed": True, "how": "replay", "upstream": "two", "model": "m"}
    assert [one for one in marks if one] == marks[marks.index(mark) :] == [mark] * (len(marks) - marks.index(mark))
    kinds, latest = await tries(pair)
    assert kinds[1:] == ["two success"]
    assert (latest["ended"], latest["attempts"][1]["status"]) == ("stop", 200)
    assert (latest["upstream"], latest["model"] != "elsewhere") == ("one", True), "who began is who answered"


async def test_the_stream_is_of_one_piece(pair, one):
    one.script(CUT)
    chunks, _ = await told(pair)
    assert is_of_one_piece(chunks)
    one.script(CUT)
    answer = await pair.chat(stream=True)
    assert answer.text == WHOLE
    assert answer.body.count(b"data: [DONE]\n\n") == 1
    assert answer.body.endswith(b"data: [DONE]\n\n")
    comment = b': x-failsoft-resumed: {"resumed":true,"how":"replay","upstream":"two","model":"m"}\n\n'
    assert answer.body.count(comment) == 1
    before, after = answer.body.split(comment)
    assert (b"x_failsoft" in before, b"usage" in answer.body) == (False, False)
    assert all(b'"x_failsoft":{' in frame for frame in after.split(b"\n\n")[:-2])


SIDES = {"from openai to claude": ("compatible", "anthropic"), "from claude to openai": ("anthropic", "compatible")}


@pytest.mark.parametrize(("first", "second"), SIDES.values(), ids=SIDES)
async def test_dialects_do_not_matter(serve, one, two, first, second):
    upstreams = {"one": upstream(one, provider=first), "two": upstream(two, provider=second)}
    proxy = await serve(route(upstreams, use=[f"one/{REFUSES_TO}", f"two/{REFUSES_TO}"]))
    frames = {"compatible": 3, "anthropic": 4}[first]  # one more before the first word
    one.script(Script(cut_frames=frames, ending="reset"))
    chunks, error = await told(proxy, stream_options={"include_usage": True})
    assert (text_of(chunks), error) == (WHOLE, None)
    assert is_of_one_piece(chunks)


async def test_legacy_completions_are_finished_too(pair, one):
    one.script(CUT)
    async with pair.sdk() as client:
        stream = await client.completions.create(model="m", prompt="a", stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == WHOLE
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert mark_of(chunks[-1])["how"] == "replay"


CALL = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]


async def test_prompts_of_which_each_has_an_answer_are_not_mixed(pair, one, two):
    one.script(CUT)
    answer = await pair.post("/v1/completions", {"model": "m", "prompt": ["a", "b"], "stream": True})
    assert b"stream_interrupted" in answer.body
    assert not two.seen


async def test_a_tool_call_behind_the_text_arrives(pair, one, two):
    pieces = {"content": "Hello,"}, {"content": " world!"}, {"tool_calls": CALL}
    choices = [{"index": 0, "delta": piece, "finish_reason": None} for piece in pieces]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    frames = [b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices]
    one.script(CUT)
    two.script(Script(chunks=tuple(frames)))
    chunks, error = await told(pair)
    assert (text_of(chunks), error) == (WHOLE, None)
    [call] = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or () if call.id]
    assert call.function.name == "weather"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


DEPARTURES = {
    "other words": (OTHER, "Hello,"),
    "another first word": (Script(deltas=("Hey",)), "Hello,"),
    "a shorter answer": (Script(deltas=("Hello",)), "Hello,"),
    "reasoning": (Script(reasoning=("hm",)), "Hello,"),
    "a tool call": (Script(deltas=("Hello",), tool_calls=(ToolCall("weather"),)), "Hello,"),
}


@pytest.mark.parametrize(("answer", "text"), DEPARTURES.values(), ids=DEPARTURES)
async def test_who_departs_is_not_heard(pair, one, two, answer, text):
    """The client has the beginning of one answer, and is told that it broke."""
    one.script(CUT)
    two.script(answer)
    body = (await pair.chat(stream=True)).body
    assert body.count(b'"error"') == 1
    assert b"stream_interrupted" in body
    assert (b"[DONE]" in body, b"x_failsoft" in body, b'finish_reason":"' in body) == (False, False, False)
    one.script(CUT)
    two.script(answer)
    chunks, error = await told(pair)
    assert text_of(chunks) == text
    assert error.code == "stream_interrupted"
    kinds, latest = await tries(pair)
    assert kinds[-1] == "two departed"
    assert latest["ended"] == "broken_stream"


async def test_who_departs_is_let_go_at_once_and_not_blamed(pair, one, two):
    one.script(CUT)
    two.script(Script(deltas=("Hey",), endless=True))
    await told(pair)
    await two.seen[0].closed()
    assert two.seen[0].left
    status = await pair.admin("status")
    [row] = next(one for one in status["upstreams"] if one["name"] == "two")["breaker"]["targets"]
    assert (row["failures"], row["isOpen"]) == (0, False)


async def test_after_one_departure_nobody_else_repeats(serve, one, two):
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, use=["one/m", "two/m", "two/n"]))
    one.script(CUT)
    two.default = OTHER
    await told(proxy)
    assert len(two.seen) == 1


async def test_the_same_model_elsewhere_is_asked_first(serve, one, two):
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, use=["one/m", "two/n", "two/maker/M"]))
    one.script(CUT)
    await told(proxy)
    assert [seen.request.json["model"] for seen in two.seen] == ["maker/M"]


async def test_who_fails_is_followed_by_the_next(serve, one, two):
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, use=["one/m", "two/m", "two/n"]))
    one.script(CUT)
    two.script(Script(status=503, headers=(("retry-after", "60"),)))
    chunks, error = await told(proxy)
    assert (text_of(chunks), error) == (WHOLE, None)
    assert (await tries(proxy))[0] == ["one fault", "two overload", "two success"]


async def test_who_rests_is_not_asked(serve, one, two):
    upstreams = {"one": upstream(one), "two": upstream(two, breaker={"consecutive": 1})}
    proxy = await serve(route(upstreams, retry={"attempts": 2}), clock=FakeClock())
    one.script(CUT, times=2)
    two.script(Script(status=500))
    for _ in range(2):
        assert (await told(proxy))[1].code == "stream_interrupted"
    assert len(two.seen) == 1


async def test_who_finds_fault_with_the_request_ends_it(pair, one, two):
    one.script(CUT)
    two.script(Script(status=400))
    chunks, error = await told(pair)
    assert (text_of(chunks), error.code) == ("Hello,", "stream_interrupted")


async def test_who_goes_on_may_break_too(serve, one, two):
    """One beginning, two continuations: the second repeats what the first had told."""
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, use=["one/m", "two/m", "two/n"]))
    one.script(CUT)
    two.script(Script(cut_frames=4, ending="close"))
    chunks, error = await told(proxy)
    assert (text_of(chunks), error) == (WHOLE, None)
    assert is_of_one_piece(chunks)
    assert [mark["model"] for mark in map(mark_of, chunks) if mark] == ["m", "n", "n"]


@pytest.mark.parametrize(("attempts", "asked"), [(1, 0), (2, 1), (3, 2)])
async def test_all_tries_count_together(serve, one, two, attempts, asked):
    use = ["one/m", "two/a", "two/b", "two/c"]
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, use, retry={"attempts": attempts}))
    one.script(CUT)
    two.script(Script(status=429), times=None)
    _, error = await told(proxy)
    assert error.code == "stream_interrupted"
    assert len(two.seen) == asked


SAID = {
    "a tool call": (Script(deltas=("Hello",), tool_calls=(ToolCall("weather"),), cut_frames=4, ending="reset"), {}),
    "reasoning": (Script(reasoning=("hm", "so"), cut_frames=5, ending="reset"), {}),
    "two choices": (CUT, {"n": 2}),
    "log probabilities": (CUT, {"logprobs": True}),
}


@pytest.mark.parametrize(("script", "fields"), SAID.values(), ids=SAID)
async def test_what_is_more_than_text_is_not_gone_on_with(pair, one, two, script, fields):
    one.script(script)
    _, error = await told(pair, **fields)
    assert error.code == "stream_interrupted"
    assert not two.seen


async def test_without_the_setting_nobody_is_asked(serve, one, two):
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, midstream="error"))
    one.script(CUT)
    chunks, error = await told(proxy)
    assert (text_of(chunks), error.code) == ("Hello,", "stream_interrupted")
    assert not two.seen


async def test_whole_answers_are_none_of_its_business(pair, one, two):
    one.script(Script(cut_after=30, ending="close"), times=2)
    answer = await pair.chat()
    assert (answer.text, answer.headers["x-failsoft-upstream"]) == (WHOLE, "two")


async def test_tokens_of_all_tries_add_up(pair, one, two):
    one.script(CUT)
    two.script(Script(usage=Usage(7, 4)))
    chunks, _ = await told(pair, stream_options={"include_usage": True})
    assert is_of_one_piece(chunks)
    [usage] = [chunk.usage for chunk in chunks if chunk.usage]
    assert not chunks[-1].choices
    assert mark_of(chunks[-1])
    _, latest = await tries(pair)
    tokens = latest["tokens"]
    assert (tokens["prompt"], tokens["completion"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert tokens["prompt"] > 7
    assert tokens["completion"] == 4 + 2  # `Hello,` is six characters
    assert tokens["source"] == "counted"


async def test_who_said_nothing_costs_nothing(serve, one, two):
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, use=["one/m", "two/m", "two/n"]))
    spent = []
    for failing in ((), (Script(cut_frames=1, ending="close"),)):
        one.script(CUT)
        for script in failing:
            two.script(script)
        assert text_of((await told(proxy))[0]) == WHOLE
        spent.append((await tries(proxy))[1]["tokens"])
    assert spent[0] == spent[1]


async def test_keep_alives_go_on_meanwhile(serve, one, two):
    sections = {"server": {"heartbeat": {"first": "50ms", "every": "50ms"}}}
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, sections=sections))
    gate = two.gate()
    one.script(CUT)
    two.script(Script(pauses={2: gate}))
    reader, writer = await post(proxy, "/v1/chat/completions", CHAT | {"stream": True})
    await reader.readuntil(b'","}')
    await gate.reached()
    await reader.readuntil(b": keep-alive\n\n")
    gate.open()
    rest = await reader.readuntil(b"data: [DONE]\n\n")
    assert b" world" in rest
    writer.close()


def claude(one, two, model=GOES_ON, **fields):
    """Two upstreams of a model; the second speaks to claude."""
    upstreams = {"one": upstream(one), "two": upstream(two, provider="anthropic")}
    return route(upstreams, use=[f"one/{model}", f"two/{model}"], **fields)


REST = Script(deltas=(" my", " friend", "."))


async def test_a_model_that_can_goes_on_with_what_another_has_begun(serve, one, two):
    proxy = await serve(claude(one, two))
    one.script(CUT)
    two.script(OTHER)
    two.script(REST)
    chunks, error = await told(proxy, max_tokens=100)
    assert (text_of(chunks), error) == ("Hello, my friend.", None)
    assert is_of_one_piece(chunks)
    marks = [mark for mark in map(mark_of, chunks) if mark]
    assert marks == [{"resumed": True, "how": "prefill", "upstream": "two", "model": GOES_ON}] * 4
    asked = two.seen[-1].request.json
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant"]
    assert asked["messages"][-1]["content"] == [{"type": "text", "text": "Hello,"}]
    assert asked["max_tokens"] == 98
    assert (await tries(proxy))[0] == ["one fault", "two departed", "two success"]


async def test_blanks_at_the_cut_are_there_once(serve, one, two):
    proxy = await serve(claude(one, two))
    one.script(Script(deltas=("Hello", "\n", "x"), cut_frames=3, ending="reset"))
    two.script(OTHER)
    two.script(Script(deltas=("\n", "\nBye")))
    chunks, _ = await told(proxy)
    assert text_of(chunks) == "Hello\n\nBye"
    assert two.seen[-1].request.json["messages"][-1]["content"][0]["text"] == "Hello"


async def test_who_is_said_to_continue_is_asked_to(serve, one, two):
    """A server of one's own: the file says what it can."""
    families = {"families": {"two/*": {"prefill": True}}}
    proxy = await serve(route({"one": upstream(one), "two": upstream(two)}, sections=families))
    one.script(CUT)
    two.script(OTHER)
    two.script(REST)
    chunks, _ = await told(proxy)
    assert text_of(chunks) == "Hello, my friend."
    assert two.seen[-1].request.json["messages"] == [*CHAT["messages"], {"role": "assistant", "content": "Hello,"}]


async def test_deepseek_goes_on_at_an_address_of_its_own(serve, one, two):
    """Its beta: the beginning is marked, and nothing is thought first."""
    upstreams = {"one": upstream(one), "two": upstream(two, provider="deepseek")}
    proxy = await serve(route(upstreams, use=["one/m", "two/deepseek-flash"]))
    one.script(CUT)
    two.script(OTHER)
    two.script(REST)
    chunks, error = await told(proxy)
    assert (text_of(chunks), error) == ("Hello, my friend.", None)
    assert mark_of(chunks[-1])["how"] == "prefill"
    repeated, continued = two.seen
    assert (repeated.path, continued.path) == ("/v1/chat/completions", "/beta/chat/completions")
    begun = {"role": "assistant", "content": "Hello,", "prefix": True}
    assert continued.request.json["messages"] == [*CHAT["messages"], begun]
    assert continued.request.json["thinking"] == {"type": "disabled"}
    assert "reasoning_effort" not in continued.request.json


NEVER = {
    "a model that refuses": (REFUSES_TO, {}),
    "JSON": (GOES_ON, {"response_format": {"type": "json_object"}}),
    "thinking": (GOES_ON, {"reasoning_effort": "low"}),
}


@pytest.mark.parametrize(("model", "fields"), NEVER.values(), ids=NEVER)
async def test_who_can_not_is_not_asked(serve, one, two, model, fields):
    proxy = await serve(claude(one, two, model))
    one.script(CUT)
    two.default = OTHER
    chunks, error = await told(proxy, **fields)
    assert (text_of(chunks), error.code) == ("Hello,", "stream_interrupted")
    assert {seen.request.json["messages"][-1]["role"] for seen in two.seen} == {"user"}


async def test_who_failed_at_repeating_is_not_asked_to_go_on(serve, one, two):
    proxy = await serve(claude(one, two, retry={"attempts": 8}))
    one.script(CUT)
    two.script(Script(status=529))
    chunks, error = await told(proxy)
    assert (text_of(chunks), error.code) == ("Hello,", "stream_interrupted")
    assert {seen.request.json["messages"][-1]["role"] for seen in two.seen} == {"user"}


async def test_a_begun_answer_is_gone_on_with_once(serve, one, two):
    proxy = await serve(claude(one, two))
    one.script(CUT)
    two.script(OTHER)
    two.script(Script(deltas=(" my", " friend"), cut_frames=4, ending="reset"))
    chunks, error = await told(proxy)
    assert text_of(chunks).startswith("Hello, my")
    assert error.code == "stream_interrupted"
    assert len(two.seen) == 2


PHASES = {"before its head": {"before_head": "gate"}, "while it repeats": {"pauses": {2: "gate"}}}


@pytest.mark.parametrize("held", PHASES.values(), ids=PHASES)
async def test_a_client_that_leaves_meanwhile_frees_everything(pair, one, two, held):
    gate = two.gate()
    [(place, step)] = held.items()
    one.script(CUT)
    two.script(Script(**{place: {2: gate} if isinstance(step, dict) else gate}))
    _, writer = await post(pair, "/v1/chat/completions", CHAT | {"stream": True})
    await gate.reached()
    writer.close()
    await two.seen[0].closed()
    assert two.seen[0].left
    assert (await idle(pair))["client_disconnects"] == 1
    status = await pair.admin("status")
    assert [row["slots"]["in_flight"] for row in status["upstreams"] if row["name"] != "offline"] == [0, 0]
    assert (await tries(pair))[1]["ended"] == "client_gone"
    one.script(CUT)
    assert text_of((await told(pair))[0]) == WHOLE


async def test_each_frame_of_the_rest_is_whole(pair, one, two):
    """Whatever pieces the bytes come in, the client gets whole frames with whole characters."""
    one.script(Script(deltas=("é😀", "€", "x"), cut_frames=3.7, ending="reset", write_size=1))
    two.script(Script(deltas=("é😀€", "x"), write_size=1))
    answer = await pair.chat(stream=True)
    assert answer.text == "é😀€x"
    for frame in answer.frames[:-1]:
        json.loads(frame.removeprefix(b"data: "))


def piece(text, token=None, finish=None):
    """A chunk of Gemini's stream."""
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
    candidate |= {"continuationToken": token} if token else {}
    candidate |= {"finishReason": finish} if finish else {}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    told = {"responseId": "r", "modelVersion": "g", "candidates": [candidate], "usageMetadata": usage}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


def pieces(*told, **wire):
    return Script(chunks=tuple(piece(*one) for one in told), **wire)


@pytest.fixture
async def gemini(serve, one, two):
    """The second upstream is there to be left in peace."""
    upstreams = {"one": upstream(one, provider="gemini"), "two": upstream(two)}
    return await serve(route(upstreams, use=["one/gemini-3.5-flash", "two/m"]))


async def test_gemini_goes_on_from_its_checkpoint(gemini, one, two):
    one.script(pieces(("Hello",), (", w", "dG9rZW4="), ending="reset"))
    one.script(pieces(("orld",), ("!", None, "STOP")))
    chunks, error = await told(gemini, stream_options={"include_usage": True})
    assert (text_of(chunks), error) == (WHOLE, None)
    assert is_of_one_piece(chunks)
    assert mark_of(chunks[-1])["how"] == "checkpoint"
    first, second = (seen.request.json for seen in one.seen)
    assert second == first | {"continuationToken": "dG9rZW4="}
    assert not two.seen
    kinds, latest = await tries(gemini)
    assert kinds == ["one fault", "one success"]
    assert latest["attempts"][0]["first_token_ms"] > 0
    assert latest["attempts"][1]["first_token_ms"] is None
    assert (latest["tokens"]["prompt"], chunks[-1].usage.prompt_tokens) == (10, 10)


async def test_what_was_told_behind_the_checkpoint_must_be_told_again(gemini, one, two):
    one.script(pieces(("Hello", "dG9rZW4="), (", w",), ending="reset"))
    one.script(pieces((", world",), ("!", None, "STOP")))
    chunks, error = await told(gemini)
    assert (text_of(chunks), error) == (WHOLE, None)
    one.script(pieces(("Hello", "dG9rZW4="), (", w",), ending="reset"))
    one.script(pieces((" there",), ("!", None, "STOP")))
    two.script(Script(deltas=("Hi",)))
    chunks, error = await told(gemini)
    assert (text_of(chunks), error.code) == ("Hello, w", "stream_interrupted")
    assert (await tries(gemini))[0] == ["one fault", "one departed", "two departed"]


async def test_an_answer_in_several_requests_is_one_answer(gemini, one):
    """The finish reason CONTINUATION: the vendor stops for no reason of the answer's."""
    one.script(pieces(("Hello",), (",", "YQ==", "CONTINUATION")))
    one.script(pieces((" wor", "Yg==", "CONTINUATION")))
    one.script(pieces(("ld!", None, "STOP")))
    chunks, error = await told(gemini)
    assert (text_of(chunks), error) == (WHOLE, None)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert [seen.request.json.get("continuationToken") for seen in one.seen] == [None, "YQ==", "Yg=="]
    assert (await tries(gemini))[0] == ["one paused", "one paused", "one success"]
    status = await gemini.admin("status")
    [row] = next(one for one in status["upstreams"] if one["name"] == "one")["breaker"]["targets"]
    assert row["failures"] == 0


@pytest.mark.parametrize(("attempts", "text"), [(1, "a"), (2, "ab"), (8, "abcd")])
async def test_the_last_try_ends_where_the_vendor_stops(serve, one, two, attempts, text):
    """A fourth request for the rest is not made, however many tries there are."""
    upstreams = {"one": upstream(one, provider="gemini"), "two": upstream(two)}
    proxy = await serve(route(upstreams, use=["one/gemini-3.5-flash", "two/m"], retry={"attempts": attempts}))
    for token in "abcde":
        one.script(pieces((token, f"{token}Q==", "CONTINUATION")))
    chunks, error = await told(proxy)
    assert (text_of(chunks), error) == (text, None)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert not two.seen


async def test_who_repeats_may_have_checkpoints_too(serve, one, two):
    upstreams = {"one": upstream(one), "two": upstream(two, provider="gemini")}
    proxy = await serve(route(upstreams, use=["one/m", "two/gemini-3.5-flash"]))
    one.script(CUT)
    two.script(pieces(("Hello,",), (" wor", "dG9rZW4="), ("l",), ending="reset"))
    two.script(pieces(("ld!", None, "STOP")))
    chunks, error = await told(proxy)
    assert (text_of(chunks), error) == (WHOLE, None)
    assert two.seen[1].request.json["continuationToken"] == "dG9rZW4="
    assert [mark["how"] for mark in map(mark_of, chunks) if mark] == ["replay", "replay", "checkpoint", "checkpoint"]


async def test_an_upstream_that_rests_is_not_asked_for_its_own_rest(serve, one, two):
    upstreams = {"one": upstream(one, provider="gemini", breaker={"consecutive": 1}), "two": upstream(two)}
    proxy = await serve(route(upstreams, use=["one/gemini-3.5-flash", "two/m"]), clock=FakeClock())
    one.script(pieces(("Hello,", "dG9rZW4="), ending="reset"))
    chunks, _ = await told(proxy)
    assert (text_of(chunks), mark_of(chunks[-1])["how"]) == (WHOLE, "replay")
    assert len(one.seen) == 1


async def test_a_call_that_the_vendor_began_is_not_mended(gemini, one, two):
    one.script(pieces(("Hello,", "dG9rZW4="), ending="reset"))
    call = {"functionCall": {"name": "weather", "args": {}}}
    candidate = {"index": 0, "content": {"parts": [call]}, "continuationToken": "dG9v"}
    one.script(Script(chunks=(b"data: " + json.dumps({"candidates": [candidate]}).encode() + b"\n\n",), ending="reset"))
    chunks, error = await told(gemini)
    assert (text_of(chunks), error.code) == ("Hello,", "stream_interrupted")
    assert (len(one.seen), len(two.seen)) == (2, 0)


async def test_a_vendor_that_fails_to_go_on_is_asked_again(gemini, one, two):
    one.script(pieces(("Hello,", "dG9rZW4="), ending="reset"))
    one.script(Script(status=500))
    one.script(pieces((" world!", None, "STOP")))
    chunks, error = await told(gemini)
    assert (text_of(chunks), error) == (WHOLE, None)
    assert [seen.request.json.get("continuationToken") for seen in one.seen] == [None, "dG9rZW4=", "dG9rZW4="]
    assert not two.seen


async def test_a_vendor_that_cannot_go_on_is_followed_by_others(gemini, one, two):
    one.script(pieces(("Hello,", "dG9rZW4="), ending="reset"))
    one.script(Script(status=400))
    chunks, error = await told(gemini)
    assert (text_of(chunks), error) == (WHOLE, None)
    assert mark_of(chunks[-1])["how"] == "replay"


async def test_without_the_setting_a_pause_is_an_end(serve, one):
    proxy = await serve(document({"one": upstream(one, provider="gemini")}))
    one.script(pieces(("Hello", "YQ==", "CONTINUATION")))
    chunks, error = await told(proxy)
    assert (text_of(chunks), error, chunks[-1].choices[0].finish_reason) == ("Hello", None, "length")
    assert len(one.seen) == 1
