"""Faults 17 to 35: statuses, and bodies that are no answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.clock import FakeClock, SystemClock
from proxy.core.usage import UsageRecord
from tests.e2e.harness import Answer, upstream
from tests.faults.scenario import Fault, play, plays
from tests.faults.stage import FIRST_WORDS, NO_OFFLINE, SECOND_WORDS, Stage
from tests.upstream import Script, Usage

MODES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
TWICE = ("one fault", "one fault", "two success")
REFUSED = ("one not_an_answer", "two success")
POOL = {"keys": ["${FAULT_KEY_0}", "${FAULT_KEY_1}"]}
MONEY = {"code": "insufficient_quota", "type": "insufficient_quota", "message": "vendor-words"}
FORBIDDEN = Script(status=403, error={"message": "vendor-words", "code": "model_not_found"})
PAGE = b"<!doctype html><title>cdn-words</title><h1>Bad gateway</h1>"
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello, world!"}, "finish_reason": "stop"}
NAMES = ("google.internal", "169.254.169.254")


def rests(because: str, seconds: float, model: str | None = None) -> Callable[[Stage, Answer, UsageRecord], None]:
    """The first upstream's key that was refused is left alone for so long."""

    def look(stage: Stage, _answer: Answer, record: UsageRecord) -> None:
        upstreams = stage.engine.live.snapshot.upstreams
        rows = stage.engine.live.health.describe_keys(upstreams["one"])
        (resting,) = (row for row in rows if row["rests"])
        assert resting["rests"] == [{"because": because, "model": model, "seconds": seconds}]
        assert resting["key"] == record.attempts[0].key != record.attempts[1].key or len(rows) == 1

    return look


def waited(least: float, most: float) -> Callable[[Stage, Answer, UsageRecord], None]:
    """The repetition was made after so many (virtual) seconds."""

    def look(stage: Stage, _answer: Answer, _record: UsageRecord) -> None:
        assert least <= stage.clock.monotonic() <= most

    return look


def throttled(spelling: str) -> Script:
    now = ("date", "Sat, 21 Nov 2026 12:00:00 GMT")
    return Script(status=429, headers=(now, ("retry-after", spelling)))


WAITS = {
    "an hour": ("3600", 3600),
    "a day": ("86400", 3600),
    "a date": ("Sat, 21 Nov 2026 12:01:30 GMT", 90),
    "a past date": ("Sat, 21 Nov 2020 12:01:30 GMT", 5),
    "a duration": ("6m0s", 360),
    "a fraction": ("2.5", 2.5),
    "negative": ("-1", 5),
    "no number": ("abc", 5),
    "infinite": ("1e999", 5),
    "nan": ("nan", 5),
}
NOT_ANSWERS = {
    "empty": Script(body=b""),
    "null": Script(body=b"null"),
    "a list": Script(body=b"[]"),
    "a number": Script(body=b"7"),
    "half a JSON": Script(body=b'{"id":"x","choices":[{"index":0,"mess'),
    "a page": Script(content_type="text/html", body=PAGE),
    "no text": Script(body=b"\xff\xfe\x00\x01"),
}


def _saying(usage: Any) -> Script:
    return Script(body=json.dumps({"choices": [CHOICE], "usage": usage}).encode())


FAULTS = (
    Fault(
        number=17, name="500 once", one=(Script(status=500),), by="one", tries=("one fault", "one success"), hurts=1,
        also=waited(0, 0.25),
    ),
    Fault(number=18, name="always 500", one=Script(status=500), tries=TWICE, hurts=2, alone=(502, "upstream_fault")),
    *(
        Fault(
            number=19, name=f"a page with {status}", one=Script(status=status, content_type="text/html", body=PAGE),
            tries=TWICE if status != 503 else ("one overload", "two success"), hurts=2 if status != 503 else 1,
            unseen=(b"cdn-words", b"<h1>"), alone=(502, "upstream_fault") if status != 503 else None,
        )
        for status in (502, 503, 504, 520, 526)
    ),
    Fault(
        number=20, name="waits for its key", one=(throttled("1"),), by="one", tries=("one throttle", "one success"),
        hurts=0, also=waited(1, 1.1),
    ),
    Fault(
        number=20, name="takes the other key", one=(throttled("1"),), by="one", config=POOL,
        tries=("one throttle", "one success"), hurts=0, also=rests("throttle", 1, "m"),
    ),
    *(
        Fault(
            number=21, name=name, one=throttled(spelling), tries=("one throttle", "two success"), hurts=0,
            also=rests("throttle", seconds, "m"), alone=(429, "rate_limit_exceeded"),
        )
        for name, (spelling, seconds) in WAITS.items()
    ),
    Fault(
        number=22, name="no money with this key", one=(Script(status=429, error=MONEY),), by="one", config=POOL,
        tries=("one money", "one success"), hurts=0, also=rests("money", 900),
    ),
    Fault(
        number=22, name="no money at all", one=Script(status=429, error=MONEY), tries=("one money", "two success"),
        hurts=0, also=rests("money", 900), alone=(503, "upstream_quota"), unseen=(b"vendor-words",),
    ),
    Fault(
        number=23, name="this key is refused", one=(Script(status=401),), by="one", config=POOL,
        tries=("one auth", "one success"), hurts=0, also=rests("auth", 600),
    ),
    Fault(
        number=23, name="all keys are refused", one=Script(status=401, error={"message": "vendor-words"}),
        tries=("one auth", "two success"), hurts=0, also=rests("auth", 600), alone=(503, "upstream_auth"),
        unseen=(b"vendor-words",),
    ),
    Fault(
        number=24, name="not for this key", one=(FORBIDDEN,), by="one", config=POOL,
        tries=("one forbidden", "one success"), hurts=0, also=rests("forbidden", 600, "m"),
    ),
    Fault(
        number=24, name="not for any key", one=FORBIDDEN, tries=("one forbidden", "two success"), hurts=0,
        also=rests("forbidden", 600, "m"), alone=(503, "upstream_auth"), unseen=(b"vendor-words",),
    ),
    Fault(
        number=25, name="too long", hurts=0, tries=("one context", "two success"),
        one=Script(status=400, error={"message": "too many", "code": "context_length_exceeded"}),
        alone=(400, "context_length_exceeded"),
    ),
    Fault(
        number=25, name="too long in other words", hurts=0, tries=("one context", "two success"),
        one=Script(status=400, body=b'{"error":{"message":"This model\'s maximum context length is 10 tokens"}}'),
        alone=(400, "context_length_exceeded"),
    ),
    Fault(
        number=26, name="no such model", one=Script(status=404), tries=("one model_absent", "two success"), hurts=0,
        alone=(404, "model_not_found"),
    ),
    *(
        Fault(
            number=27, name=f"overload by {status}", one=Script(status=status), hurts=1,
            tries=("one overload", "two success"),
        )
        for status in (503, 529)
    ),
    Fault(
        number=28, name="unexpected endpoint", hurts=1, tries=REFUSED, billed=True,
        alone=(502, "upstream_not_an_answer"),
        one=Script(body=b'{"error":"Unexpected endpoint or method. (POST /chat/completions)"}'),
        unseen=(b"Unexpected endpoint",),
    ),
    *(
        Fault(
            number=29, name=name, one=script, hurts=1, tries=REFUSED, alone=(502, "upstream_not_an_answer"),
            billed=True, unseen=(b"cdn-words",),
        )
        for name, script in NOT_ANSWERS.items()
    ),
    *(
        Fault(
            number=30, name=name, one=Script(body=json.dumps({"id": "x", "choices": choices}).encode()), hurts=1,
            tries=REFUSED, alone=(502, "upstream_not_an_answer"), billed=True,
        )
        for name, choices in {"no choices": [], "no message": [{"index": 0, "message": None}]}.items()
    ),
    Fault(
        number=31, name="blanks and then an answer", only="whole", by="one", tries=("one success",), hurts=0,
        one=Script(chunks=(*[b"\n"] * 20, json.dumps({"choices": [CHOICE]}).encode()), between=0.001),
        source="counted",
    ),
    Fault(
        number=31, name="blanks for ever", tries=("one idle_timeout", "two success"), hurts=1, only="whole",
        one=Script(chunks=(b"\n",) * 10_000, between=0.01), config={"timeouts": {"attempt": "300ms"}}, billed=True,
        alone=(504, "upstream_timeout"),
    ),
    Fault(
        number=31, name="blanks for ever in a stream", tries=("one first_token_timeout", "two success"), hurts=1,
        one=Script(chunks=(b"\n",) * 10_000, between=0.01), config={"timeouts": {"first_token": "300ms"}}, billed=True,
        alone=(504, "upstream_timeout"), only="stream",
    ),
    *(
        Fault(
            number=32, name=f"{status} to {name}", tries=TWICE, hurts=2, alone=(502, "upstream_fault"),
            one=Script(status=status, headers=(("location", f"http://{name}/computeMetadata"),), body=b""),
            unseen=(name.encode(),),
        )
        for status, name in ((301, "169.254.169.254"), (307, "169.254.169.254"), (308, "127.0.0.1:9"))
    ),
    *(
        Fault(number=33, name=name, one=Script(usage=usage), by="one", tries=("one success",), hurts=0)
        for name, usage in {
            "more cached than asked": Usage(7, 4, cached=70),
            "more reasoning than said": Usage(7, 4, reasoning=40),
        }.items()
    ),
    *(
        Fault(
            number=33, name=name, one=_saying(usage), only="whole", by="one", tries=("one success",), hurts=0,
            source="counted",
        )
        for name, usage in {
            "negative": {"prompt_tokens": -7, "completion_tokens": 4},
            "larger than any": {"prompt_tokens": 7, "completion_tokens": 2**63},
            "a word": {"prompt_tokens": "seven", "completion_tokens": 4},
            "no object": 11,
        }.items()
    ),
    Fault(
        number=34, name="another model", one=Script(model="gpt-9-turbo"), by="one", tries=("one success",), hurts=0,
        also=lambda _stage, _answer, record: _names(record, asked="m", answered="gpt-9-turbo"),
    ),
)  # fmt: skip


def _names(record: UsageRecord, asked: str, answered: str) -> None:
    assert (record.asked_model, record.model) == (asked, answered)


@plays(FAULTS)
async def test_fault(stage: Stage, fault: Fault, stream: bool, alone: bool) -> None:
    await play(stage, fault, stream, alone)


@pytest.mark.fault(18)
@MODES
async def test_18_a_target_that_always_fails_is_left_alone(stage: Stage, stream: bool) -> None:
    """After five failures nothing reaches it any more; a probe that succeeds brings it back."""
    await stage.serve()
    stage.one.script(Script(status=500), times=None)
    answers = [await stage.ask(stream) for _ in range(10)]
    assert {answer.text for answer in answers} == {SECOND_WORDS}
    assert len(stage.one.seen) == 5
    assert (await stage.health())["state"] == "open"
    assert stage.told() == ("two success",)


@pytest.mark.fault(24)
async def test_24_the_key_serves_other_models(stage: Stage) -> None:
    await stage.serve()
    stage.one.script(FORBIDDEN, model="m", times=None)
    for model, by in (("m", "two"), ("n", "one"), ("m", "two")):
        assert (await stage.ask(model=model)).headers["x-failsoft-upstream"] == by
    assert [seen.request.json["model"] for seen in stage.one.seen] == ["m", "n"]


@pytest.mark.fault(26)
@MODES
async def test_26_an_absent_model_is_not_asked_for_a_minute(stage: Stage, stream: bool) -> None:
    await stage.serve()
    stage.one.script(Script(status=404), model="m")
    for seconds, model, by in ((0, "m", "two"), (59, "m", "two"), (0, "n", "one"), (1, "m", "one")):
        virtual(stage).advance(seconds)
        answer = await stage.ask(stream, model=model)
        assert answer.headers["x-failsoft-upstream"] == by, (seconds, model)
    assert (await stage.health())["failures"] == 0


@pytest.mark.fault(27)
@MODES
async def test_27_after_an_overload_traffic_comes_back_gently(stage: Stage, stream: bool) -> None:
    """Half a failure each: ten open the breaker. Three probes close it, then the share grows for half a minute."""
    await stage.serve()
    stage.one.script(Script(status=529), times=None)
    for _ in range(15):
        assert (await stage.ask(stream)).text == SECOND_WORDS
    assert len(stage.one.seen) == 10
    stage.one.reset()
    virtual(stage).advance(30)
    shares = []
    for _ in range(4):
        answers = [await stage.ask(stream) for _ in range(20)]
        shares.append(sum(answer.headers["x-failsoft-upstream"] == "one" for answer in answers))
        virtual(stage).advance(12)
    first, *_, last = shares
    assert shares == sorted(shares)
    assert first < 10 < last == 20


@pytest.mark.fault(30)
@MODES
async def test_30_a_blocked_prompt_is_an_answer(stage: Stage, stream: bool) -> None:
    """Nobody else is asked, and nobody is blamed: the vendor's filter has spoken."""
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}
    body = json.dumps(blocked).encode()
    await stage.serve(one={"provider": "gemini"})
    stage.one.script(Script(chunks=(b"data: " + body + b"\n\n",)) if stream else Script(body=body))
    answer = await stage.ask(stream)
    assert answer.status == 200
    assert b'"finish_reason":"content_filter"' in answer.body
    assert (answer.text, stage.told()) == ("", ("one success",))
    assert not stage.two.seen


@pytest.mark.fault(31)
@MODES
async def test_31_no_upstream_is_asked_after_the_deadline(stage: Stage, stream: bool) -> None:
    """Blanks come for as long as the request may last: the client is told in time, and the upstream is not blamed."""
    stage.clock = SystemClock()
    route = {"name": "all", "match": {"model": "*"}, "use": ["one/*", "two/*"], "deadline": "500ms"}
    await stage.serve(routes=[route], **NO_OFFLINE)
    stage.one.script(Script(chunks=(b"\n",) * 10_000, between=0.01), times=None)
    answer = await stage.ask(stream)
    assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
    assert stage.told() == ("one deadline",)
    assert (await stage.health())["failures"] == 0
    assert not stage.two.seen


@pytest.mark.fault(32)
@MODES
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_32_nobody_is_given_the_key_of_another(stage: Stage, stream: bool, status: int) -> None:
    await stage.serve({"one": upstream(stage.one)}, **NO_OFFLINE)
    stage.one.script(Script(status=status, headers=(("location", f"{stage.two.url}/chat/completions"),)), times=None)
    assert (await stage.ask(stream)).status == 502
    assert stage.two.connected == 0


@pytest.mark.fault(33)
async def test_33_impossible_usage_in_a_stream(stage: Stage) -> None:
    await stage.serve()
    told = [
        {"choices": [{"index": 0, "delta": {"content": FIRST_WORDS}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": -7, "completion_tokens": 2**63}},
    ]
    frames = (b"data: " + json.dumps(one).encode() + b"\n\n" for one in told)
    stage.one.script(Script(chunks=(*frames, b"data: [DONE]\n\n")))
    assert (await stage.ask(stream=True)).text == FIRST_WORDS
    (record,) = stage.records
    assert (record.usage.source, record.usage.completion) == ("counted", 4)


UNKNOWN = {
    "compatible": [
        {
            "id": "x", "novelty": {"a": [1]}, "choices": [
                {"index": 0, "novelty": 1, "delta": {"role": "oracle", "content": FIRST_WORDS, "aura": "blue"}},
            ],
        },
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "service_tier": "brand-new"},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"id": "x", "content": [], "usage": {"input_tokens": 7}, "novelty": 1}},
        {"type": "novelty", "index": 0},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "aura", "colour": "blue"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "aura_delta", "colour": "green"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": FIRST_WORDS}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "enlightened"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ],
    "gemini": [
        {"novelty": 1, "candidates": [{"aura": "blue", "content": {"parts": [{"aura": {}}, {"text": FIRST_WORDS}]}}]},
        {"candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "ENLIGHTENED"}]},
    ],
}  # fmt: skip


@pytest.mark.fault(35)
@pytest.mark.parametrize("provider", UNKNOWN)
async def test_35_what_nobody_knows_is_passed_over(stage: Stage, provider: str) -> None:
    await stage.serve(one={"provider": provider})
    end = (b"data: [DONE]\n\n",) if provider == "compatible" else ()
    frames = (b"data: " + json.dumps(told).encode() + b"\n\n" for told in UNKNOWN[provider])
    stage.one.script(Script(chunks=(*frames, *end)))
    answer = await stage.ask(stream=True)
    assert (answer.status, answer.text, answer.headers["x-failsoft-upstream"]) == (200, FIRST_WORDS, "one")
    assert stage.told() == ("one success",)


@pytest.mark.fault(35)
async def test_35_what_nobody_knows_passes_in_a_whole_answer(stage: Stage) -> None:
    await stage.serve()
    told = {"novelty": {"a": [1]}, "choices": [CHOICE | {"aura": "blue", "finish_reason": "enlightened"}]}
    stage.one.script(Script(body=json.dumps(told).encode()))
    assert (await stage.ask()).json == told


def virtual(stage: Stage) -> FakeClock:
    assert isinstance(stage.clock, FakeClock)
    return stage.clock
