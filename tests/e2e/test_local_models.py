"""Local models as managed resources: the proxy in front of a simulated LM Studio, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.harness import CANARY, CHAT, document, upstream
from tests.upstream import FakeUpstream, Gate, Script
from tests.upstream.dialects.lmstudio_native import LMStudio
from tests.upstream.local import Model

SMALL, LARGE = "vendor/small", "vendor/large"


@pytest.fixture
def studio(one: FakeUpstream) -> LMStudio:
    """Two models on the disk, nothing in memory, room for one of them."""
    server = LMStudio({SMALL: Model(SMALL, 4), LARGE: Model(LARGE, 6, longest=8192)}, ceiling=8)
    one.simulate(server)
    return server


def local(fake: FakeUpstream, **settings) -> dict:
    """An upstream with the usual few slots; who waits for a model takes none of them."""
    return upstream(fake, provider="lmstudio", ensure_loaded=settings, slots={"limit": 4, "queue": 64, "wait": "60s"})


def prompts(fake: FakeUpstream) -> list[str]:
    return [seen.request.json["model"] for seen in fake.seen if seen.path.endswith("/chat/completions")]


async def test_fifty_first_requests_load_once(serve, one, studio):
    studio.loading = Gate()
    proxy = await serve(document({"one": local(one)}))
    asked = [asyncio.create_task(proxy.chat(model=SMALL, stream=number % 2 == 0)) for number in range(50)]
    await studio.loading.reached()
    assert prompts(one) == []
    status = next(row for row in (await proxy.admin("status"))["upstreams"] if row["name"] == "one")
    assert (status["slots"]["in_flight"], status["slots"]["queued"]) == (0, 0)
    studio.loading.open()
    answers = await asyncio.gather(*asked)
    assert [answer.text for answer in answers] == ["Hello, world!"] * 50
    assert studio.loads == [(SMALL, 4096)]
    assert prompts(one) == [SMALL] * 50
    assert list(studio.loaded) == [SMALL]


async def test_what_is_loaded_is_used_as_it_is_and_never_unloaded(serve, one, studio):
    """What a person loaded at the machine is not ours: neither its time to live nor another model ends it."""
    studio.put(LARGE, 2048)
    proxy = await serve(document({"one": local(one, ttl="1ms", min_stay="1ms")}))
    assert (await proxy.chat(model=LARGE)).status == 200
    refused = await proxy.chat({"x-failsoft-offline": "never"}, model=SMALL)
    assert (refused.status, refused.error["code"]) == (503, "upstream_overloaded")
    assert (studio.loads, studio.unloads) == ([(SMALL, 4096)], [])


async def test_idle_models_are_unloaded_once(serve, one, studio):
    proxy = await serve(document({"one": local(one, ttl="20ms")}))
    assert (await proxy.chat(model=SMALL)).status == 200
    await studio.until(lambda: bool(studio.unloads))
    assert (await proxy.chat(model=SMALL)).status == 200
    await studio.until(lambda: len(studio.unloads) == 2)
    assert studio.unloads == [SMALL, SMALL]
    assert [name for name, _ in studio.loads] == [SMALL, SMALL]
    assert not studio.loaded


async def test_a_model_that_answers_is_neither_idle_nor_in_the_way(serve, one, studio):
    """A second model waits until the first is free, however long that takes; then it takes its place."""
    proxy = await serve(document({"one": local(one, ttl="10ms", min_stay="1ms")}))
    gate = one.gate()
    one.script(Script(pauses={2: gate}), model=SMALL)
    busy = asyncio.create_task(proxy.chat(model=SMALL, stream=True))
    await gate.reached()
    second = asyncio.create_task(proxy.chat(model=LARGE))
    await studio.until(lambda: (LARGE, 4096) in studio.loads)
    assert list(studio.loaded) == [SMALL]
    gate.open()
    assert (await busy).text == "Hello, world!"
    assert (await second).text == "Hello, world!"
    assert studio.unloads[0] == SMALL
    assert studio.evicted_busy == []
    assert studio.peak <= studio.ceiling


async def test_no_more_of_ours_than_asked_for(serve, one, studio):
    studio.ceiling = 100
    proxy = await serve(document({"one": local(one, most=1, min_stay="1ms")}))
    for model in (SMALL, LARGE, SMALL):
        assert (await proxy.chat(model=model)).status == 200
    assert studio.peak == 6
    assert studio.unloads == [SMALL, LARGE]


async def test_the_context_fits_the_prompt_and_grows(serve, one, studio):
    proxy = await serve(document({"one": local(one)}))
    long = [{"role": "user", "content": "many words " * 2000}]
    await proxy.chat(model=LARGE)
    await proxy.chat(model=LARGE, messages=long)
    assert (await proxy.chat(model=LARGE, messages=long * 4)).error["code"] == "context_length_exceeded"
    assert studio.loads == [(LARGE, 4096), (LARGE, 8192)], "8192 is all that the model can"
    assert studio.unloads == [LARGE]
    assert len(studio.loaded) == 1


async def test_a_written_context_is_used(serve, one, studio):
    proxy = await serve(document({"one": local(one, context=6000)}))
    await proxy.chat(model=SMALL)
    assert studio.loads == [(SMALL, 6000)]


async def test_a_streaming_client_hears_that_it_is_waited_for(serve, one, studio):
    studio.loading = Gate()
    proxy = await serve(document({"one": local(one)}, server={"heartbeat": {"first": "1ms", "every": "1ms"}}))
    body = CHAT | {"model": SMALL, "stream": True}
    async with proxy.session.post(f"{proxy.url}/v1/chat/completions", json=body) as answer:
        await answer.content.readuntil(b": keep-alive\n\n")
        assert prompts(one) == []
        studio.loading.open()
        assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")


async def test_who_leaves_while_a_model_loads_leaves_the_others_waiting(serve, one, studio):
    """The load goes on as long as anybody waits for it, and is given up with the last."""
    studio.loading = Gate()
    proxy = await serve(document({"one": local(one)}))
    first, second = (asyncio.create_task(proxy.chat(model=SMALL)) for _ in range(2))
    await studio.loading.reached()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    third = asyncio.create_task(proxy.chat(model=SMALL))
    studio.loading.open()
    assert (await second).status == (await third).status == 200
    assert (len(studio.loads), studio.aborted) == (1, [])

    studio.loading, studio.ceiling = Gate(), 100
    alone = asyncio.create_task(proxy.chat(model=LARGE, max_tokens=8000))
    await studio.loading.reached()
    alone.cancel()
    await studio.until(lambda: studio.aborted == [LARGE])
    assert len(studio.loads) == 2
    assert prompts(one) == [SMALL, SMALL]


@pytest.mark.fault(74)
async def test_an_unknown_model_and_a_failed_load(serve, one, two, studio):
    proxy = await serve(document({"one": local(one), "two": upstream(two)}))
    assert (await proxy.chat(model="absent/model")).headers["x-failsoft-upstream"] == "two"
    studio.broken = "Failed to load model"
    answer = await proxy.chat(model=SMALL)
    assert answer.headers["x-failsoft-upstream"] == "two"
    assert prompts(one) == []


async def test_what_the_client_is_told_without_a_way_out(serve, one, studio):
    proxy = await serve(document({"one": local(one)}))
    never = {"x-failsoft-offline": "never"}
    gone = await proxy.chat(never, model="absent/model")
    assert (gone.status, gone.error["code"]) == (404, "model_not_found")
    studio.broken = "Failed to load model"
    failed = await proxy.chat(never, model=SMALL)
    assert (failed.status, failed.error["code"]) == (502, "upstream_fault")
    assert prompts(one) == []


@pytest.mark.parametrize("status", [200, 404], ids=["as LM Studio says it", "as others do"])
async def test_an_older_server_without_that_api_is_left_to_itself(serve, one, status):
    unknown = Script(status=status, body=b'{"error":"Unexpected endpoint or method. (GET /api/v1/models)"}')
    one.script(unknown, path="/api/v1/models", times=None)
    proxy = await serve(document({"one": local(one, ttl="1ms")}))
    assert (await proxy.chat(model=SMALL)).text == "Hello, world!"


@pytest.mark.fault(74)
async def test_a_model_that_was_unloaded_behind_our_back_comes_back(serve, one, studio):
    proxy = await serve(document({"one": local(one), "two": upstream("http://127.0.0.1:9/v1")}))
    await proxy.chat(model=SMALL)
    studio.loaded.clear()
    assert (await proxy.chat(model=SMALL)).headers["x-failsoft-offline"] == "rules"
    assert (await proxy.chat(model=SMALL)).text == "Hello, world!"
    assert len(studio.loads) == 2


@pytest.mark.fault(74)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_of_another_model_is_none(serve, one, two, studio, stream):
    """Nobody loads on demand, and whatever is in memory answers: nothing of it reaches the client."""
    studio.put(LARGE)
    studio.careless = True
    proxy = await serve(document({"one": upstream(one, provider="lmstudio"), "two": upstream(two)}))
    await proxy.get("/v1/models")
    answer = await proxy.chat(model=SMALL, stream=stream)
    assert (answer.headers["x-failsoft-upstream"], answer.text) == ("two", "Hello, world!")
    tried = (await proxy.admin("requests"))["requests"][0]["attempts"]
    assert [(row["upstream"], row["outcome"]) for row in tried] == [("one", "model_absent"), ("two", "success")]


@pytest.mark.fault(74)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_model_in_whose_place_another_answered_is_loaded_once_more(serve, one, studio, stream):
    proxy = await serve(document({"one": local(one)}))
    assert (await proxy.chat(model=SMALL)).status == 200
    studio.loaded.clear()
    studio.careless, studio.ceiling = True, 100
    studio.put(LARGE)
    assert (await proxy.chat(model=SMALL, stream=stream)).text == "Hello, world!"
    assert [name for name, _ in studio.loads] == [SMALL, SMALL]
    tried = (await proxy.admin("requests"))["requests"][0]["attempts"]
    assert [row["outcome"] for row in tried] == ["fault", "success"]


async def test_warm_models_first_where_the_route_leaves_a_choice(serve, one, studio):
    studio.put(SMALL)
    proxy = await serve(document({"one": local(one)}))
    answer = await proxy.chat(model="auto")
    assert (answer.headers["x-failsoft-model"], studio.loads) == (SMALL, [])


async def test_absent_models_are_pulled_where_that_is_wanted(serve, one, studio):
    proxy = await serve(document({"one": local(one, pull=True)}))
    answer = await proxy.chat(model="vendor/new")
    assert answer.text == "Hello, world!"
    assert (studio.pulls, studio.loads) == (["vendor/new"], [("vendor/new", 4096)])


async def test_the_servers_own_credentials_go_along(serve, one, studio):
    settings = {"keys": None, "auth": "${E2E_KEY}"}
    fields = {name: value for name, value in (local(one) | settings).items() if value is not None}
    proxy = await serve(document({"one": fields}))
    await proxy.chat(model=SMALL)
    assert {seen.headers["authorization"] for seen in one.everything} == {f"Bearer {CANARY}"}
    assert any(seen.path == "/api/v1/models/load" for seen in one.everything)
