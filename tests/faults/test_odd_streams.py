"""Faults of streams that no table can hold: heartbeats, cuts at every byte, floods, tool calls, usage, endless ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from proxy.engine import attempt, vigil
from tests.e2e.harness import Answer
from tests.faults.stage import FIRST_WORDS, SECOND, SECOND_WORDS, Stage, question
from tests.faults.test_streams import DONE, SOON, STOP, chunk, odd, says
from tests.upstream import Script, Usage

ASKED = {"stream_options": {"include_usage": True}}


def chunks(answer: Answer) -> Iterator[dict[str, Any]]:
    for frame in answer.frames:
        if b"[DONE]" not in frame:
            yield json.loads(frame.removeprefix(b"data: "))


@pytest.mark.fault(36)
@pytest.mark.fault(37)
@pytest.mark.parametrize("script", [Script(before_first="never"), Script(pauses={1: "never"})], ids=["head", "role"])
async def test_36_a_client_that_waits_hears_that_somebody_is_there(stage: Stage, script: Script) -> None:
    """Signs of life send the head; the answer of the next upstream follows in the same stream, with its receipt."""
    await stage.serve(one=SOON, server={"heartbeat": {"first": "50ms", "every": "50ms"}})
    stage.one.script(script, times=None)
    answer = await stage.ask(stream=True)
    assert answer.body.startswith(b": keep-alive\n\n")
    assert b": x-failsoft-upstream: two\n" in answer.body
    assert (answer.text, answer.frames[-1]) == (SECOND_WORDS, b"data: [DONE]")
    assert stage.told() == ("one first_token_timeout", "two success")


@pytest.mark.fault(44)
async def test_44_cut_at_every_byte(stage: Stage) -> None:
    """Wherever the pieces of a stream end, the client reads the same."""
    await stage.serve()
    whole = says("Grüße 👋🏽") + says(" 𝔘").replace(b"\n", b"\r\n") + STOP + DONE
    for cut in range(1, len(whole)):
        stage.one.script(Script(chunks=(whole[:cut], whole[cut:])))
        assert (await stage.ask(stream=True)).text == "Grüße 👋🏽 𝔘", cut


@pytest.mark.fault(46)
async def test_46_a_flood_is_held_back_and_others_are_served(stage: Stage) -> None:
    """Who does not read makes the upstream wait; nobody else does."""
    await stage.serve()
    stage.one.script(Script(deltas=("Hello", "." * 1000), endless=True, frames_per_write=20), model="flood")
    url = f"{stage.proxy.url}/v1/chat/completions"
    async with stage.proxy.session.post(url, json=question(True, {"model": "flood"})) as answer:
        stage.accepted += 1
        flood = await stage.one.arrived()
        await flood.stuck()
        held = len(flood.sent)
        others = await asyncio.gather(*(stage.ask(stream=number % 2 == 0) for number in range(20)))
        assert {other.text for other in others} == {FIRST_WORDS}
        assert len(flood.sent) == held
        answer.close()
    await flood.closed()
    assert flood.left


CALLS: Mapping[str, list[list[dict[str, Any]]]] = {
    "no index": [
        [{"id": "c0", "type": "function", "function": {"name": "a", "arguments": ""}}],
        [{"function": {"arguments": '{"x"'}}],
        [{"function": {"arguments": ":1}"}}],
    ],
    "a new id with each piece": [
        [{"index": 0, "id": "c0", "type": "function", "function": {"name": "a", "arguments": ""}}],
        [{"index": 0, "id": "c1", "function": {"arguments": '{"x"'}}],
        [{"index": 0, "id": "c2", "function": {"arguments": ":1}"}}],
    ],
    "all in one piece": [
        [{"index": 0, "id": "c0", "type": "function", "function": {"name": "a", "arguments": '{"x":1}'}}],
    ],
    "arguments as an object": [
        [{"index": 0, "id": "c0", "type": "function", "function": {"name": "a", "arguments": {"x": 1}}}],
    ],
    "a name in two pieces": [
        [{"index": 0, "id": "c0", "type": "function", "function": {"name": "a", "arguments": ""}}],
        [{"index": 0, "function": {"name": "", "arguments": '{"x":1}'}}],
    ],
}


def called(answer: Answer) -> list[tuple[str, Any]]:
    """The tool calls as a client puts them together: by index, names and arguments appended."""
    calls: dict[int, list[str]] = {}
    for told in chunks(answer):
        for choice in told["choices"]:
            for delta in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(delta["index"], ["", ""])
                call[0] += delta["function"].get("name") or ""
                call[1] += delta["function"].get("arguments") or ""
    return [(name, json.loads(arguments)) for name, arguments in calls.values()]


@pytest.mark.fault(47)
@pytest.mark.parametrize("name", CALLS)
async def test_47_odd_pieces_of_tool_calls_become_regular(stage: Stage, name: str) -> None:
    await stage.serve(one={"irregular": True})
    stage.one.script(odd(*(chunk({"tool_calls": piece}) for piece in CALLS[name]), chunk({}, "tool_calls"), DONE))
    answer = await stage.ask(stream=True)
    assert called(answer) == [("a", {"x": 1})]
    (finish,) = (
        choice["finish_reason"] for told in chunks(answer) for choice in told["choices"][-1:] if choice["finish_reason"]
    )
    assert finish == "tool_calls"


@pytest.mark.fault(47)
@pytest.mark.parametrize("irregular", [False, True], ids=["as it is", "rewritten"])
async def test_47_two_calls_in_turns(stage: Stage, irregular: bool) -> None:
    """Their pieces are told apart by their indexes."""
    await stage.serve(one={"irregular": irregular})
    opened = [
        {"index": n, "id": f"c{n}", "type": "function", "function": {"name": "ab"[n], "arguments": ""}} for n in (0, 1)
    ]
    pieces = [{"index": n, "function": {"arguments": part}} for part in ('{"x"', ":1}") for n in (0, 1)]
    stage.one.script(odd(*(chunk({"tool_calls": [one]}) for one in (*opened, *pieces)), chunk({}, "tool_calls"), DONE))
    assert called(await stage.ask(stream=True)) == [("a", {"x": 1}), ("b", {"x": 1})]


def counts(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


USAGES: Mapping[str, tuple[Script, int]] = {
    "only last": (Script(usage=Usage(7, 4), usage_always=True), 1),
    "before the finish": (odd(says(FIRST_WORDS), chunk(None, usage=counts(7, 4)), STOP, DONE), 1),
    "twice": (odd(says(FIRST_WORDS), STOP, chunk(None, usage=counts(1, 1)), chunk(None, usage=counts(7, 4)), DONE), 1),
    "twice, and no mark": (odd(says(FIRST_WORDS), STOP, *[chunk(None, usage=counts(7, n)) for n in (1, 4)]), 1),
    "with the finish": (odd(says(FIRST_WORDS), chunk({}, "stop", usage=counts(7, 4)), DONE), 0),
    "in each chunk": (
        odd(
            *(chunk({"content": text}, usage=counts(7, n)) for n, text in enumerate(("Hello", ", world", "!"), 1)),
            chunk({}, "stop", usage=counts(7, 4)),
            DONE,
        ),
        0,
    ),
    "never": (Script(usage=None), 0),
}
"""And how many chunks hold nothing but usage, for who asked, where the others pass as they are."""


@pytest.mark.fault(49)
@pytest.mark.parametrize("name", USAGES)
@pytest.mark.parametrize("asked", [False, True], ids=["not asked", "asked"])
@pytest.mark.parametrize("irregular", [False, True], ids=["as it is", "rewritten"])
async def test_49_usage_wherever_it_comes(stage: Stage, name: str, asked: bool, irregular: bool) -> None:
    """The last one holds; who asked reads it once, who did not reads none that stands alone."""
    script, count = USAGES[name]
    await stage.serve(one={"irregular": irregular})
    stage.one.script(script)
    answer = await stage.ask(stream=True, **(ASKED if asked else {}))
    assert answer.text == FIRST_WORDS
    (record,) = stage.records
    assert (record.usage.completion, record.usage.source) == (4, "counted" if name == "never" else "vendor")
    alone = [told["usage"] for told in chunks(answer) if told.get("usage") and not told["choices"]]
    if irregular:
        count = name != "never"
    assert [usage["completion_tokens"] for usage in alone] == [4] * (count if asked else 0)


def piece(text: str, token: str | None = None, finish: str | None = None) -> bytes:
    """A chunk of Gemini's stream."""
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
    candidate |= {"continuationToken": token} if token else {}
    candidate |= {"finishReason": finish} if finish else {}
    counted = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    return b"data: " + json.dumps({"candidates": [candidate], "usageMetadata": counted}).encode() + b"\n\n"


async def gemini(stage: Stage, midstream: str) -> None:
    route = {"name": "all", "match": {"model": "*"}, "use": ["one/gemini-3.5-flash", "two/m"], "midstream": midstream}
    await stage.serve(one={"provider": "gemini"}, routes=[route])


INTERRUPTIONS = {
    "cut": (odd(piece("Hello"), piece(", w", "dG9rZW4=")), ("one broken_stream", "one success")),
    "reset": (
        Script(chunks=(piece("Hello"), piece(", w", "dG9rZW4=")), ending="reset"),
        ("one fault", "one success"),
    ),
    "paused": (odd(piece("Hello"), piece(", w", "dG9rZW4=", "CONTINUATION")), ("one paused", "one success")),
}


@pytest.mark.fault(52)
@pytest.mark.parametrize("name", INTERRUPTIONS)
async def test_52_an_answer_goes_on_from_its_vendors_token(stage: Stage, name: str) -> None:
    """Where the route says `midstream: continue`; what both requests cost is added up."""
    script, tries = INTERRUPTIONS[name]
    await gemini(stage, "continue")
    stage.one.script(script)
    stage.one.script(odd(piece("orld"), piece("!", finish="STOP")))
    answer = await stage.ask(stream=True)
    assert (answer.text, answer.frames[-1]) == (FIRST_WORDS, b"data: [DONE]")
    assert stage.told() == tries
    first, second = (seen.request.json for seen in stage.one.seen)
    assert second == first | {"continuationToken": "dG9rZW4="}
    assert stage.records[0].usage.prompt == 10
    assert stage.records[0].may_be_billed is (name != "paused")
    assert not stage.two.seen


@pytest.mark.fault(52)
@pytest.mark.parametrize("name", INTERRUPTIONS)
async def test_52_an_interrupted_answer_ends_there_by_default(stage: Stage, name: str) -> None:
    """Either with the error event or, where the vendor stopped of its own accord, as an answer that is too short."""
    await gemini(stage, "error")
    stage.one.script(INTERRUPTIONS[name][0])
    answer = await stage.ask(stream=True)
    assert answer.text == "Hello, w"
    assert (b'"finish_reason":"length"' if name == "paused" else b'"code":"stream_interrupted"') in answer.body
    assert len(stage.one.seen) == 1
    assert not stage.two.seen


@pytest.mark.fault(39)
@pytest.mark.parametrize("same", [True, False], ids=["the same words", "other words"])
async def test_39_another_upstream_finishes_a_broken_answer(stage: Stage, same: bool) -> None:
    """Where the route says `midstream: continue`, and only as long as it says what the client has read."""
    route = {"name": "all", "match": {"model": "*"}, "use": ["one/*", "two/*"], "midstream": "continue"}
    await stage.serve(routes=[route])
    gate = stage.one.gate()
    stage.one.script(Script(pauses={3: gate}, cut_frames=3, ending="reset", before_end=gate))
    stage.two.script(Script() if same else SECOND)
    answer = await stage.ask_until(3, gate)
    assert answer.text == (FIRST_WORDS if same else "Hello,")
    assert (b"x-failsoft-resumed" in answer.body) is same
    assert stage.told() == ("one fault", "two success" if same else "two departed")


@pytest.mark.fault(53)
@pytest.mark.parametrize("more", [b": more\n\n", b""], ids=["pings", "silence"])
async def test_53_an_upstream_never_ends_after_the_finish(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    """What comes with the finish or soon after it still arrives; then the client has its good end from us."""
    monkeypatch.setattr(vigil, "_LAST_WORDS", 0.3)
    await stage.serve()
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":4,"total_tokens":11}}\n\n'
    rest = [more] * 1_000_000 if more else []
    stage.one.script(Script(chunks=(says(FIRST_WORDS), STOP, usage, *rest), between=0.001, ending="hang"))
    answer = await stage.ask(stream=True, stream_options={"include_usage": True})
    assert (answer.text, answer.frames[-1]) == (FIRST_WORDS, b"data: [DONE]")
    assert b'"total_tokens":11' in answer.frames[-2]
    await stage.one.seen[0].closed()
    assert stage.told() == ("one success",)
    assert (await stage.health())["failures"] == 0


@pytest.mark.fault(53)
async def test_53_an_upstream_goes_on_after_the_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has its answer; the upstream gets a moment, then its connection is closed."""
    monkeypatch.setattr(attempt, "_LINGER", 0.1)
    await stage.serve()
    stage.one.script(Script(chunks=(says(FIRST_WORDS), STOP, DONE, *[b": more\n\n"] * 1_000_000), between=0.001))
    answer = await stage.ask(stream=True)
    assert (answer.text, answer.frames[-1]) == (FIRST_WORDS, b"data: [DONE]")
    await stage.one.seen[0].closed()
    assert stage.one.seen[0].left
    assert stage.told() == ("one success",)
    assert (await stage.health())["failures"] == 0
