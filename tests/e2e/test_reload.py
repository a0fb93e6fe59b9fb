"""A new configuration for a running proxy: all of it or nothing, and nobody who is being served notices."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy import bootstrap
from tests.e2e.conftest import running
from tests.e2e.harness import ADMIN, ENVIRONMENT, Answer, Proxy, document, upstream
from tests.upstream import PATIENCE, FakeUpstream, Gate, Script

AS_ADMIN = {"x-api-key": ADMIN}
ASKED = {"model": "auto"}


def version(number: int, fake: FakeUpstream | str, **sections: Any) -> dict[str, Any]:
    """A configuration whose route and target carry its number, and whose own tests say so."""
    config = document({"one": upstream(fake)}, **sections)
    config["routes"] = [{"name": f"route-{number}", "use": [f"one/model-{number}"]}]
    return {"tests": [{"given": {}, "expect": {"route": f"route-{number}"}}]} | config


def save(file: Path, config: Mapping[str, Any] | bytes) -> None:
    """In one step, as careful editors and mounts do."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(config if isinstance(config, bytes) else json.dumps(config, indent=1).encode())
    draft.replace(file)


def number_of(answer: Answer) -> int:
    """The version that served it; the route and the target must be of the same one."""
    numbers = {int(answer.headers[f"x-failsoft-{name}"].rpartition("-")[2]) for name in ("route", "model")}
    assert len(numbers) == 1, answer.headers
    return numbers.pop()


@dataclass
class Reloadable:
    proxy: Proxy
    file: Path

    async def reload(self, config: Mapping[str, Any] | bytes) -> Answer:
        save(self.file, config)
        return await self.proxy.post("/admin/reload", b"", AS_ADMIN)

    async def config(self) -> Any:
        return (await self.proxy.admin("status"))["config"]


@pytest.fixture
async def start(tmp_path, monkeypatch):
    """Start the product in this process on a file."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    async with contextlib.AsyncExitStack() as stack:

        async def begin(config: Mapping[str, Any]) -> Reloadable:
            file = tmp_path / "routes.yaml"
            save(file, config)
            return Reloadable(await stack.enter_async_context(running(config, bootstrap.source(file))), file)

        yield begin


@pytest.fixture
async def served(start, one) -> Reloadable:
    return await start(version(0, one))


def no_yaml(config: dict[str, Any]) -> bytes:
    return json.dumps(config).encode()[:-1]


def no_such_upstream(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"routes": [*config["routes"], {"name": "lost", "use": ["nowhere/m"]}]}


def misspelt(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"rotues": []}


def untrue(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"tests": [{"name": "promise", "given": {}, "expect": {"first": "one/another"}}]}


BROKEN: list[Callable[[dict[str, Any]], Any]] = [no_yaml, no_such_upstream, misspelt, untrue]


class Load:
    """Clients that ask without a pause, streamed and not; each answer is held against what was in force meanwhile."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.in_force = 0
        """The newest version whose reload was acknowledged."""
        self.next = 0
        """The version that may come into force at any moment."""
        self.served: list[int] = []
        self.done = False

    async def client(self, stream: bool) -> None:
        while not self.done:
            oldest = self.in_force
            answer = await self.proxy.chat(stream=stream, **ASKED)
            assert answer.status == 200, answer.body
            assert answer.text == "Hello, world!"
            number = number_of(answer)
            assert number in (*range(oldest, self.in_force + 1), self.next)
            self.served.append(number)


@pytest.mark.fault(68)
async def test_200_reloads_under_load(served, one):
    """No request is dropped, mixed from two configurations, or served by a file that failed validation."""
    load = Load(served.proxy)
    good = {0}
    async with asyncio.TaskGroup() as tasks:
        for stream in (False, True) * 3:
            tasks.create_task(load.client(stream))
        kinds = itertools.cycle([None, *BROKEN])
        for number, breaking in zip(range(1, 201), kinds, strict=False):
            config = version(number, one)
            if breaking is None:
                load.next = number
                answer = await served.reload(config)
                assert answer.status == 200, answer.body
                load.in_force = number
                good.add(number)
                assert number_of(await served.proxy.chat(**ASKED)) == number
                load.served.append(number)
            else:
                answer = await served.reload(breaking(config))
                assert answer.status == 409, answer.body
        load.done = True
    assert set(load.served) <= good
    assert len(load.served) > 2 * len(good), "there was a load"
    assert {seen.request.json["model"] for seen in one.seen} == {f"model-{number}" for number in load.served}
    config = await served.config()
    assert config["reloads"]["succeeded"] >= 40
    assert config["reloads"]["failed"] >= 160
    statistics = await served.proxy.admin("statistics")
    assert statistics["upstreams"]["one"]["requests"] == len(load.served)
    assert statistics["errors"] == 0


@pytest.mark.fault(68)
async def test_a_stream_ends_as_it_began(served, one, two):
    """Also when its route and upstream are no longer in the file."""
    gate = Gate()
    one.script(Script(pauses={2: gate}))
    streaming = asyncio.create_task(served.proxy.chat(stream=True, **ASKED))
    await gate.reached()
    config = document({"two": upstream(two)}, routes=[{"name": "route-1", "use": ["two/model-1"]}])
    assert (await served.reload(config)).status == 200
    assert number_of(await served.proxy.chat(**ASKED)) == 1
    gate.open()
    answer = await streaming
    assert (number_of(answer), answer.text) == (0, "Hello, world!")
    assert len(one.seen) == len(two.seen) == 1


@pytest.mark.parametrize("breaking", BROKEN)
@pytest.mark.fault(68)
async def test_a_bad_file_changes_nothing_and_says_why(served, one, breaking, caplog):
    caplog.set_level("ERROR", "failsoft")
    before = await served.config()
    answer = await served.reload(breaking(version(1, one)))
    assert answer.status == 409
    assert answer.json["ok"] is False
    assert answer.json["fingerprint"] == before["fingerprint"]
    assert answer.json["problems"]
    for problem in answer.json["problems"]:
        file, line, _ = problem.split(":", 2)
        assert file == str(served.file)
        assert int(line) >= 1
    assert number_of(await served.proxy.chat(**ASKED)) == 0
    config = await served.config()
    assert config["last_reload"]["ok"] is False
    assert config["last_reload"]["problems"] == answer.json["problems"]
    assert config["reloads"]["failed"] >= 1
    assert config["reloads"]["succeeded"] == 0
    assert [record for record in caplog.records if "was not reloaded" in record.message]


async def test_a_failing_test_is_named_with_its_line(served, one):
    config = untrue(version(1, one))
    answer = await served.reload(config)
    (problem,) = answer.json["problems"]
    line = json.dumps(config, indent=1).splitlines().index(' "tests": [') + 2
    assert problem.startswith(f"{served.file}:{line}: ")
    assert "expected one/another, found one/model-1" in problem


async def test_a_good_file_after_a_bad_one_is_taken(served, one):
    await served.reload(b"]")
    answer = await served.reload(version(2, one))
    assert answer.json["ok"] is True
    assert (await served.config())["last_reload"] == answer.json
    assert number_of(await served.proxy.chat(**ASKED)) == 2


async def test_a_file_that_is_gone_is_a_bad_file(served):
    served.file.unlink()
    answer = await served.proxy.post("/admin/reload", b"", AS_ADMIN)
    assert answer.status == 409
    assert "cannot be read" in answer.json["problems"][0]
    assert number_of(await served.proxy.chat(**ASKED)) == 0


async def test_what_needs_a_restart_is_named_and_waits_for_it(served, one):
    """The rest of the same file is in force; the names stay until the restart, whatever else is reloaded."""
    server = {"max_body": "1KiB", "trusted_hosts": ["elsewhere"], "heartbeat": {"first": "1ms"}, "port": 1}
    named = ["server.port", "server.max_body", "server.heartbeat", "server.trusted_hosts", "logging.format"]
    for number in (1, 2):
        answer = await served.reload(version(number, one, server=server, logging={"format": "text"}))
        assert answer.json["needs_restart"] == named
        long = [{"role": "user", "content": "x" * 2048}]
        answer = await served.proxy.chat(messages=long, **ASKED)
        assert answer.status == 200
        assert number_of(answer) == number
        trial = await served.proxy.post("/admin/test", {"prompt": "x" * 2048}, AS_ADMIN)
        assert trial.status == 200
    one.script(Script(before_first=0.1))
    assert b"keep-alive" not in (await served.proxy.chat(stream=True, **ASKED)).body
    assert (await served.reload(version(3, one))).json["needs_restart"] == []


async def test_books_are_kept_by_name(served, one, two):
    await served.proxy.chat(stream=True, **ASKED)
    both = version(1, one)
    both["upstreams"]["two"] = upstream(two)
    await served.reload(both)
    await served.proxy.chat(stream=True, **ASKED)
    row = (await served.proxy.admin("statistics"))["upstreams"]
    assert (row["one"]["requests"], row["two"]["requests"]) == (2, 0)
    assert row["one"]["first_token_ms"]["p50"] > 0


async def test_a_new_upstream_is_asked_for_its_models_at_once(served, one, two):
    config = version(1, one)
    config["upstreams"]["two"] = upstream(two)
    await served.reload(config)
    names = [model["id"] for model in (await served.proxy.get("/v1/models")).json["data"]]
    assert "two/fake-small" in names


async def test_reloading_needs_the_admin_key(served, one):
    save(served.file, version(1, one))
    for headers in ({}, {"x-api-key": "wrong"}):
        assert (await served.proxy.post("/admin/reload", b"", headers)).status == 401
    assert (await served.proxy.get("/admin/reload", AS_ADMIN)).status == 405


async def test_a_process_notices_its_file_and_obeys_a_hangup(launch, one, tmp_path):
    file = tmp_path / "routes.yaml"
    child = await launch(version(0, one))
    async with aiohttp.ClientSession() as session:
        proxy = Proxy(await child.url(), session)

        async def in_force() -> str:
            return (await proxy.admin("status"))["config"]["fingerprint"]

        started = await in_force()
        save(file, version(1, one))
        line = await child.line_with("is in force")
        assert number_of(await proxy.chat(**ASKED)) == 1
        first = await in_force()
        assert first != started
        assert first in line

        save(file, untrue(version(2, one)))
        await child.line_with("was not reloaded")
        assert number_of(await proxy.chat(**ASKED)) == 1
        assert await in_force() == first

        child.output.clear()
        child.process.send_signal(signal.SIGHUP)
        refused = await child.line_with("was not reloaded")
        assert "expected one/another, found one/model-2" in refused
        save(file, version(3, one))
        child.process.send_signal(signal.SIGHUP)
        await child.line_with("is in force")
        assert number_of(await proxy.chat(**ASKED)) == 3


async def test_a_start_warns_of_failing_tests_and_serves(launch, one):
    """A proxy that answers by a doubtful route is better than none."""
    child = await launch(untrue(version(0, one)))
    line = await child.line_with("a test of the configuration fails")
    assert json.loads(line)["level"] == "error"
    assert "promise" in line
    async with aiohttp.ClientSession() as session:
        proxy = Proxy(await child.url(), session)
        assert number_of(await proxy.chat(**ASKED)) == 0
        warnings = (await proxy.admin("status"))["config"]["warnings"]
        assert [warning for warning in warnings if "expected one/another" in warning]


async def reloads_of_workers(proxy: Proxy, how_many: int) -> dict[int, int]:
    """How often each worker has reloaded; asks on new connections until all of them have answered."""
    seen: dict[int, int] = {}
    async with asyncio.timeout(PATIENCE):
        while len(seen) < how_many:
            try:
                status = await proxy.admin("status")
            except aiohttp.ClientConnectionError:  # they are still starting
                await asyncio.sleep(0.05)
            else:
                seen[status["worker"]] = status["config"]["reloads"]["succeeded"]
    return seen


async def test_a_hangup_reaches_every_worker_and_ends_none(launch, one):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = await launch(version(0, one), "--workers", "2", "--port", str(port))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        proxy = Proxy(await child.url(), session)
        before = await reloads_of_workers(proxy, 2)
        assert set(before.values()) == {0}
        child.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(PATIENCE):
            while set((after := await reloads_of_workers(proxy, 2)).values()) != {1}:
                pass
        assert set(after) == set(before)
