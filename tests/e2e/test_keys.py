"""Callers' keys: those of the file, those made by `failsoft key` beside a running server, and who needs none."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.adapters.keys_sqlite import IssuedKeys
from proxy.core.digest import digest
from tests.e2e.conftest import running
from tests.e2e.harness import ADMIN, ENVIRONMENT, Answer, Child, Proxy, document, upstream, write
from tests.upstream import PATIENCE

TENANTS = {"acme": {"plan": "small"}, "public": {"anonymous": True}}
PLANS = {"small": {}, "large": {}}
STRANGER = {"authorization": "Bearer fs-stranger"}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def in_file(key: str) -> list[str]:
    return [f"sha256:{digest(key)}"]


def told(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    """Everything of an answer but what is new in each."""
    new = {"date", "x-request-id", "x-correlation-id", "x-process-time", "server-timing"}
    return answer.status, answer.body, {name: value for name, value in answer.headers.items() if name not in new}


@dataclass
class Line:
    """What the command line printed, and how it ended."""

    code: int
    output: str
    errors: str


class CommandLine:
    """`failsoft key …` as people run it, as a process of its own."""

    def __init__(self, state: Path, file: Path) -> None:
        self._environment = {"FAILSOFT_STATE": str(state), **ENVIRONMENT}
        self._file = file

    async def key(self, *arguments: str) -> Line:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy", "key", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=self._environment,
        )  # fmt: skip
        output, errors = await process.communicate()
        assert process.returncode is not None
        return Line(process.returncode, output.decode(), errors.decode())

    async def create(self, *arguments: str) -> tuple[str, str]:
        """The key and its id."""
        line = await self.key("create", "--file", str(self._file), *arguments)
        assert line.code == 0, line.errors
        return self.made(line)

    def made(self, line: Line) -> tuple[str, str]:
        shown, told = line.output.splitlines()
        return shown, told.split()[0]


@pytest.fixture
def config(one) -> dict[str, Any]:
    return document({"one": upstream(one)}, tenants=TENANTS, plans=PLANS)


@pytest.fixture
def command_line(tmp_path, config) -> CommandLine:
    return CommandLine(tmp_path / "state", write(config, tmp_path))


@pytest.fixture
async def serve_with_state(tmp_path) -> AsyncIterator[Callable[..., Awaitable[Proxy]]]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(config: Mapping[str, Any]) -> Proxy:
            return await stack.enter_async_context(running(config, folder=tmp_path / "state"))

        yield start


async def until(proxy: Proxy, headers: Mapping[str, str], status: int) -> Answer:
    """Ask until the answer is `status`: a change of the keys is seen within a second, not at once."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await proxy.chat(headers)
            if answer.status == status:
                return answer


async def test_the_life_of_a_key(serve_with_state, command_line, config):
    """Made, used, rotated and revoked, with a server beside it that is never told."""
    proxy = await serve_with_state(config)
    assert (await proxy.chat(STRANGER)).status == 200, "as long as no key exists, any is taken"

    key, number = await command_line.create("--tenant", "acme", "--label", "the laptop", "--expires", "90d")
    await until(proxy, STRANGER, 401)
    assert (await proxy.chat(bearer(key))).status == 200
    assert (await proxy.chat({"x-api-key": key})).status == 200
    assert (await proxy.chat()).status == 200, "the anonymous tenant still takes callers without any key"

    listed = await command_line.key("list")
    assert (number in listed.output, "acme" in listed.output, "the laptop" in listed.output) == (True, True, True)
    assert "good until" in listed.output
    assert key not in listed.output

    rotated = await command_line.key("rotate", number, "--overlap", "1h")
    successor, _ = command_line.made(rotated)
    await until(proxy, bearer(successor), 200)
    assert (await proxy.chat(bearer(key))).status == 200, "the old one is good for the overlap"

    assert (await command_line.key("revoke", number)).code == 0
    await until(proxy, bearer(key), 401)
    assert (await proxy.chat(bearer(successor))).status == 200
    assert "revoked" in (await command_line.key("list")).output


async def test_unknown_revoked_and_expired_keys_get_one_answer(serve_with_state, config, tmp_path, one):
    """Byte for byte, on every path that asks for a key; neither does the answer of a disabled tenant differ."""
    keys = IssuedKeys(tmp_path / "state" / "keys.db")
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired, _ = keys.create("acme", None, "", past)
    revoked, kept = keys.create("acme", None, "", None)
    keys.revoke(kept.id)
    of_no_tenant, _ = keys.create("dropped", None, "", None)
    of_no_plan, _ = keys.create("someone", "dropped", "", None)
    config["tenants"]["closed"] = {"enabled": False, "keys": in_file("closed-key")}
    proxy = await serve_with_state(config)
    for ask in (
        lambda headers: proxy.chat(headers),
        lambda headers: proxy.chat(headers, stream=True),
        lambda headers: proxy.post("/v1/completions", {"model": "m", "prompt": "x"}, headers),
        lambda headers: proxy.get("/v1/models", headers),
    ):
        status, body, headers = told(await ask(STRANGER))
        assert status == 401
        for key in (expired, revoked, of_no_tenant, of_no_plan, "closed-key", "x", "fs-" + "é" * 9):
            assert told(await ask(bearer(key))) == (status, body, headers), key
    assert not one.seen


async def test_a_key_that_expires_while_it_is_used(serve_with_state, config, tmp_path):
    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    key, _ = IssuedKeys(tmp_path / "state" / "keys.db").create("acme", None, "", soon)
    proxy = await serve_with_state(config)
    await until(proxy, bearer(key), 401)
    assert datetime.now(UTC) >= soon


async def test_the_server_says_nothing_of_keys(launch, config, tmp_path, command_line):
    child = await launch(config)
    url = await child.url()
    key, _ = await command_line.create("--tenant", "acme")
    assert url
    await child.stop()
    assert key not in "\n".join(child.output)


async def test_a_wrong_command_makes_no_key(command_line, tmp_path):
    file, absent = str(tmp_path / "routes.yaml"), str(tmp_path / "absent.yaml")
    for arguments, told in (
        (("create", "--file", file, "--tenant", "acne"), "did you mean `acme`"),
        (("create", "--file", file, "--tenant", "new", "--plan", "smal"), "did you mean `small`"),
        (("create", "--file", absent, "--tenant", "acme"), "cannot be read"),
        (("revoke", "key_absent"), "no good key"),
        (("rotate", "key_absent"), "no good key"),
    ):
        line = await command_line.key(*arguments)
        assert (line.code, told in line.errors, line.output) == (1, True, ""), line
    assert (await command_line.key("create", "--tenant", "acme", "--expires", "soon")).code == 2
    assert not (tmp_path / "state").exists()


async def test_a_damaged_file_is_said_in_one_line(command_line, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "keys.db").write_bytes(b"nothing of the kind" * 100)
    for arguments in (("list",), ("revoke", "key_1"), ("rotate", "key_1")):
        line = await command_line.key(*arguments)
        assert line.code == 1
        assert "keys.db cannot be used" in line.errors
        assert len(line.errors.splitlines()) == 1


async def test_a_key_may_name_a_tenant_of_its_own(serve_with_state, command_line, config):
    """One that the file does not have; then it has a plan."""
    config["plans"]["small"] = {"models": ["cheap"]}
    config["models"] = {"cheap": ["one/m"], "dear": ["one/n"]}
    key, _ = await command_line.create("--tenant", "newcomer", "--plan", "small")
    proxy = await serve_with_state(config)
    assert (await proxy.chat(bearer(key), model="cheap")).status == 200
    assert (await proxy.chat(bearer(key), model="dear")).status == 404


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_keys_of_the_file(serve, one, header):
    tenants = {"acme": {"keys": in_file("client-one")}, "other": {"keys": in_file("client-two")}}
    proxy = await serve(document({"one": upstream(one)}, tenants=tenants))
    for key, status in (("client-one", 200), ("client-two", 200), ("client-three", 401), ("", 401)):
        sent = f"Bearer {key}" if header == "authorization" else key
        assert (await proxy.chat({header: sent})).status == status, key
    assert (await proxy.chat()).status == 401


async def test_the_first_key_shuts_out_unknown_ones_but_not_the_anonymous(serve, one):
    """SDKs insist on sending some key; once keys mean something, a wrong one is an error."""
    open_to_all = await serve(document({"one": upstream(one)}))
    assert (await open_to_all.chat(STRANGER)).status == 200
    assert (await open_to_all.chat()).status == 200
    tenants = {"acme": {"keys": in_file("client-one")}, "public": {"anonymous": True}}
    keyed = await serve(document({"one": upstream(one)}, tenants=tenants))
    assert (await keyed.chat(STRANGER)).status == 401
    assert (await keyed.chat()).status == 200


async def test_without_an_anonymous_tenant_nobody_comes_in_without_a_key(serve, one):
    proxy = await serve(document({"one": upstream(one)}, tenants={"acme": {}}))
    assert told(await proxy.chat()) == told(await proxy.chat(STRANGER))
    assert (await proxy.chat()).status == 401
    assert (await proxy.chat({"x-api-key": ADMIN})).status == 200


@pytest.mark.parametrize("where", ["in the file", "on the command line"])
async def test_callers_without_a_key_are_not_served_beyond_this_machine(one, tmp_path, where):
    server = {"host": "0.0.0.0"} if where == "in the file" else {}
    flags = [] if server else ["--host", "0.0.0.0"]
    file = write(document({"one": upstream(one)}, server=server), tmp_path)
    child = await Child.start("serve", str(file), *flags, environment={"FAILSOFT_STATE": str(tmp_path)})
    assert await child.ended() == 1
    assert "allow_anonymous: true" in "\n".join(child.output)
