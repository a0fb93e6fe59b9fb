"""Whatever two targets and a client do: one voice, at most one hedge, and nothing is left behind. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind
from tests.unit.engine.scripted import DONE, PING, Answer, ScriptedTransport, Stage, delta, fails, gives
from tests.unit.engine.virtual import run

NAMES = ("one", "two", "three")

moments = st.sampled_from((0.0, 0.5, 1.9, 2.1, 3.0, 5.0, 40.0))
ends = st.sampled_from(("answers", "breaks", "pings", "500", "429", "422", "fault", "silence"))
behaviours = st.lists(st.tuples(moments, moments, ends), min_size=1, max_size=2)


def answer(name: str, head: float, first: float, end: str, *, stream: bool) -> Answer:
    """What the target does; its words are its name, so that two voices in one answer would be heard."""
    if end.isdigit():
        return fails(head, status=int(end))
    if end == "fault":
        return fails(head)
    if end == "silence":
        return Answer(1e9)
    if not stream:
        return gives(name * 3, head + first)
    pings = [(1.0, PING)] * 5 if end == "pings" else []
    words = [(first, delta(name)), (0.3, delta(name))]
    rest = [] if end == "breaks" else [(0.3, delta(name, "stop")), (0.0, DONE)]
    return Answer(head, [*pings, *words, *rest])


@settings(max_examples=80, deadline=None)
@given(st.tuples(behaviours, behaviours, behaviours), st.booleans(), st.none() | moments, st.integers(1, 4))
def test_one_voice_one_hedge_and_nothing_left(
    behaviour: Sequence[Sequence[tuple[float, float, str]]], stream: bool, leaves: float | None, tries: int
) -> None:
    async def story() -> None:
        scripts = {
            name: [answer(name, *acts, stream=stream) for acts in several]
            for name, several in zip(NAMES, behaviour, strict=True)
        }
        transport = ScriptedTransport(scripts)
        route = {"hedge": {"after": "2s"}, "retry": {"attempts": tries}, "deadline": "1m"}
        stage = Stage(transport, {name: {} for name in NAMES}, route)
        request = asyncio.create_task(stage.ask(stream=stream))
        await asyncio.wait((request,), timeout=leaves)
        if not request.done():
            request.cancel()
            await asyncio.wait((request,))
        told = None if request.cancelled() else request.result()

        assert len(asyncio.all_tasks()) == 1
        assert all(call.ended is not None for call in transport.calls)
        upstreams = stage.live.snapshot.upstreams
        assert [stage.live.requests_at(name) for name in NAMES] == [0, 0, 0]
        assert [stage.admission.crowd(upstreams[name]).in_flight for name in NAMES] == [0, 0, 0]
        assert stage.live.under_way == 0

        (record,) = stage.records
        assert len(transport.calls) <= tries
        assert len(record.attempts) == len(transport.calls)
        assert sum(made.is_hedge for made in record.attempts) <= 1
        answered = [made for made in record.attempts if made.kind is None]
        assert len(answered) <= 1
        assert sum(made.kind is ErrorKind.HEDGED for made in record.attempts) <= sum(
            m.is_hedge for m in record.attempts
        )
        if told is None:
            assert record.ended == ErrorKind.CLIENT_GONE.label
        elif told.error is None:
            said = told.text.removesuffix("[broken]")
            assert said in {name * times for name in NAMES for times in (2, 3)}, "one voice"
            assert said.startswith(record.upstream)
            assert (told.receipt.get("x-failsoft-hedge") == "second") == any(
                made.is_hedge and made.upstream == record.upstream for made in record.attempts
            )
        else:
            assert not answered
            assert not any(made.kind is ErrorKind.HEDGED for made in record.attempts) or told.error.status == 422

    run(story())
