"""The patience with a stream: learned where that is wished, and counted in words. In virtual time."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.decision import Target
from proxy.core.errors import ErrorKind
from tests.unit.engine.scripted import DONE, PING, Answer, ScriptedTransport, Stage, delta, gives, says
from tests.unit.engine.virtual import run

AUTO = {"timeouts": {"first_token": "auto", "first_token_floor": "1s"}}
LATE = Answer(0.0, [(50.0, delta("late", "stop")), (0.0, DONE)])
ENOUGH = 20


def learned(*last: Answer, two: bool = True, usual: float = 1.0, tries: int = 4) -> tuple[Stage, ScriptedTransport]:
    """One has begun 20 streams within the usual time, and then does what comes last."""
    transport = ScriptedTransport({"one": [*[says("usual", usual)] * ENOUGH, *last], "two": [says("other")]})
    upstreams = {"one": AUTO, "two": {}} if two else {"one": AUTO}
    return Stage(transport, upstreams, {"retry": {"attempts": tries}}), transport


async def learn(stage: Stage) -> float:
    """When it has been learned."""
    for _ in range(ENOUGH):
        assert (await stage.ask(stream=True)).text == "usual"
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    "slow", [LATE, Answer(50.0), Answer(0.0, [(0.5, PING)] * 100)], ids=["head", "nothing", "pings"]
)
def test_a_slow_start_moves_on(slow: Answer) -> None:
    """After twice the usual second, and 9 % at most."""

    async def story() -> None:
        stage, transport = learned(slow)
        began = await learn(stage)
        told = await stage.ask(stream=True)

        assert (told.text, told.receipt["x-failsoft-upstream"]) == ("other", "two")
        assert told.kinds[0] in ("one:first_token_timeout", "one:first_byte_timeout")
        assert 2.0 <= transport.calls[-1].at - began <= 2.2

    run(story())


def test_it_is_never_shorter_than_the_floor() -> None:
    async def story() -> None:
        stage, transport = learned(LATE, usual=0.01)
        began = await learn(stage)
        assert (await stage.ask(stream=True)).text == "other"
        assert transport.calls[-1].at - began == 1.0

    run(story())


def test_it_is_never_longer_than_what_is_usual_otherwise() -> None:
    async def story() -> None:
        stage, transport = learned(Answer(0.0, [(100.0, delta("late"))]), usual=40.0)
        began = await learn(stage)
        assert (await stage.ask(stream=True)).text == "other"
        assert transport.calls[-1].at - began == 60.0

    run(story())


@pytest.mark.parametrize(("two", "tries"), [(False, 4), (True, 1)], ids=["no other target", "no try left"])
def test_a_stream_that_has_nowhere_to_move_on_to_has_its_usual_time(two: bool, tries: int) -> None:
    async def story() -> None:
        stage, _ = learned(LATE, two=two, tries=tries)
        await learn(stage)
        assert (await stage.ask(stream=True)).text == "late"

    run(story())


def test_longer_prompts_and_whole_answers_are_judged_by_themselves() -> None:
    async def story() -> None:
        stage, transport = learned(LATE, gives("whole", 50.0))
        await learn(stage)
        assert (await stage.ask(stream=True, user="x" * 20_000)).text == "late"
        assert (await stage.ask()).text == "whole"
        assert transport.times("two") == []

    run(story())


def test_a_target_that_has_become_slower_is_given_more_time() -> None:
    """What was cut off counts, or nobody would ever see that it takes longer now."""

    async def story() -> None:
        stage, _ = learned(says("slower", 3.0))
        await learn(stage)
        one, texts = Target(stage.live.snapshot.upstreams["one"], "m"), []
        for _ in range(10):
            texts.append((await stage.ask(stream=True)).text)
            await asyncio.sleep(40.0)
            stage.live.health.settle(one, stage.live.health.enter(one), None)  # and something else went well there
        assert texts[0] == "other"
        assert texts[-1] == "slower"

    run(story())


@pytest.mark.parametrize("noise", [PING, delta("")], ids=["pings", "empty deltas"])
def test_a_stream_without_words_ends(noise: bytes) -> None:
    """120 s after the last word, and a quarter of that later at most; the upstream is to blame."""

    async def story() -> None:
        pieces = [(0.0, delta("a")), (100.0, delta("b")), *[(10.0, noise)] * 100]
        stage = Stage(ScriptedTransport({"one": [Answer(0.0, pieces)]}), {"one": {}}, {})
        told = await stage.ask(stream=True)

        assert told.record is not None
        assert (told.text, told.record.ended, told.kinds) == ("ab[broken]", "broken_stream", ["one:idle_timeout"])
        assert 100.0 + 120.0 <= told.record.seconds <= 100.0 + 150.0

    run(story())


def test_a_stream_with_words_goes_on() -> None:
    async def story() -> None:
        pieces = [*[(119.0, delta("a")), (0.0, PING)] * 2, (0.0, delta("", "stop")), (0.0, DONE)]
        stage = Stage(
            ScriptedTransport({"one": [Answer(0.0, pieces)]}), {"one": {"timeouts": {"first_token": "200s"}}}, {}
        )
        assert (await stage.ask(stream=True)).text == "aa"

    run(story())


def test_the_first_token_counts_from_the_moment_of_asking() -> None:
    async def story() -> None:
        upstreams = {"one": {"timeouts": {"first_byte": "10s", "first_token": "15s"}}, "two": {}}
        transport = ScriptedTransport({"one": [Answer(9.0, [(9.0, delta("late"))])], "two": [says("other")]})
        told = await Stage(transport, upstreams, {}).ask(stream=True)
        assert (told.text, told.kinds[0]) == ("other", f"one:{ErrorKind.FIRST_TOKEN_TIMEOUT.label}")
        assert transport.times("two") == [15.0]

    run(story())


def test_one_try_in_all_is_counted_from_the_moment_of_asking_too() -> None:
    async def story() -> None:
        upstreams = {"one": {"timeouts": {"attempt": "15s"}}}
        pieces = [(1.0, delta("a"))] * 100
        told = await Stage(ScriptedTransport({"one": [Answer(9.0, pieces)]}), upstreams, {}).ask(stream=True)
        assert told.record is not None
        assert (told.record.seconds, told.kinds) == (15.0, ["one:idle_timeout"])

    run(story())
