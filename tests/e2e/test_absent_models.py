"""A model that an upstream said it does not have is not asked for again, for a minute. Time is the test's own."""

from __future__ import annotations

import json

import pytest

from proxy.core.clock import FakeClock
from tests.e2e.conftest import Serve
from tests.e2e.harness import document, upstream
from tests.upstream import Script

ABSENT = Script(status=404, error={"message": "The model `m` does not exist.", "code": "model_not_found"})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_target_answers_without_asking(serve: Serve, one, two, clock, stream):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    one.script(ABSENT, model="m", times=None)
    answers = [await proxy.chat(stream=stream) for _ in range(5)]
    assert {answer.headers["x-failsoft-upstream"] for answer in answers} == {"two"}
    assert [answer.headers["x-failsoft-attempts"] for answer in answers] == ["2", "1", "1", "1", "1"]
    assert (await proxy.chat(model="n", stream=stream)).headers["x-failsoft-upstream"] == "one"

    clock.advance(60)
    one.reset()
    assert (await proxy.chat(stream=stream)).headers["x-failsoft-upstream"] == "one"


async def test_the_breaker_is_not_touched(serve: Serve, one, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(ABSENT, times=None)
    for _ in range(20):
        clock.advance(61)
        assert (await proxy.chat()).error["code"] == "model_not_found"
    assert len(one.seen) == 20
    status = await proxy.admin("status")
    assert [row["isOpen"] for row in status["upstreams"][0]["breaker"]["targets"]] == [False]


async def test_who_asks_again_at_once_is_told_the_same(serve: Serve, one, clock):
    """Fault 14 with a single target: the caller's model is unknown, and no answer is made up."""
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(ABSENT, times=None)
    answers = [await proxy.chat() for _ in range(3)]
    assert [(answer.status, answer.error["code"]) for answer in answers] == [(404, "model_not_found")] * 3
    assert "retry-after" not in answers[-1].headers
    assert len(one.seen) == 1


async def test_a_model_that_the_upstream_lists_anew_is_asked_at_once(serve: Serve, one, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(ABSENT)
    assert (await proxy.chat()).status == 404
    listing = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
    one.script(Script(body=listing), path="/models", times=None)
    clock.advance(59)
    await proxy.get("/v1/models")
    assert (await proxy.chat()).status == 200
