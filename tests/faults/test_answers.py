"""Faults 17 to 35: statuses, and bodies that are no answers."""

from __future__ import annotations

import json
from collections.abc import Callable

from proxy.core.usage import UsageRecord
from tests.e2e.harness import Answer
from tests.faults.scenario import Fault, play, plays
from tests.faults.stage import Stage
from tests.upstream import Script, Usage

TWICE = ("one fault", "one fault", "two success")
REFUSED = ("one not_an_answer", "two success")
POOL = {"keys": ["${FAULT_KEY_0}", "${FAULT_KEY_1}"]}
MONEY = {"code": "insufficient_quota", "type": "insufficient_quota", "message": "vendor-words"}
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
        number=24, name="forbidden to this key", one=(Script(status=403),), by="one", config=POOL,
        tries=("one auth", "one success"), hurts=0,
    ),
    Fault(
        number=24, name="forbidden to all keys", one=Script(status=403, error={"message": "vendor-words"}),
        tries=("one auth", "two success"), hurts=0, alone=(503, "upstream_auth"), unseen=(b"vendor-words",),
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
