"""A second target beside a slow one: when, where, who wins, and what is left of the other. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from proxy.core.decision import Target
from proxy.core.errors import ErrorKind
from proxy.engine.health import NO_KEY
from tests.unit.engine.scripted import (
    DONE,
    NEVER,
    Answer,
    ScriptedTransport,
    Stage,
    delta,
    fails,
    gives,
    says,
)
from tests.unit.engine.virtual import run

TWO = {"one": {}, "two": {}}
THREE = {"one": {}, "two": {}, "three": {}}
HEDGE = {"hedge": {"after": "2s"}}
AFTER = 2.0

Script = Mapping[str, Sequence[Answer]]


def staged(
    scripts: Script, upstreams: Mapping[str, Mapping[str, Any]] = TWO, route: Mapping[str, Any] = HEDGE
) -> tuple[Stage, ScriptedTransport]:
    transport = ScriptedTransport(scripts)
    return Stage(transport, upstreams, route), transport


STREAMED = {"streamed": (True, says), "whole": (False, gives)}
either = pytest.mark.parametrize(("stream", "answers"), STREAMED.values(), ids=STREAMED)


@either
@pytest.mark.parametrize("slow", [NEVER, Answer(0.0, [(1e9, b"")])], ids=["no head", "a head alone"])
def test_the_second_wins_and_the_first_is_let_go(stream: bool, answers: Callable[..., Answer], slow: Answer) -> None:
    async def story() -> None:
        stage, transport = staged({"one": [slow], "two": [answers("quick", 1.0)]})
        told = await stage.ask(stream=stream)

        assert (told.text, told.receipt["x-failsoft-upstream"]) == ("quick", "two")
        assert (told.receipt["x-failsoft-hedge"], told.receipt["x-failsoft-attempts"]) == ("second", "2")
        assert transport.times("two") == [AFTER]
        assert [call.ended for call in transport.calls] == [1003.0, 1003.0], "in the moment of the first word"
        assert sorted(told.kinds) == ["+two:ok", "one:hedged"]
        loser = next(made for made in told.record.attempts if made.upstream == "one")
        assert (loser.may_be_billed, loser.estimate > 0) == (True, True)
        assert told.record.usage.prompt == loser.estimate, "the same prompt, counted by the same rule, but on its own"
        assert stage.live.statistics.describe([])["hedges"] == {"started": 1, "won": 1}
        rows = stage.live.statistics.describe(TWO)["upstreams"]
        assert [(row["errors"], row["fallbacks"]) for row in rows.values()] == [(0, 0), (0, 0)]
        assert stage.live.requests_at("one") == stage.live.requests_at("two") == 0

    run(story())


@either
def test_the_first_wins_and_the_second_is_let_go(stream: bool, answers: Callable[..., Answer]) -> None:
    async def story() -> None:
        stage, transport = staged({"one": [answers("late", 3.0)], "two": [NEVER]})
        told = await stage.ask(stream=stream)

        assert (told.text, told.receipt["x-failsoft-upstream"]) == ("late", "one")
        assert told.receipt["x-failsoft-hedge"] == "first"
        assert transport.calls[1].ended == 1003.0
        assert sorted(told.kinds) == ["+two:hedged", "one:ok"]
        assert stage.live.statistics.describe([])["hedges"] == {"started": 1, "won": 0}
        assert stage.live.statistics.of("two").fallbacks == stage.live.statistics.of("one").fallbacks == 0

    run(story())


@either
def test_who_is_quick_is_asked_alone(stream: bool, answers: Callable[..., Answer]) -> None:
    async def story() -> None:
        stage, transport = staged({"one": [answers("quick", 1.9)], "two": [NEVER]})
        told = await stage.ask(stream=stream)

        assert (told.text, told.kinds, "x-failsoft-hedge" in told.receipt) == ("quick", ["one:ok"], False)
        assert transport.times("two") == []

    run(story())


def test_a_stream_that_has_begun_is_not_hedged_however_long_it_takes() -> None:
    async def story() -> None:
        slow = Answer(0.0, [*((1.0, piece) for _, piece in says("a").pieces[:1] * 9), *says("b").pieces])
        stage, transport = staged({"one": [slow], "two": [NEVER]})
        assert (await stage.ask(stream=True)).text == "a" * 9 + "b"
        assert transport.times("two") == []

    run(story())


@either
@pytest.mark.parametrize("failure", [fails(3.0), fails(3.0, status=401)], ids=["fault", "refused"])
def test_when_the_first_fails_the_hedge_goes_on(stream: bool, answers: Callable[..., Answer], failure: Answer) -> None:
    async def story() -> None:
        stage, transport = staged({"one": [failure], "two": [answers("second", 5.0)]})
        told = await stage.ask(stream=stream)

        assert (told.text, told.receipt["x-failsoft-hedge"]) == ("second", "second")
        assert (transport.times("one"), transport.times("two")) == ([0.0], [AFTER]), "nobody is asked again"
        assert told.kinds[1] == "+two:ok"
        assert stage.live.statistics.of("one").fallbacks == 1

    run(story())


@either
def test_when_the_second_fails_nobody_hears_of_it(stream: bool, answers: Callable[..., Answer]) -> None:
    async def story() -> None:
        stage, transport = staged({"one": [answers("late", 9.0)], "two": [fails(1.0)]})
        told = await stage.ask(stream=stream)

        assert (told.text, told.kinds) == ("late", ["+two:fault", "one:ok"])
        assert transport.times("two") == [AFTER]
        assert stage.live.statistics.of("two").fallbacks == 0

    run(story())


@either
@pytest.mark.parametrize("order", ["first fails first", "second fails first"])
def test_when_both_fail_the_next_is_asked_and_none_of_them_again(
    stream: bool, answers: Callable[..., Answer], order: str
) -> None:
    async def story() -> None:
        late, soon = (3.0, 9.0) if order == "first fails first" else (9.0, 1.0)
        scripts = {"one": [fails(late)], "two": [fails(soon)], "three": [answers("third")]}
        stage, transport = staged(scripts, THREE)
        told = await stage.ask(stream=stream)

        assert (told.text, told.receipt["x-failsoft-attempts"]) == ("third", "3")
        assert "x-failsoft-hedge" not in told.receipt
        assert [len(transport.times(name)) for name in THREE] == [1, 1, 1]

    run(story())


def test_when_all_fail_the_error_names_both() -> None:
    async def story() -> None:
        stage, _ = staged({"one": [fails(3.0)], "two": [fails(9.0, status=500)]})
        told = await stage.ask()
        assert told.error is not None
        assert "one/m: fault" in told.error.message
        assert "two/m: fault" in told.error.message

    run(story())


def test_a_request_at_fault_ends_the_race() -> None:
    """What the first says of the request decides; what the second says of it only when the first has failed."""

    async def story() -> None:
        stage, transport = staged({"one": [fails(3.0, status=422)], "two": [NEVER]})
        told = await stage.ask()
        assert told.error is not None
        assert (told.error.kind, told.error.status) == (ErrorKind.REJECTED, 422)
        assert transport.calls[1].ended == 1003.0
        assert sorted(told.kinds) == ["+two:hedged", "one:rejected"]

        stage, _ = staged({"one": [gives("fine", 9.0)], "two": [fails(1.0, status=422)]})
        assert (await stage.ask()).text == "fine"

        stage, _ = staged({"one": [fails(9.0)], "two": [fails(1.0, status=422)]})
        told = await stage.ask()
        assert told.error is not None
        assert told.error.kind is ErrorKind.REJECTED

    run(story())


@either
def test_who_leaves_leaves_both(stream: bool, answers: Callable[..., Answer]) -> None:
    async def story() -> None:
        stage, transport = staged({"one": [NEVER], "two": [NEVER]})
        request = asyncio.create_task(stage.ask(stream=stream))
        await asyncio.sleep(5.0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert [call.ended for call in transport.calls] == [1005.0, 1005.0]
        (record,) = stage.records
        assert [made.kind for made in record.attempts] == [ErrorKind.CLIENT_GONE] * 2
        assert [stage.live.requests_at(name) for name in TWO] == [0, 0]
        assert [stage.admission.crowd(at).in_flight for at in stage.live.snapshot.upstreams.values()][:2] == [0, 0]
        assert len(asyncio.all_tasks()) == 1

    run(story())


def test_who_leaves_while_the_winner_speaks() -> None:
    async def story() -> None:
        endless = Answer(0.0, [(0.0, says("a").pieces[0][1]), (1e9, b"")])
        stage, transport = staged({"one": [NEVER], "two": [endless]})
        request = asyncio.create_task(stage.ask(stream=True))
        await asyncio.sleep(5.0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert [call.ended for call in transport.calls] == [1002.0, 1005.0]
        kinds = {made.upstream: made.kind for made in stage.records[0].attempts}
        assert kinds == {"one": ErrorKind.HEDGED, "two": ErrorKind.CLIENT_GONE}

    run(story())


def test_it_waits_as_long_as_the_first_usually_takes() -> None:
    """95 of 100 begin within 6 s: nobody is asked before that, and by 9 % later at most."""

    async def story() -> None:
        stage, transport = staged({"one": [*[says("usual", 6.0)] * 60, NEVER], "two": [says("quick")]})
        for _ in range(60):
            await stage.ask(stream=True)
        assert transport.times("two") == [AFTER], "nothing was known yet"
        began = asyncio.get_running_loop().time() - 1000.0
        assert (await stage.ask(stream=True)).text == "quick"
        assert 6.0 <= transport.times("two")[-1] - began <= 6.6

    run(story())


def test_two_of_a_hundred_and_one_more() -> None:
    """However slow everything is: then it is no time to send more."""

    async def story() -> None:
        stage, transport = staged({"one": [NEVER], "two": [gives("quick")]}, TWO, {**HEDGE, "deadline": "5s"})
        answers = [await stage.ask() for _ in range(500)]
        hedges = len(transport.times("two"))
        assert hedges == 1 + 0.02 * 500
        assert sum(told.error is None for told in answers) == stage.live.statistics.hedges == hedges

    run(story())


def test_a_few_hedges_cut_off_the_tail() -> None:
    """One of a hundred answers begins after half a minute: none is waited for longer than three seconds."""

    async def story() -> None:
        usual, slow = says("usual", 0.5), says("slow", 30.0)
        stage, transport = staged({"one": [*[*[usual] * 99, slow] * 5, usual], "two": [says("quick", 0.5)]})
        begins = [(await stage.ask(stream=True)).record.first_token for _ in range(500)]
        assert max(begins) <= 3.0
        assert len(transport.times("two")) == 5

    run(story())


ALONE: dict[str, tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Any], Mapping[str, Any]]] = {
    "not written": (TWO, {}, {}),
    "the first is local": ({"one": {"local": True}, "two": {}}, HEDGE, {}),
    "the second is local": ({"one": {}, "two": {"local": True}}, HEDGE, {}),
    "there is no second": ({"one": {}}, HEDGE, {}),
    "no try is left": (TWO, {**HEDGE, "retry": {"attempts": 1}}, {}),
    "a tool of the vendor's": (TWO, HEDGE, {"tools": [{"type": "web_search"}]}),
    "a search": (TWO, HEDGE, {"web_search_options": {"user_location": None}}),
    "an answer that is kept": (TWO, HEDGE, {"store": True}),
    "fields of the target": (TWO, {**HEDGE, "use": ["one/m", {"to": "two/m", "params": {"store": True}}]}, {}),
    "our own pace": ({"one": {}, "two": {"rate": {"limit": "20/minute", "burst": 1}}}, HEDGE, {}),
}


@pytest.mark.parametrize(("upstreams", "route", "fields"), ALONE.values(), ids=ALONE)
def test_nobody_is_asked_beside(
    upstreams: Mapping[str, Mapping[str, Any]], route: Mapping[str, Any], fields: Mapping[str, Any]
) -> None:
    async def story() -> None:
        stage, transport = staged({"one": [gives("slow", 30.0)], "two": [gives("quick")]}, upstreams, route)
        if "rate" in upstreams.get("two", {}):
            async with stage.admission.slot(stage.live.snapshot.upstreams["two"], 0, 1e9):
                pass  # the next may go after three seconds, and a hedge does not wait
        told = await stage.ask(**fields)
        assert (told.text, told.kinds) == ("slow", ["one:ok"])
        assert transport.times("two") == []

    run(story())


def test_tools_that_the_caller_runs_are_no_obstacle() -> None:
    async def story() -> None:
        stage, _ = staged({"one": [NEVER], "two": [gives("quick")]})
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        assert (await stage.ask(tools=tools, store=False)).text == "quick"

    run(story())


@pytest.mark.parametrize("which", ["one", "two"])
def test_nobody_is_asked_beside_where_a_limit_is_nearly_reached(which: str) -> None:
    """71 % of the slots are taken."""

    async def story() -> None:
        stage, transport = staged(
            {"one": [gives("slow", 30.0)], "two": [gives("quick")]}, {name: {"slots": {"limit": 100}} for name in TWO}
        )
        at = stage.live.snapshot.upstreams[which]
        taken = [stage.admission.slot(at, 0, 1e9) for _ in range(71)]
        for slot in taken:
            await slot.__aenter__()
        assert (await stage.ask()).text == "slow"
        assert transport.times("two") == []
        for slot in taken[2:]:
            await slot.__aexit__(None, None, None)
        assert (await stage.ask()).text == "quick"

    run(story())


@pytest.mark.parametrize("which", ["one", "two"])
def test_nobody_is_asked_beside_where_a_breaker_is_not_closed(which: str) -> None:
    """Half open: the pause is over, and the first request is its probe."""

    async def story() -> None:
        breaker = {"breaker": {"consecutive": 1, "pause": "1s", "successes": 1, "slow_start": "0s"}}
        stage, transport = staged({"one": [gives("slow", 30.0)], "two": [gives("quick")]}, dict.fromkeys(TWO, breaker))
        health = stage.live.health
        broken = Target(stage.live.snapshot.upstreams[which], "m")
        health.settle(broken, health.enter(broken), ErrorKind.FAULT)
        await asyncio.sleep(2.0)
        assert (await stage.ask()).text == "slow"
        assert transport.times("two") == []

    run(story())


def test_a_try_is_kept_for_the_hedge_or_for_the_repetition() -> None:
    """The first fails at once and is repeated; its hedge, started meanwhile, takes no try beyond the most."""

    async def story() -> None:
        scripts = {"one": [fails(1.9), gives("again", 20.0)], "two": [gives("quick", 5.0)]}
        stage, transport = staged(scripts, TWO, {**HEDGE, "retry": {"attempts": 2, "base": "1s"}})
        stage.live.chance = lambda: 0.5
        two = Target(stage.live.snapshot.upstreams["two"], "m")
        stage.live.health.settle_key(two, NO_KEY, ErrorKind.THROTTLE, 1.95)  # so nobody but the first is left at 1.9
        told = await stage.ask()
        assert (told.text, told.receipt["x-failsoft-attempts"]) == ("quick", "2")
        assert len(transport.times("one")) == 1

    run(story())


def test_once_per_request() -> None:
    """Two of four have failed, the third is as slow, and the fourth is not asked beside it."""

    async def story() -> None:
        four = {name: {} for name in ("one", "two", "three", "four")}
        scripts = {
            "one": [*[gives("quick")] * 100, fails(3.0)],
            "two": [fails(3.0)],
            "three": [gives("third", 9.0)],
            "four": [gives("fourth")],
        }
        stage, transport = staged(scripts, four)
        for _ in range(100):
            await stage.ask()
        assert (await stage.ask()).text == "third"
        assert transport.times("four") == []

    run(story())


def test_who_was_called_off_may_go_on_with_the_winners_answer() -> None:
    """On a route that goes on with streams that broke: the winner's did, and it is told again by the loser."""

    async def story() -> None:
        words = [(0.0, delta("Hello ")), (0.0, delta("there, ")), (0.0, delta("world", "stop")), (0.0, DONE)]
        scripts = {"one": [NEVER, Answer(0.0, words)], "two": [Answer(0.0, words[:2])]}
        stage, transport = staged(scripts, TWO, {**HEDGE, "midstream": "continue"})
        told = await stage.ask(stream=True)

        assert (told.text, told.receipt["x-failsoft-hedge"]) == ("Hello there, world", "second")
        assert [call.host for call in transport.calls] == ["one", "two", "one"]
        assert told.kinds[-1] == "one:ok"

    run(story())


def test_nobody_is_asked_beside_where_the_process_is_nearly_full() -> None:
    async def story() -> None:
        stage, transport = staged({"one": [gives("slow", 30.0)], "two": [gives("quick")]})
        stage.live.server = stage.live.server.model_copy(update={"max_in_flight": 10})
        crowd = [asyncio.create_task(stage.ask()) for _ in range(8)]
        await asyncio.gather(*crowd)
        assert transport.times("two") == []

    run(story())


def test_the_next_that_can_is_asked() -> None:
    """Who rests is passed over."""

    async def story() -> None:
        stage, transport = staged({"one": [NEVER], "two": [gives("second")], "three": [gives("third")]}, THREE)
        two = Target(stage.live.snapshot.upstreams["two"], "m")
        asked = asyncio.create_task(stage.ask())
        await asyncio.sleep(1.0)
        stage.live.health.settle_key(two, NO_KEY, ErrorKind.THROTTLE, 3000.0)
        told = await asked
        assert (told.text, told.receipt["x-failsoft-hedge"]) == ("third", "second")
        assert transport.times("two") == []

    run(story())


def test_who_warms_up_is_spared() -> None:
    """Its breaker has closed two seconds ago: one of ten requests may go there, and the first may not."""

    async def story() -> None:
        breaker = {"breaker": {"consecutive": 1, "pause": "1s", "successes": 1, "slow_start": "10h"}}
        scripts = {"one": [gives("slow", 8.0)], "two": [gives("quick")]}
        stage, transport = staged(scripts, {"one": {}, "two": breaker})
        cold = Target(stage.live.snapshot.upstreams["two"], "m")
        for outcome in (ErrorKind.FAULT, None):
            stage.live.health.settle(cold, stage.live.health.enter(cold), outcome)
            await asyncio.sleep(2.0)
        assert (await stage.ask()).text == "slow"
        assert transport.times("two") == []

    run(story())


def test_a_plain_request_runs_in_its_own_task_alone() -> None:
    async def story() -> None:
        tasks = 0

        class Counting(ScriptedTransport):
            async def send(self, request: Any) -> Any:
                nonlocal tasks
                tasks = len(asyncio.all_tasks())
                return await super().send(request)

        stage = Stage(Counting({"one": [says("hi")], "two": [NEVER]}), TWO, {})
        assert (await stage.ask(stream=True)).text == "hi"
        assert tasks == 1

    run(story())
