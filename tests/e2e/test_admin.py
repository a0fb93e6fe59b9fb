"""The operators' endpoints: closed without a key, and right about what happened."""

from __future__ import annotations

import pytest

from tests.e2e.harness import ADMIN, CANARY, document, upstream
from tests.upstream import Script

PATHS = [
    ("GET", "status"), ("GET", "health"), ("GET", "statistics"), ("POST", "reset-stats"), ("POST", "test"),
    ("GET", "absent"), ("POST", "status"),
]  # fmt: skip


@pytest.fixture
async def proxy(serve, one, two):
    disabled = upstream("http://127.0.0.1:9/v1", keys=["${ABSENT:-}"], provider="deepseek")
    return await serve(document({"one": upstream(one), "two": upstream(two), "off": disabled}))


def row(table, name):
    """An upstream's row: the status has a list, the statistics an object."""
    return table[name] if isinstance(table, dict) else next(row for row in table if row["name"] == name)


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"x-api-key": ADMIN + "x"}, {"authorization": f"Basic {ADMIN}"}],
    ids=["none", "wrong", "almost", "other scheme"],
)
async def test_closed_without_the_key(proxy, one, method, path, headers):
    answer = await proxy.request(method, f"/admin/{path}", b'{"prompt":"x"}' if method == "POST" else None, headers)
    assert answer.status == 401
    assert answer.error["code"] == "invalid_api_key"
    assert not one.seen


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {ADMIN}"}, {"x-api-key": ADMIN}])
async def test_open_with_it(proxy, headers):
    for path in ("status", "health", "statistics", "requests"):
        assert (await proxy.get(f"/admin/{path}", headers)).status == 200


async def test_status_says_what_is_enabled_and_why_not(proxy):
    status = await proxy.admin("status")
    assert row(status["upstreams"], "one")["enabled"] is True
    off = row(status["upstreams"], "off")
    assert off["enabled"] is False
    assert off["disabled_because"]
    assert status["routes"] == ["all"]
    assert status["version"]
    assert status["uptime_seconds"] >= 0


async def test_statistics_count_requests_attempts_errors_and_fallbacks(proxy, one):
    await proxy.chat()
    await proxy.chat(stream=True)
    one.script(Script(status=401))
    await proxy.chat()
    statistics = await proxy.admin("statistics")
    first, second = row(statistics["upstreams"], "one"), row(statistics["upstreams"], "two")
    assert (first["requests"], first["attempts"], first["errors"], first["fallbacks"]) == (2, 3, 1, 1)
    assert (second["requests"], second["attempts"], second["errors"]) == (1, 1, 0)
    assert first["last_request"]
    assert first["latency_ms"]["p50"] > 0
    assert first["first_token_ms"]["p50"] > 0
    assert second["tokens"] == {"prompt": 7, "completion": 4}
    assert statistics["offline_answers"] == 0
    assert statistics["in_flight"] == 0
    assert statistics["requests"] == 3


async def test_a_stream_that_breaks_is_counted_by_what_was_said(proxy, one):
    """Some upstreams tell their usage with every chunk; what they told before the break is too little."""
    usage = b'"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}'
    frame = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"word " * 40 + b'"}}],' + usage + b"}\n\n"
    one.script(Script(chunks=(frame,), ending="close"))
    answer = await proxy.chat(stream=True)
    assert b"stream_interrupted" in answer.body
    assert row((await proxy.admin("statistics"))["upstreams"], "one")["tokens"] == {"prompt": 7, "completion": 50}


async def test_offline_answers_are_counted(proxy, one, two):
    one.script(Script(status=500), times=None)
    two.script(Script(status=500), times=None)
    await proxy.chat()
    assert (await proxy.admin("statistics"))["offline_answers"] == 1


async def test_the_latest_requests_are_shown_with_every_try(proxy, one, two):
    one.script(Script(status=401))
    answer = await proxy.chat({"x-correlation-id": "order-7"}, stream=True)
    one.script(Script(cut_frames=3, ending="reset"))
    await proxy.chat(model="n", stream=True)
    requests = (await proxy.admin("requests?limit=2"))["requests"]
    newest, first = requests
    assert (first["id"], first["correlation_id"]) == (answer.headers["x-request-id"], "order-7")
    assert (first["stream"], first["asked_model"], first["route"], first["mode"]) == (True, "m", "all", "identity")
    assert (first["upstream"], first["status"], first["ended"]) == ("two", 200, "stop")
    assert [(a["upstream"], a["outcome"], a["status"]) for a in first["attempts"]] == [
        ("one", "auth", 401),
        ("two", "success", 200),
    ]
    assert (first["tokens"]["prompt"], first["tokens"]["completion"], first["tokens"]["source"]) == (7, 4, "vendor")
    assert newest["asked_model"] == "n"
    assert (await proxy.admin("requests?limit=1"))["requests"] == [newest]


async def test_what_an_upstream_had_begun_may_be_billed(proxy, one):
    """A refusal costs nothing; an answer that never came may."""
    one.script(Script(status=404))
    await proxy.chat()
    one.script(Script(cut_head=0, ending="reset"), times=None)
    await proxy.chat(model="n")
    billed, free = (await proxy.admin("requests"))["requests"]
    assert [(a["outcome"], a["may_be_billed"]) for a in free["attempts"]] == [
        ("model_absent", False),
        ("success", False),
    ]
    assert {(a["outcome"], a["may_be_billed"]) for a in billed["attempts"]} == {("fault", True), ("success", False)}
    assert (free["may_be_billed"], billed["may_be_billed"]) == (False, True)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "²", "9" * 5000])
async def test_a_limit_is_a_number_within_bounds(proxy, limit):
    assert (await proxy.get(f"/admin/requests?limit={limit}", {"x-api-key": ADMIN})).status == 400


async def test_health_tells_the_last_outcome(proxy, one):
    one.script(Script(status=401))
    await proxy.chat()
    health = await proxy.admin("health")
    assert health["status"] == "ok"
    assert health["upstreams"]["one"]["last_outcome"] == "auth"
    assert health["upstreams"]["two"]["last_outcome"] == "success"
    assert health["upstreams"]["off"]["enabled"] is False


async def test_reset(proxy):
    await proxy.chat()
    answer = await proxy.post("/admin/reset-stats", b"", {"x-api-key": ADMIN})
    assert answer.json["reset"] is True
    assert row((await proxy.admin("statistics"))["upstreams"], "one")["requests"] == 0


async def test_a_trial_is_a_real_request(proxy, one):
    trial = {"prompt": "Say hello", "context": "Be brief", "model": "m"}
    answer = await proxy.post("/admin/test", trial, {"x-api-key": ADMIN})
    assert answer.status == 200, answer.body
    assert (answer.json["answer"], answer.json["provider"]) == ("Hello, world!", "one")
    assert answer.json["latency_ms"] > 0
    assert [message["content"] for message in one.seen[0].request.json["messages"]] == ["Be brief", "Say hello"]
    assert row((await proxy.admin("statistics"))["upstreams"], "one")["requests"] == 1


async def test_a_trial_in_an_outage_gets_the_offline_answer(proxy, one, two):
    one.script(Script(status=500), times=None)
    two.script(Script(status=500), times=None)
    answer = await proxy.post("/admin/test", {"prompt": "hi"}, {"x-api-key": ADMIN})
    assert answer.json["offline"] == "rules"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"prompt":1}', b'{"prompt":"x","odd":1}'])
async def test_a_bad_trial_is_400(proxy, body):
    assert (await proxy.post("/admin/test", body, {"x-api-key": ADMIN})).status == 400


async def test_no_page_shows_a_key(proxy):
    await proxy.chat()
    for path in ("status", "health", "statistics", "requests"):
        body = (await proxy.get(f"/admin/{path}", {"x-api-key": ADMIN})).body.decode()
        assert CANARY not in body
        assert ADMIN not in body
