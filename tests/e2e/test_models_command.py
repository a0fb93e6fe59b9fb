"""`/admin/models` and `failsoft models`: the operator sees local models, and loads, unloads and pulls them."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.e2e.harness import ADMIN, Child, Proxy, document, upstream
from tests.upstream import FakeUpstream, Gate, Script
from tests.upstream.dialects.lmstudio_native import LMStudio
from tests.upstream.local import Model

SMALL, LARGE = "vendor/small", "vendor/large"


@pytest.fixture
def studio(one: FakeUpstream) -> LMStudio:
    server = LMStudio({SMALL: Model(SMALL, 4), LARGE: Model(LARGE, 6, longest=8192)}, ceiling=8)
    one.simulate(server)
    return server


@pytest.fixture
async def proxy(serve, one, studio) -> Proxy:
    local = upstream(one, provider="lmstudio", ensure_loaded={"min_stay": "1ms"})
    gone = upstream("http://127.0.0.1:9/v1", provider="ollama")
    return await serve(document({"one": local, "gone": gone, "cloud": upstream("http://127.0.0.1:9/v1")}))


def order(proxy: Proxy, action: str, model: str, name: str = "one"):
    body = {"action": action, "upstream": name, "model": model}
    return proxy.post("/admin/models", body, {"x-api-key": ADMIN})


async def command(proxy: Proxy, *arguments: str, key: str = ADMIN) -> tuple[int, list[str]]:
    child = await Child.start("models", *arguments, "--url", proxy.url, "--key", key)
    code = await child.ended()
    return code, child.output


async def test_the_list_tells_state_context_and_capabilities(proxy, studio):
    studio.put(LARGE, 2048)
    assert (await order(proxy, "load", SMALL)).status == 503  # no room, and nothing of ours to make some
    studio.ceiling = 100
    assert (await order(proxy, "load", SMALL)).json["ready"] is True
    told = await proxy.admin("models")
    small, large = told["models"]
    assert (small["model"], small["loaded"], small["ours"]) == (SMALL, True, True)
    assert (large["loaded"], large["ours"], large["longest_context"]) == (True, False, 8192)
    assert large["instances"] == [{"id": LARGE, "context": 2048, "busy": False}]
    assert (small["capabilities"], small["size_bytes"]) == (["tools"], 4_000_000_000)
    assert list(told["failed"]) == ["gone"]


async def test_loading_what_is_loaded_changes_nothing(proxy, studio):
    for _ in range(3):
        assert (await order(proxy, "load", SMALL)).status == 200
    assert len(studio.loads) == 1


async def test_an_operator_may_unload_what_is_not_ours_but_not_what_is_busy(proxy, one, studio):
    studio.put(SMALL)
    gate = one.gate()
    one.script(Script(pauses={2: gate}))
    busy = asyncio.create_task(proxy.chat(model=SMALL, stream=True))
    await gate.reached()
    refused = await order(proxy, "unload", SMALL)
    assert (refused.status, studio.unloads) == (409, [])
    gate.open()
    assert (await busy).text == "Hello, world!"
    assert (await order(proxy, "unload", SMALL)).json == {"unloaded": 1}
    assert (await order(proxy, "unload", SMALL)).status == 404
    assert studio.unloads == [SMALL]


async def test_pulls_line_by_line(proxy, studio):
    answer = await order(proxy, "pull", "vendor/new")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert [line["status"] for line in lines] == ["downloading", "downloading", "completed"]
    assert lines[-1]["done_bytes"] == lines[-1]["total_bytes"] == 1000
    assert (await order(proxy, "pull", "absent/model")).status == 404
    assert (await order(proxy, "load", "vendor/new")).status == 200


@pytest.mark.parametrize(
    ("action", "model", "name", "status"),
    [
        ("load", "absent/model", "one", 404),
        ("load", SMALL, "nobody", 400),
        ("load", SMALL, "cloud", 400),
        ("pull", SMALL, "gone", 502),
        ("dance", SMALL, "one", 400),
    ],
)
async def test_what_cannot_be_done(proxy, action, model, name, status):
    assert (await order(proxy, action, model, name)).status == status


async def test_closed_without_the_key(proxy, studio):
    assert (await proxy.get("/admin/models")).status == 401
    body = {"action": "load", "upstream": "one", "model": SMALL}
    assert (await proxy.post("/admin/models", body)).status == 401
    assert not studio.loads


async def test_the_command_does_the_same(proxy, studio):
    code, output = await command(proxy, "load", f"one/{SMALL}")
    assert (code, output[0].startswith("ready after")) == (0, True), output
    code, output = await command(proxy, "list")
    assert code == 0
    row = next(line for line in output if line.startswith(f"one/{SMALL}"))
    assert "loaded by the proxy" in row
    assert "4096 of 131072" in row
    assert "4.0 GB" in row
    assert any(line.startswith("gone: connect") for line in output)
    code, output = await command(proxy, "list", "--json")
    assert '"capabilities"' in "".join(output)
    assert await command(proxy, "unload", f"one/{SMALL}") == (0, ["unloaded 1"])
    code, output = await command(proxy, "pull", "one/vendor/new")
    assert (code, output[-1]) == (0, "completed  100% of 0.0 GB")
    assert (studio.unloads, studio.pulls) == ([SMALL], ["vendor/new"])


async def test_the_command_explains_what_went_wrong(proxy):
    code, output = await command(proxy, "load", "one/absent/model")
    assert (code, len(output)) == (1, 1)
    assert "does not have" in output[0]
    code, output = await command(proxy, "list", key="wrong")
    assert (code, output) == (1, ["This path needs an admin key."])
    child = await Child.start("models", "list", "--url", "http://127.0.0.1:9", "--key", "x")
    assert await child.ended() == 1
    assert "is `failsoft serve` running" in child.output[0]


async def test_the_command_finds_the_key_that_the_server_made(launch, one, studio, tmp_path):
    config = document({"one": upstream(one, provider="lmstudio")}, server={"admin_keys": []})
    server = await launch(config)
    child = await Child.start(
        "models",
        "load",
        f"one/{SMALL}",
        "--url",
        await server.url(),
        environment={"FAILSOFT_STATE": str(tmp_path / "state")},
    )
    assert await child.ended() == 0, child.output
    assert list(studio.loaded) == [SMALL]


async def test_the_list_can_be_read_while_a_model_loads(proxy, studio):
    studio.loading = Gate()
    asked = asyncio.create_task(order(proxy, "load", SMALL))
    await studio.loading.reached()
    told = await proxy.admin("models")  # a look is possible while a load is under way
    assert told["models"][0]["loaded"] is False
    studio.loading.open()
    assert (await asked).status == 200
    assert (await proxy.admin("models"))["models"][0]["ours"] is True
