"""What upstreams say of their models counts: in routing, in translation, for the operator; until they say otherwise."""

from __future__ import annotations

import json

import openai
import pytest

from proxy.core.clock import FakeClock
from tests.e2e.harness import ADMIN, Child, document, upstream
from tests.upstream import Script
from tests.upstream.dialects.lmstudio_native import LMStudio
from tests.upstream.dialects.ollama_native import Ollama
from tests.upstream.local import Model

LONG = [{"role": "user", "content": "word " * 2000}]
CAT = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def listing(**facts) -> Script:
    return Script(body=json.dumps({"data": [{"id": "m", **facts}]}).encode())


def says(fake, **facts) -> None:
    """From now on the list holds one model, `m`, and these facts."""
    fake.script(listing(**facts), path="/models", times=None)


async def answered_by(proxy, **fields) -> str:
    answer = await proxy.chat(**fields)
    assert answer.status == 200, answer.body
    return answer.headers["x-failsoft-upstream"]


async def test_a_prompt_goes_where_it_fits(serve, one, two):
    says(one, context_length=1000)
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    assert await answered_by(proxy) == "one"
    assert await answered_by(proxy, messages=LONG) == "two"
    async with (await serve(document({"one": upstream(one)}, offline={"levels": []}))).sdk() as sdk:
        with pytest.raises(openai.BadRequestError, match="do not fit into its 1000") as caught:
            await sdk.chat.completions.create(model="m", messages=LONG)
    assert caught.value.code == "context_length_exceeded"


async def test_a_picture_goes_where_it_is_seen(serve, one, two):
    says(one, architecture={"input_modalities": ["text"]})
    proxy = await serve(document({"one": upstream(one), "two": upstream(two)}))
    assert await answered_by(proxy, messages=[{"role": "user", "content": [CAT]}]) == "two"


async def test_the_file_knows_better(serve, one):
    says(one, context_length=1000)
    proxy = await serve(document({"one": upstream(one)}, families={"one/m": {"context": 100_000}}))
    assert await answered_by(proxy, messages=LONG) == "one"
    assert (await proxy.admin("models"))["facts"] == [
        {
            "upstream": "one", "model": "m", "context": 100_000, "output": None, "lacks": [], "efforts": None,
            "told": {"context": 1000},
        }
    ]  # fmt: skip


async def test_an_answer_is_asked_for_no_longer_than_the_model_writes(serve, one):
    says(one, max_completion_tokens=50)
    answer = await (await serve(document({"one": upstream(one)}))).chat(max_tokens=90)
    assert one.seen[-1].request.json["max_tokens"] == 50
    assert answer.headers["x-failsoft-lossy"].startswith("max_tokens: 90 is more than the model's 50")


async def test_what_was_said_last_holds_while_the_list_fails(serve, one):
    clock, lists = FakeClock(), {"first": listing(context_length=1000), "last": listing(context_length=2**20)}
    now = "first"
    for when, script in (lists | {"broken": Script(status=500)}).items():
        one.script(script, path="/models", times=None, when=lambda _, when=when: now == when)
    proxy = await serve(document({"one": upstream(one)}, offline={"levels": []}), clock)
    outcomes = {}
    for now in ("first", "broken", "last"):
        clock.advance(60)
        await proxy.get("/v1/models")  # whoever looks at the list has it refreshed
        outcomes[now] = (await proxy.chat(messages=LONG)).status
    assert outcomes == {"first": 400, "broken": 400, "last": 200}


async def test_a_loaded_model_is_as_long_as_it_was_loaded(serve, one, two):
    """A server that loads by itself says how; a request for more goes elsewhere."""
    server = LMStudio({"m": Model("m", longest=131072)})
    server.put("m", context=1000)
    one.simulate(server)
    proxy = await serve(document({"one": upstream(one, provider="lmstudio"), "two": upstream(two)}))
    assert await answered_by(proxy, messages=LONG) == "two"
    assert await answered_by(proxy) == "one"


async def test_a_server_that_must_be_asked_model_by_model(serve, one, two):
    one.simulate(Ollama({"m:latest": Model("m:latest", longest=1000)}))
    proxy = await serve(document({"one": upstream(one, provider="ollama"), "two": upstream(two)}))
    assert await answered_by(proxy) == "one"
    assert await answered_by(proxy, messages=LONG) == "two"
    assert await answered_by(proxy, messages=[{"role": "user", "content": [CAT]}]) == "two"


async def test_the_command_shows_what_is_known(serve, one):
    says(one, context_length=1000, max_completion_tokens=50, architecture={"input_modalities": ["text"]})
    proxy = await serve(document({"one": upstream(one)}))
    child = await Child.start("models", "list", "--url", proxy.url, "--key", ADMIN)
    assert await child.ended() == 0
    assert [line.split() for line in child.output][-1] == ["one/m", "1000", "50", "images", "-"]
