"""The product as users start it: `failsoft serve FILE` as a process, its output, its logs, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket

import aiohttp
import pytest

from tests.e2e.harness import ADMIN, CANARY, CHAT, Child, Proxy, document, upstream, write
from tests.upstream import Script
from tests.upstream.script import PATIENCE


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_serves_says_so_and_ends_well(launch, one, session):
    disabled = upstream("http://127.0.0.1:9/v1", keys=["${ABSENT:-}"], provider="deepseek")
    child = await launch(document({"one": upstream(one), "off": disabled}), "--port", "0")
    proxy = Proxy(await child.url(), session)
    assert (await proxy.get("/readyz")).status == 200
    assert (await proxy.chat()).text == "Hello, world!"
    assert (await proxy.chat(stream=True)).text == "Hello, world!"
    assert "disabled" in await child.line_with("off")
    assert "enabled" in await child.line_with(" one")
    assert await child.stop() == 0


async def test_one_log_line_per_request_and_no_secret_in_any(launch, one, two, session):
    child = await launch(document({"one": upstream(one), "two": upstream(two)}))
    proxy = Proxy(await child.url(), session)
    one.script(Script(status=401), model="odd")
    one.script(Script(status=401, error={"message": f"Incorrect API key provided: {CANARY}"}))
    two.script(Script(model='x"\n\x1b[31m\u2028{"event":"request"}'), model="odd")
    answers = [
        await proxy.chat({"x-correlation-id": "order-7", "authorization": "Bearer client-secret"}),
        await proxy.chat(stream=True, model="odd", messages=[{"role": "user", "content": "prompt-secret"}]),
        await proxy.post("/v1/chat/completions", b"hello"),
        await proxy.post("/v1/completions", {"model": "m", "prompt": "prompt-secret"}),
    ]
    await proxy.get("/admin/status", {"x-api-key": ADMIN})
    assert await child.stop() == 0
    events = [json.loads(line) for line in child.output if line.startswith("{")]
    lines = [event for event in events if event["event"] == "request"]
    assert [line["id"] for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    first, streamed, bad, legacy = lines
    assert first["correlation_id"] == "order-7"
    assert (first["route"], first["upstream"], first["status"]) == ("all", "two", 200)
    assert [attempt["outcome"] for attempt in first["attempts"]] == ["auth", "success"]
    assert [attempt["status"] for attempt in first["attempts"]] == [401, 200]
    assert all(attempt["ms"] >= 0 for attempt in first["attempts"])
    assert (first["tokens"]["prompt"], first["tokens"]["completion"]) == (7, 4)
    assert (streamed["stream"], streamed["asked"]) == (True, "odd")
    assert "event" in streamed["model"]
    assert streamed["first_token_ms"] > 0
    assert (bad["status"], bad["ended"], bad["attempts"]) == (400, "bad_request", [])
    assert legacy["endpoint"] == "/v1/completions"
    printed = "\n".join(child.output)
    for secret in (CANARY, ADMIN, "client-secret", "prompt-secret"):
        assert secret not in printed
    assert not {"\x1b", "\u2028", "\r"} & set(printed)


async def test_text_logs_keep_to_one_line_too(launch, one, session):
    child = await launch(document({"one": upstream(one)}, logging={"format": "text"}))
    proxy = Proxy(await child.url(), session)
    one.script(Script(model="x\nforged line\x1b[2J"))
    answer = await proxy.chat()
    line = await child.line_with(answer.headers["x-request-id"])
    assert " route=all " in line
    assert await child.stop() == 0
    assert not [printed for printed in child.output if printed.startswith("forged")]
    assert "\x1b" not in "\n".join(child.output)


async def test_a_client_that_leaves_is_logged_as_499(launch, one, session):
    child = await launch(document({"one": upstream(one)}))
    proxy = Proxy(await child.url(), session)
    gate = one.gate()
    one.script(Script(pauses={2: gate}))
    async with session.post(f"{proxy.url}/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        await answer.content.readuntil(b"Hello")
        answer.close()
    await one.seen[0].closed()
    line = json.loads(await child.line_with('"event":"request"'))
    assert (line["status"], line["ended"]) == (499, "client_gone")


async def test_a_made_admin_key_is_shown_once_and_works(launch, one, session):
    config = document({"one": upstream(one)}, server={"admin_keys": []})
    child = await launch(config)
    key = (await child.line_with("shown once")).split()[-1]
    proxy = Proxy(await child.url(), session)
    assert (await proxy.get("/admin/status", {"x-api-key": key})).status == 200
    assert await child.stop() == 0
    again = await launch(config)
    proxy = Proxy(await again.url(), session)
    assert (await proxy.get("/admin/status", {"x-api-key": key})).status == 200
    assert await again.stop() == 0
    assert key not in "\n".join(again.output)


MISTAKES = {
    "unknown key": ({"servr": {}}, "server"),
    "wrong type": ({"server": {"port": "many"}}, "server.port"),
    "unknown upstream": ({"routes": [{"name": "a", "use": ["absent/*"]}]}, "absent"),
    "missing variable": ({"upstreams": {"x": {"provider": "openai", "keys": ["${ABSENT_KEY}"]}}}, "ABSENT_KEY"),
}


async def test_all_mistakes_of_a_file_are_told_at_once(tmp_path):
    merged = {key: value for config, _ in MISTAKES.values() for key, value in config.items()}
    file = write(merged, tmp_path)
    child = await Child.start("serve", str(file))
    assert await child.ended() == 1
    printed = "\n".join(child.output)
    for _, told in MISTAKES.values():
        assert told in printed
    assert f"{file}:" in printed
    assert "Traceback" not in printed


async def test_listening_elsewhere_without_keys_is_refused(tmp_path, one):
    child = await Child.start("serve", str(write(document({"one": upstream(one)}), tmp_path)), "--host", "0.0.0.0")
    assert await child.ended() == 1
    assert "key" in "\n".join(child.output)


async def test_a_taken_port_is_an_error_and_no_trace(tmp_path, one):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = await Child.start("serve", str(write(document({"one": upstream(one)}), tmp_path)), "--port", str(port))
        assert await child.ended() != 0
    assert "Traceback" not in "\n".join(child.output)


async def test_version():
    child = await Child.start("version")
    assert await child.ended() == 0
    assert child.output[0].startswith("failsoft ")


async def test_a_worker_that_dies_while_the_file_is_bad_is_replaced(launch, one, tmp_path):
    """By one that begins with the file as it was when it was last good."""
    child = await launch(document({"one": upstream(one)}), "--workers", "2", "--port", "0")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        proxy = Proxy(await child.url(), session)
        before = await workers_of(proxy)
        changed = document({"one": upstream(one)}, routes=[{"name": "second", "use": ["one/m"]}])
        write(changed, tmp_path)
        child.process.send_signal(signal.SIGHUP)
        while sum("is in force" in line for line in child.output) < 4:  # two by the signal, two by their own looking
            await proxy.chat()
        write({**changed, "rotues": []}, tmp_path)
        await child.line_with("was not reloaded")
        dead = min(before)
        os.kill(dead, signal.SIGKILL)
        assert "takes its place" in await child.line_with(f"worker {dead} has ended")
        after = await workers_of(proxy, but=dead)
        assert len(after - before) == 1
        answers = [await proxy.chat() for _ in range(20)]
        assert {answer.headers["x-failsoft-route"] for answer in answers} == {"second"}
    assert not [line for line in child.output if "Traceback" in line]


async def test_a_state_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    file = write({"server": {"port": 0}, "upstreams": {}}, tmp_path)
    child = await Child.start("serve", str(file), environment={"FAILSOFT_STATE": str(tmp_path / "file" / "state")})
    assert await child.ended() == 1
    (line,) = child.output
    assert str(tmp_path / "file" / "state") in line
    assert "FAILSOFT_STATE" in line


async def workers_of(proxy: Proxy, but: int | None = None) -> set[int]:
    """Two workers, without `but`; asks on new connections until both have answered."""
    seen: set[int] = set()
    async with asyncio.timeout(PATIENCE):
        while len(seen) < 2:
            try:
                seen |= {(await proxy.admin("status"))["worker"]} - {but}
            except aiohttp.ClientConnectionError:  # they are still starting
                await asyncio.sleep(0.05)
    return seen


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--port", "99999"), "expected a port from 0 to 65535, found '99999'"),
        (("--workers", "0"), "expected a whole number from 1 on, found '0'"),
    ],
)
async def test_flags_that_cannot_be(flags, told):
    child = await Child.start("serve", *flags)
    assert await child.ended() == 2
    assert told in child.output[-1]


async def test_two_workers_share_the_port(launch, one, session):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = await launch(document({"one": upstream(one)}), "--workers", "2", "--port", str(port))
    proxy = Proxy(await child.url(), session)
    while True:
        try:
            answer = await proxy.chat()
            break
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)
    assert answer.text == "Hello, world!"
