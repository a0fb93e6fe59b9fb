"""What operators do is written down: who, from where, when, what, why, and what came of it."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.core.secret import Secret
from tests.e2e.conftest import running
from tests.e2e.harness import ADMIN, CANARY, ENVIRONMENT, Proxy, document, upstream
from tests.upstream import FakeUpstream
from tests.upstream.dialects.lmstudio_native import LMStudio
from tests.upstream.local import Model

KEY = {"x-api-key": ADMIN}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def deeds(proxy: Proxy) -> list[dict[str, Any]]:
    """The oldest first."""
    return list(reversed((await proxy.admin("audit"))["deeds"]))


async def told(proxy: Proxy) -> list[tuple[str, str, str]]:
    return [(deed["action"], deed["subject"], deed["result"]) for deed in await deeds(proxy)]


async def pause(proxy: Proxy, name: str, **fields: Any) -> int:
    order = {"upstream": name, "state": "maintenance", "reason": "new disk", **fields}
    return (await proxy.post("/admin/provider", order, KEY)).status


async def test_every_deed_is_in_the_file_and_on_the_page(state, one):
    async with running(document({"one": upstream(one)}), folder=state, clock=FakeClock()) as proxy:
        assert await pause(proxy, "one") == 200
        assert await pause(proxy, "two") == 404
        assert await pause(proxy, "one", until="soon") == 400
        order = {"upstream": "one", "state": "active", "reason": "it is in"}
        await proxy.post("/admin/provider", order, KEY)
        await proxy.post("/admin/reset-stats", b"", KEY)
        shown = await deeds(proxy)
        assert await told(proxy) == [
            ("maintenance", "one", "done"),
            ("maintenance", "two", "upstream_not_found"),
            ("maintenance", "one", "bad_request"),
            ("active", "one", "done"),
            ("reset statistics", "", "done"),
        ]
    assert shown[0] == {
        "at": "2026-01-01T00:00:00.000+00:00", "who": Secret(ADMIN).fingerprint, "address": "127.0.0.1",
        "action": "maintenance", "subject": "one", "reason": "new disk", "result": "done",
    }  # fmt: skip
    file = state / "audit.jsonl"
    assert len(file.read_text().splitlines()) == 5
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ADMIN not in file.read_text()
    assert CANARY not in file.read_text()


async def test_it_is_there_after_a_restart(state, one):
    async with running(document({"one": upstream(one)}), folder=state) as proxy:
        await pause(proxy, "one")
    async with running(document({"one": upstream(one)}), folder=state) as proxy:
        assert await told(proxy) == [("maintenance", "one", "done")]


async def test_reloads_that_were_refused_say_why(state, one):
    written = document({"one": upstream(one)})

    def source():
        return loads(json.dumps(written).encode(), "routes.yaml", ENVIRONMENT)

    async with running(written, source, state) as proxy:
        first = (await proxy.post("/admin/reload", b"", KEY)).json["fingerprint"]
        written["odd"] = 1
        assert (await proxy.post("/admin/reload", b"", KEY)).status == 409
        (good, bad) = await told(proxy)
    assert good == ("reload", first, "done")
    assert bad[:2] == ("reload", first)
    assert bad[2].startswith("refused: ")
    assert "odd" in bad[2]


async def test_models_that_are_loaded_unloaded_and_pulled_by_hand(state, one):
    one.simulate(LMStudio({"a": Model("a"), "b": Model("b")}))
    home = {"provider": "lmstudio", "url": one.url, "health": {"every": "never"}}
    async with running(document({"home": home}), folder=state) as proxy:
        for action, model in (("load", "a"), ("unload", "a"), ("unload", "b"), ("pull", "c")):
            await proxy.post("/admin/models", {"action": action, "upstream": "home", "model": model}, KEY)
        await proxy.post("/admin/models", {"action": "load", "upstream": "hom", "model": "a"}, KEY)
        assert await told(proxy) == [
            ("load", "home/a", "done"),
            ("unload", "home/a", "done"),
            ("unload", "home/b", "model_not_found"),
            ("pull", "home/c", "begun"),
            ("pull", "home/c", "done"),
            ("load", "hom/a", "bad_request"),
        ]


async def test_a_deed_whose_operator_leaves_is_written_down_too(state, one):
    server = LMStudio({"a": Model("a")})
    server.loading = one.gate()
    one.simulate(server)
    home = {"provider": "lmstudio", "url": one.url, "health": {"every": "never"}}
    async with running(document({"home": home}), folder=state) as proxy:
        order = {"action": "load", "upstream": "home", "model": "a"}
        asked = asyncio.create_task(proxy.post("/admin/models", order, KEY))
        await one.arrived()
        asked.cancel()
        server.loading.open()
        async with asyncio.timeout(30):
            while not await told(proxy):
                pass
        (deed,) = await told(proxy)
    assert deed[:2] == ("load", "home/a")
    assert deed[2] in ("interrupted", "done")


async def test_a_disk_that_takes_nothing_does_not_stand_in_the_way(state, one):
    state.write_text("no folder")
    async with running(document({"one": upstream(one)}), folder=state) as proxy:
        assert await pause(proxy, "one") == 200
        page = await proxy.admin("audit")
    assert [deed["action"] for deed in page["deeds"]] == ["maintenance"]
    assert "audit.jsonl" in page["not_saved_because"]


async def test_forged_lines(state):
    async with FakeUpstream() as one, running(document({"one": upstream(one)}), folder=state) as proxy:
        await pause(proxy, "one", reason='x"}\n{"at":"2026-01-01T00:00:00Z"}\x1b[2J\u2028')
        (deed,) = await deeds(proxy)
        assert (await proxy.admin("health"))["upstreams"]["one"]["maintenance"] is None
    assert deed["result"] == "bad_request"
    assert len((state / "audit.jsonl").read_text().splitlines()) == 1
    assert deed["reason"].isprintable()


@pytest.mark.parametrize("limit", ["0", "201", "x"])
async def test_a_limit_is_a_number_within_bounds(state, one, limit):
    async with running(document({"one": upstream(one)}), folder=state) as proxy:
        assert (await proxy.get(f"/admin/audit?limit={limit}", KEY)).status == 400
