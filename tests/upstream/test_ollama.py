"""Ollama's own client agrees with the fake, so that the fake cannot drift from the real format."""

from __future__ import annotations

from collections.abc import AsyncIterator

import ollama
import pytest

from tests.upstream import FakeUpstream
from tests.upstream.dialects.ollama_native import Ollama
from tests.upstream.local import Model


@pytest.fixture
def server(one: FakeUpstream) -> Ollama:
    simulated = Ollama({"a:latest": Model("a:latest", 4, 32768)})
    one.simulate(simulated)
    return simulated


@pytest.fixture
async def one():
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def client(one: FakeUpstream, server: Ollama) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=f"http://127.0.0.1:{one.port}", trust_env=False) as client:
        yield client


async def test_lists_and_shows(client: ollama.AsyncClient, server: Ollama) -> None:
    (model,) = (await client.list()).models
    assert (model.model, model.size) == ("a:latest", 4_000_000_000)
    shown = await client.show("a")
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 32768


async def test_an_empty_prompt_loads_and_keep_alive_0_unloads(client: ollama.AsyncClient, server: Ollama) -> None:
    assert (await client.generate("a")).done_reason == "load"
    (running,) = (await client.ps()).models
    assert (running.model, running.context_length) == ("a:latest", 4096)
    assert (await client.generate("a", keep_alive=0)).done_reason == "unload"
    assert list((await client.ps()).models) == []


async def test_pulls_with_progress(client: ollama.AsyncClient) -> None:
    told = [progress async for progress in await client.pull("b", stream=True)]
    assert told[-1].status == "success"
    assert (told[1].completed, told[1].total) == (500, 1000)


async def test_failures(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        await client.generate("absent")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not exist"):
        async for _ in await client.pull("absent/model", stream=True):
            pass
