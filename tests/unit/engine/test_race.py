"""Two attempts at one answer, by themselves: who commits answers, and nothing is left running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure
from proxy.engine.race import Race
from tests.unit.engine.virtual import run

ENDS = ("answers", "fails", "refuses")


class Course:
    """What the attempts of one race did."""

    def __init__(self) -> None:
        self.race = Race()
        self.committed: list[str | None] = []
        self.lost: list[str] = []
        self.running = 0

    async def attempt(self, name: str, seconds: float, end: str) -> bool:
        self.running += 1
        try:
            await asyncio.sleep(seconds)
            if end == "answers":
                self.committed.append(self.race.commit())
                await asyncio.sleep(100.0)
            if end == "refuses":
                raise ProxyError(ErrorKind.REJECTED, name)
            return end == "answers"
        except asyncio.CancelledError:
            if self.race.is_lost:
                self.lost.append(name)
            raise
        finally:
            self.running -= 1


moments = st.integers(0, 40).map(float)
attempts = st.tuples(moments, st.sampled_from(ENDS))


@settings(max_examples=150, deadline=None)
@given(first=attempts, second=attempts | st.none(), patience=moments)
def test_a_race_ends_as_the_two_by_themselves_would(
    first: tuple[float, str], second: tuple[float, str] | None, patience: float
) -> None:
    """The model: each attempt ends at a known time; the first to answer does, and a refusal of the first ends all."""

    async def story() -> None:
        course = Course()

        def beside() -> Coroutine[Any, Any, bool] | None:
            return None if second is None else course.attempt("second", *second)

        told: object
        try:
            told = await course.race.run(course.attempt("first", *first), patience, beside)
        except ProxyError as error:
            told = error.message
        assert course.running == 0
        assert len(course.committed) <= 1
        assert len(asyncio.all_tasks()) == 1
        starts = second is not None and first[0] > patience
        if first[0] == patience:
            return  # either may be the case
        if not starts:
            expected = {"answers": True, "fails": False, "refuses": "first"}[first[1]]
            assert told == expected
            assert course.committed == ([None] if expected is True else [])
            return
        assert second is not None
        at = patience + second[0]
        if at == first[0]:
            return
        if second[1] == "answers" and (at < first[0] or first[1] == "fails"):
            assert (told, course.committed) == (True, ["second"])
            assert course.lost == (["first"] if at < first[0] else [])
        elif first[1] == "answers":
            assert (told, course.committed) == (True, ["first"])
            assert course.lost == (["second"] if at > first[0] else [])
        elif first[1] == "refuses":
            assert told == "first"
            assert course.lost == (["second"] if at > first[0] else [])
        else:
            assert told == ("second" if second[1] == "refuses" else False)

    run(story())


def test_who_is_late_may_not_commit() -> None:
    """Even if it does not hear that it was called off."""

    async def story() -> None:
        race, told = Race(), []

        async def deaf() -> bool:
            try:
                await asyncio.sleep(10.0)
            except asyncio.CancelledError:
                with pytest.raises(UpstreamFailure) as failure:
                    race.commit()
                told.append(failure.value.kind)
            return False

        async def quick() -> bool:
            race.commit()
            return True

        assert await race.run(deaf(), 1.0, quick)
        assert told == [ErrorKind.HEDGED]

    run(story())


def test_a_refusal_in_the_moment_of_the_other_s_first_word_takes_nothing_back() -> None:
    """The first is over when the second commits, but nobody has looked at it yet."""

    async def story() -> None:
        course = Course()
        first = course.attempt("first", 5.0, "refuses")
        assert await course.race.run(first, 1.0, lambda: course.attempt("second", 4.0, "answers"))
        assert (course.committed, course.lost, course.running) == (["second"], [], 0)

    run(story())


def test_a_bug_in_the_second_is_told_and_hurts_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        race = Race()

        async def first() -> bool:
            await asyncio.sleep(5.0)
            race.commit()
            return True

        async def second() -> bool:
            raise ZeroDivisionError

        assert await race.run(first(), 1.0, second)

    monkeypatch.setattr(logging.getLogger("failsoft"), "propagate", True)
    run(story())
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@pytest.mark.parametrize("when", [0.5, 3.0])
def test_being_cancelled_ends_both_and_neither_has_lost(when: float) -> None:
    async def story() -> None:
        course = Course()
        first = course.attempt("first", 50.0, "answers")
        racing = asyncio.create_task(course.race.run(first, 1.0, lambda: course.attempt("second", 50.0, "answers")))
        await asyncio.sleep(when)
        assert course.running == (2 if when > 1.0 else 1)
        racing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await racing
        assert (course.running, course.lost, course.committed) == (0, [], [])

    run(story())
