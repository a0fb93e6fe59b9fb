"""Several keys of one upstream: balanced, and put to rest one by one. Time is the test's own."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

import pytest

from proxy.config.load import loads
from proxy.core.clock import FakeClock
from tests.e2e.conftest import Serve, running
from tests.e2e.harness import ADMIN, CHAT, ENVIRONMENT, Proxy, document, upstream
from tests.upstream import FakeUpstream, Request, Script, Seen

KEYS = {f"E2E_KEY_{number}": f"sk-pool-{number}-canary" for number in range(3)}
MONEY = Script(status=429, error={"code": "insufficient_quota", "type": "insufficient_quota"})
ODD_WAITS = {
    "far": ("3600", 3600),
    "longer than an hour": ("86400", 3600),
    "a duration": ("6m0s", 360),
    "negative": ("-1", 5),
    "no number": ("abc", 5),
    "infinite": ("1e999", 5),
    "zero": ("0", 1),
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def serve(serve: Serve) -> Serve:
    return partial(serve, environment=ENVIRONMENT | KEYS)


def pool(fake: FakeUpstream, count: int = 2) -> dict[str, Any]:
    return upstream(fake, keys=[f"${{{name}}}" for name in list(KEYS)[:count]])


def key_of(seen: Seen | Request) -> int:
    request = seen.request if isinstance(seen, Seen) else seen
    (value,) = (value for name, value in request.headers if name == "authorization")
    return int(value.split("-")[-2])


def used(fake: FakeUpstream) -> list[int]:
    return [key_of(seen) for seen in fake.seen]


def refuse(fake: FakeUpstream, number: int, script: Script, times: int | None = None) -> None:
    """Everything with that key is answered by `script`."""
    fake.script(script, when=lambda request: key_of(request) == number, times=times)


async def shown(proxy: Proxy) -> list[Any]:
    status = await proxy.admin("status")
    return status["upstreams"][0]["key_pool"]


async def test_keys_are_used_in_turn(serve: Serve, one, clock):
    proxy = await serve(document({"one": pool(one, 3)}), clock)
    for _ in range(30):
        await proxy.chat()
    assert Counter(used(one)) == {0: 10, 1: 10, 2: 10}


@pytest.mark.parametrize(("wait", "rest"), ODD_WAITS.values(), ids=ODD_WAITS)
async def test_a_throttled_key_rests_and_the_other_answers(serve: Serve, one, clock, wait, rest):
    """Faults 20 and 21, in every spelling."""
    proxy = await serve(document({"one": pool(one)}), clock)
    refuse(one, 0, Script(status=429, headers=(("retry-after", wait),)), times=1)
    answers = [await proxy.chat() for _ in range(6)]

    assert {answer.headers["x-failsoft-upstream"] for answer in answers} == {"one"}
    assert used(one) == [0, *[1] * 6]
    assert (await shown(proxy))[0]["rests"] == [{"because": "throttle", "model": "m", "seconds": rest}]
    clock.advance(rest)
    for _ in range(2):
        await proxy.chat()
    assert 0 in used(one)[-2:]


@pytest.mark.parametrize(
    ("script", "kind", "rest"), [(MONEY, "money", 900), (Script(status=401), "auth", 600)], ids=["money", "auth"]
)
async def test_a_key_without_money_or_rights_is_parked(serve: Serve, one, clock, script, kind, rest):
    """Faults 22 and 23: no retry on it, for any model, until its time has come."""
    proxy = await serve(document({"one": pool(one)}), clock)
    refuse(one, 0, script, times=1)
    for model in ("m", "n", "m"):
        assert (await proxy.chat(model=model)).headers["x-failsoft-upstream"] == "one"

    assert used(one) == [0, 1, 1, 1]
    assert (await shown(proxy))[0]["rests"] == [{"because": kind, "model": None, "seconds": rest}]
    clock.advance(rest)
    for _ in range(2):
        await proxy.chat()
    assert 0 in used(one)[-2:]


async def test_a_key_that_is_throttled_for_one_model_serves_others(serve: Serve, one, clock):
    proxy = await serve(document({"one": pool(one, 1)}), clock)
    one.script(Script(status=429, headers=(("retry-after", "60"),)), model="m")
    await proxy.chat(model="m")
    assert (await proxy.chat(model="n")).headers["x-failsoft-upstream"] == "one"


async def test_a_key_that_may_not_use_a_model_serves_others(serve: Serve, one, clock):
    """A 403 that speaks of the model parks the key for that model; a 401 parks it whole, see above."""
    denial = Script(status=403, error={"message": "No access to model m.", "code": "model_not_found"})
    proxy = await serve(document({"one": pool(one)}), clock)
    one.script(denial, model="m", when=lambda request: key_of(request) == 0, times=None)
    for _ in range(3):
        assert (await proxy.chat(model="m")).headers["x-failsoft-upstream"] == "one"
    assert used(one) == [0, 1, 1, 1]
    assert (await shown(proxy))[0]["rests"] == [{"because": "forbidden", "model": "m", "seconds": 600}]
    for _ in range(4):
        await proxy.chat(model="n")
    assert Counter(used(one)[4:]) == {0: 2, 1: 2}


async def test_when_all_keys_rest_the_next_target_answers_without_asking(serve: Serve, one, two, clock):
    """The rate-limit lock: until its reset the throttled upstream gets nothing at all."""
    proxy = await serve(document({"one": pool(one), "two": upstream(two)}), clock)
    one.script(Script(status=429, headers=(("retry-after", "60"),)), times=2)
    answers = [await proxy.chat() for _ in range(10)]

    assert {answer.headers["x-failsoft-upstream"] for answer in answers} == {"two"}
    assert answers[-1].headers["x-failsoft-attempts"] == "1"
    assert sorted(used(one)) == [0, 1]
    clock.advance(60)
    assert (await proxy.chat()).headers["x-failsoft-upstream"] == "one"


async def test_when_all_targets_rest_the_client_learns_the_earliest_recovery(serve: Serve, one, two, clock):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    one.script(Script(status=429, headers=(("retry-after", "60"),)))
    two.script(Script(status=429, headers=(("retry-after", "40"),)))
    await proxy.chat()
    clock.advance(10)
    refused = await proxy.chat({"x-failsoft-offline": "never"})
    offline = await proxy.chat()

    assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (429, "rate_limit_exceeded", "30")
    assert offline.headers["x-failsoft-offline"] == "rules"
    assert (len(one.seen), len(two.seen)) == (1, 1)


async def test_throttling_opens_no_breaker(serve: Serve, one, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(Script(status=429), times=None)
    for _ in range(20):
        clock.advance(60)
        await proxy.chat()
    assert len(one.seen) == 20
    clock.advance(60)
    one.reset()
    assert (await proxy.chat()).headers["x-failsoft-upstream"] == "one"


async def test_nothing_shows_a_key(serve: Serve, one, clock):
    proxy = await serve(document({"one": pool(one, 3)}), clock)
    refuse(one, 0, Script(status=401))
    for _ in range(5):
        await proxy.chat()
    body = (await proxy.get("/admin/status", {"x-api-key": ADMIN})).body
    assert b"canary" not in body
    rows = await shown(proxy)
    assert len({row["key"] for row in rows}) == 3
    assert [row["refusals"] for row in rows] == [{"auth": 1}, {}, {}]


def told(**left: str) -> Script:
    """A good answer whose headers say what is left: `requests="0 30s"`, `tokens="12 6m0s"`."""
    headers = []
    for what, said in left.items():
        count, reset = said.split()
        headers += [(f"x-ratelimit-remaining-{what}", count), (f"x-ratelimit-reset-{what}", reset)]
    return Script(headers=tuple(headers))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_that_said_it_has_no_requests_left_is_not_lent_until_they_are_back(
    serve: Serve, one, clock, stream
):
    proxy = await serve(document({"one": pool(one)}), clock)
    refuse(one, 0, told(requests="0 30s"), times=1)
    answers = [await proxy.chat(stream=stream) for _ in range(5)]
    assert {answer.status for answer in answers} == {200}
    assert used(one) == [0, 1, 1, 1, 1]
    (row, _) = await shown(proxy)
    assert row["rests"] == [{"because": "throttle", "model": "m", "seconds": 30}]
    assert row["remaining"] == {"m": {"x-ratelimit-remaining-requests": 0}}
    clock.advance(30)
    for _ in range(2):
        await proxy.chat(stream=stream)
    assert 0 in used(one)[-2:]


async def test_a_prompt_that_the_tokens_left_do_not_suffice_for_goes_elsewhere(serve: Serve, one, two, clock):
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}), clock)
    one.script(told(tokens="50 6m0s"))
    long = [{"role": "user", "content": "many words " * 100}]
    answers = [await proxy.chat(messages=messages) for messages in (CHAT["messages"], long, CHAT["messages"], long)]
    assert [answer.headers["x-failsoft-upstream"] for answer in answers] == ["one", "two", "one", "two"]
    clock.advance(360)
    assert (await proxy.chat(messages=long)).headers["x-failsoft-upstream"] == "one"


async def test_who_has_nowhere_else_to_go_learns_when_there_are_tokens_again(serve: Serve, one, clock):
    proxy = await serve(document({"one": upstream(one)}), clock)
    one.script(told(tokens="50 6m0s"))
    await proxy.chat()
    clock.advance(60)
    refused = await proxy.chat(
        {"x-failsoft-offline": "never"}, messages=[{"role": "user", "content": "many words " * 100}]
    )
    assert (refused.status, refused.headers["retry-after"]) == (429, "300")
    assert len(one.seen) == 1


async def test_a_reload_forgets_the_keys_that_are_gone(one, clock):
    """A key that comes back later is a new one: the vendor may have made it good meanwhile."""
    written = document({"one": pool(one)})

    def source():
        return loads(json.dumps(written).encode(), "routes.yaml", ENVIRONMENT | KEYS)

    async with running(written, source, clock=clock) as proxy:
        refuse(one, 0, Script(status=401), times=1)
        await proxy.chat()
        for keys in (["${E2E_KEY_1}"], ["${E2E_KEY_0}", "${E2E_KEY_1}"]):
            written["upstreams"]["one"]["keys"] = keys
            assert (await proxy.post("/admin/reload", b"", {"x-api-key": ADMIN})).json["ok"]
        assert [row["rests"] for row in await shown(proxy)] == [[], []]
        for _ in range(4):
            await proxy.chat()
    assert set(used(one)[2:]) == {0, 1}
