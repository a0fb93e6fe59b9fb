"""On whose behalf a request is made: what that caller may ask for, and what is filled in where it is silent."""

from __future__ import annotations

import pytest

from proxy.core.digest import digest
from tests.e2e.harness import ADMIN, document, upstream
from tests.upstream import Script

CAPPED = {"authorization": "Bearer capped-key"}
FREE = {"authorization": "Bearer free-key"}
AS_ADMIN = {"authorization": f"Bearer {ADMIN}"}
MESSAGES = [{"role": "user", "content": "hi"}]


def tenant(key: str, **fields):
    return {"keys": [f"sha256:{digest(key)}"]} | fields


@pytest.fixture
def config(one, two):
    tenants = {
        "capped": tenant("capped-key", defaults={"model": "house", "temperature": 0.2, "max_tokens": 50}),
        "strict": tenant("strict-key", flags={"offline": "never"}),
        "closed": tenant("closed-key", enabled=False),
        "free": tenant("free-key", plan="free"),
        "public": {"anonymous": True},
    }
    return document(
        {"one": upstream(one), "two": upstream(two)},
        tenants=tenants,
        plans={"free": {"models": ["house", "one/fake-*"]}},
        models={"house": ["one/house-model"], "dear": ["two/dear-model"]},
        routes=[
            {"name": "code", "match": {"task": "code"}, "use": ["two/coder"]},
            {"name": "all", "use": ["one/usual"]},
        ],
    )


@pytest.fixture
async def proxy(serve, config):
    return await serve(config)


def sent(fake):
    """The fields of the last request that an upstream got."""
    return fake.seen[-1].request.json


ASK = {
    "whole": ("/v1/chat/completions", {"messages": MESSAGES}),
    "streamed": ("/v1/chat/completions", {"messages": MESSAGES, "stream": True}),
    "completion": ("/v1/completions", {"prompt": "hi"}),
    "streamed completion": ("/v1/completions", {"prompt": "hi", "stream": True}),
}


@pytest.mark.parametrize("way", ASK)
async def test_defaults_fill_what_the_caller_left_out(proxy, one, way):
    path, body = ASK[way]
    answer = await proxy.post(path, body | {"model": "auto"}, CAPPED)
    assert answer.status == 200, answer.body
    assert (sent(one)["model"], sent(one)["temperature"], sent(one)["max_tokens"]) == ("house-model", 0.2, 50)
    answer = await proxy.post(path, body | {"model": "auto"})
    assert answer.status == 200
    assert sent(one)["model"] == "usual"
    assert not {"temperature", "max_tokens"} & set(sent(one)), "another tenant's defaults are not ours"


@pytest.mark.parametrize("way", ASK)
async def test_defaults_never_overrule_the_caller(proxy, one, way):
    path, body = ASK[way]
    said = {"model": "one/mine", "temperature": 1.5, "max_tokens": 7}
    assert (await proxy.post(path, body | said, CAPPED)).status == 200
    assert {name: sent(one)[name] for name in said} == said | {"model": "mine"}


async def test_the_newer_name_of_a_limit_counts_as_said(proxy, one):
    """A body with both `max_tokens` and `max_completion_tokens` is refused by upstreams that know both."""
    await proxy.chat(CAPPED, model="auto", max_completion_tokens=9)
    assert sent(one)["max_completion_tokens"] == 9
    assert "max_tokens" not in sent(one)
    assert sent(one)["temperature"] == 0.2


async def test_zero_is_something_said(proxy, one):
    await proxy.chat(CAPPED, model="auto", temperature=0)
    assert sent(one)["temperature"] == 0


async def test_a_tenant_that_is_switched_off(proxy, one):
    answer = await proxy.chat({"authorization": "Bearer closed-key"})
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert not one.seen


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tenant_may_want_the_error_rather_than_an_offline_answer(proxy, one, two, stream):
    for fake in (one, two):
        fake.script(Script(status=500), times=None)
    refused = await proxy.chat({"authorization": "Bearer strict-key"}, model="auto", stream=stream)
    assert refused.status == 502
    assert "x-failsoft-offline" not in refused.headers
    usual = await proxy.chat(model="auto", stream=stream)
    assert (usual.status, usual.headers["x-failsoft-offline"]) == (200, "rules")


async def test_a_plan_shows_and_serves_only_what_it_allows(proxy, one, two):
    everything = {model["id"] for model in (await proxy.get("/v1/models")).json["data"]}
    allowed = {model["id"] for model in (await proxy.get("/v1/models", FREE)).json["data"]}
    assert {"auto", "house", "dear", "one/fake-small", "two/fake-small"} <= everything
    assert allowed == {"auto", "house", "one/fake-small", "one/fake-large"}
    for name in allowed:
        assert (await proxy.chat(FREE, model=name)).status == 200, name
    assert not two.seen


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["dear", "two/fake-small", "two/dear-model", "dear-model"])
async def test_a_model_outside_of_the_plan_does_not_exist(serve, proxy, config, one, two, stream, name):
    """The answer is, byte for byte, that of a proxy which has no such model: the plan gives nothing away."""
    del config["upstreams"]["two"], config["models"]["dear"], config["routes"][0]
    without = await serve(config)

    async def told(where):
        answer = await where.chat(FREE, model=name, stream=stream)
        shown = await where.get(f"/v1/models/{name}", FREE)
        assert (answer.status, answer.error["code"], shown.status) == (404, "model_not_found", 404)
        return answer.body, sorted(answer.headers), shown.body

    assert await told(proxy) == await told(without)
    assert not one.seen
    assert not two.seen


async def test_an_administrator_forces_a_route_and_nobody_else(proxy, one, two):
    forced = {"x-failsoft-route": "code"}
    answer = await proxy.chat(forced | AS_ADMIN, model="auto")
    assert answer.headers["x-failsoft-route"] == "code"
    assert sent(two)["model"] == "coder"
    for headers in ({}, CAPPED, FREE):
        answer = await proxy.chat(forced | headers, model="auto")
        assert (answer.status, answer.headers["x-failsoft-route"]) == (200, "all")
        assert (await proxy.chat({"x-failsoft-route": "absent"} | headers, model="auto")).status == 200
    absent = await proxy.chat({"x-failsoft-route": "absent"} | AS_ADMIN, model="auto")
    assert (absent.status, absent.error["param"]) == (400, "x-failsoft-route")


async def test_an_offline_rule_may_ask_for_the_task(serve, one):
    one.script(Script(status=500), times=None)
    rules = [{"name": "code", "match": {"task": "code"}, "text": "Your editor still works."}]
    proxy = await serve(document({"one": upstream(one)}, offline={"rules": rules}))
    code = [{"role": "user", "content": "Fix the bug in this Python function:\n```python\ndef f(): retrun 1\n```"}]
    assert (await proxy.chat(messages=code)).text == "Your editor still works."
    assert "Your editor" not in (await proxy.chat()).text
