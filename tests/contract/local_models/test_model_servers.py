"""The same wishes to each kind of local server, over real sockets: list, load, unload, pull, and what may fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from proxy.adapters.local_models import LocalModels
from proxy.adapters.transport_http import HttpTransport
from proxy.config.load import loads
from proxy.core.decision import Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.local import NoRoom
from tests.upstream import FakeUpstream, Script
from tests.upstream.dialects.docker_models import DockerModels
from tests.upstream.dialects.lmstudio_native import LMStudio
from tests.upstream.dialects.ollama_native import Ollama
from tests.upstream.local import LocalServer, Model

ENVIRON = {"AUTH": "basic me:secret", "TOKEN": "token-1"}


@dataclass
class Place:
    """A server, the upstream that points to it, and what asks it."""

    server: LocalServer
    fake: FakeUpstream
    base: str
    provider: str
    models: LocalModels

    def upstream(self, auth: str = "${TOKEN}") -> Upstream:
        url = f"http://127.0.0.1:{self.fake.port}{self.base}"
        text = f'upstreams: {{u: {{provider: {self.provider}, url: "{url}", auth: "{auth}", ensure_loaded: {{}}}}}}'
        return loads(text.encode(), "f", ENVIRON).upstreams["u"]


KINDS = {
    "lmstudio": (LMStudio, "lmstudio", "/v1", "vendor/a"),
    "docker": (DockerModels, "docker_model_runner", "/engines/v1", "ai/a:latest"),
    "docker behind a prefix": (DockerModels, "docker_model_runner", "/exp/vDD4.40/engines/llama.cpp/v1", "ai/a:latest"),
    "ollama": (Ollama, "ollama", "/v1", "a:latest"),
}


@pytest.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    kind, provider, base, name = KINDS[request.param]
    server = kind({name: Model(name, 4, 32768), "other/b:latest": Model("other/b:latest", 6)}, ceiling=8)
    transport = HttpTransport()
    async with FakeUpstream() as fake:
        fake.simulate(server)
        yield Place(server, fake, base, provider, LocalModels(transport, poll=0.0))
    await transport.aclose()


@pytest.fixture
def name(place: Place) -> str:
    return next(iter(place.server.models))


async def test_lists_what_is_there_and_what_is_in_memory(place: Place, name: str) -> None:
    upstream = place.upstream()
    found = {model.name: model for model in await place.models.models(upstream, detail=True)}
    assert set(found) == {name, "other/b:latest"}
    assert found[name].instances == ()
    assert found[name].longest == 32768
    assert "tools" in found[name].capabilities or place.provider == "docker_model_runner"
    place.server.put(name)
    found = {model.name: model for model in await place.models.models(upstream)}
    assert [instance.id for instance in found[name].instances] == [name]


async def test_loads_and_unloads(place: Place, name: str) -> None:
    upstream = place.upstream()
    instance = await place.models.load(upstream, name, 8192, 60.0)
    assert instance.id == name
    sized = upstream.native is not None and upstream.native.sizes_context
    assert place.server.loads == [(name, 8192 if sized else None)]
    assert list(place.server.loaded) == [name]
    await place.models.unload(upstream, instance.id)
    assert (place.server.unloads, place.server.loaded) == ([name], {})


async def test_the_server_chooses_the_context_where_none_is_said(place: Place, name: str) -> None:
    await place.models.load(place.upstream(), name, None, 60.0)
    assert place.server.loads == [(name, None)]


async def test_an_unknown_model_is_absent(place: Place) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        await place.models.load(place.upstream(), "vendor/nothing", None, 60.0)
    assert caught.value.kind is ErrorKind.MODEL_ABSENT


async def test_a_full_memory_is_told_apart_from_a_fault(place: Place, name: str) -> None:
    place.server.put("other/b:latest")
    with pytest.raises(NoRoom):
        await place.models.load(place.upstream(), name, None, 60.0)
    place.server.broken = "llama runner process has terminated"
    with pytest.raises(UpstreamFailure) as caught:
        await place.models.load(place.upstream(), name, None, 60.0)
    assert not isinstance(caught.value, NoRoom)
    assert caught.value.kind is ErrorKind.FAULT


async def test_no_client_is_blamed_for_what_we_asked(place: Place, name: str) -> None:
    """A 400 to a prompt would be the caller's to mend, and end the search for a target; this one is not."""
    place.fake.simulation = None
    place.fake.script(Script(status=400, error={"message": "this model does not support generate"}), times=None)
    with pytest.raises(UpstreamFailure) as caught:
        await place.models.load(place.upstream(), name, None, 60.0)
    assert caught.value.kind is ErrorKind.FAULT


async def test_pulls_and_tells_how_far_it_is(place: Place) -> None:
    told = [progress async for progress in place.models.pull(place.upstream(), "vendor/new")]
    assert any(progress.total == 1000 for progress in told)
    assert any(progress.done == 500 for progress in told)
    assert told[-1].again is None
    assert "new" in " ".join(place.server.models)


async def test_a_pull_that_fails_says_so(place: Place) -> None:
    with pytest.raises(UpstreamFailure):
        async for _ in place.models.pull(place.upstream(), "absent/model"):
            pass


@pytest.mark.parametrize(("auth", "sent"), [("${AUTH}", "Basic bWU6c2VjcmV0"), ("${TOKEN}", "Bearer token-1")])
async def test_every_call_carries_the_credentials(place: Place, name: str, auth: str, sent: str) -> None:
    upstream = place.upstream(auth)
    await place.models.models(upstream, detail=True)
    instance = await place.models.load(upstream, name, 8192, 60.0)
    await place.models.unload(upstream, instance.id)
    async for _ in place.models.pull(upstream, name):
        pass
    assert {seen.headers.get("authorization") for seen in place.fake.everything} == {sent}


async def test_a_server_that_answers_everything_with_200_deceives_nobody() -> None:
    """LM Studio's answer to a path that it does not know has status 200."""
    transport = HttpTransport()
    async with FakeUpstream() as fake:
        fake.script(Script(body=b'{"error":"Unexpected endpoint or method. (GET /x)"}'), path="/models")
        place = Place(LMStudio({}), fake, "/v1", "lmstudio", LocalModels(transport, poll=0.0))
        with pytest.raises(UpstreamFailure) as caught:
            await place.models.models(place.upstream())
    assert caught.value.kind is ErrorKind.NOT_AN_ANSWER
    await transport.aclose()


async def test_an_older_server_does_not_have_the_api(place: Place) -> None:
    """Its 404 is about the path: no model was named that could be absent."""
    place.fake.simulation = None
    place.fake.script(Script(status=404, body=b"not found"), path="", times=None)
    with pytest.raises(UpstreamFailure) as caught:
        await place.models.models(place.upstream())
    assert caught.value.kind is ErrorKind.NOT_AN_ANSWER


async def test_a_server_that_is_not_there() -> None:
    transport = HttpTransport()
    async with FakeUpstream() as fake:
        place = Place(LMStudio({}), fake, "/v1", "lmstudio", LocalModels(transport, poll=0.0))
        upstream = place.upstream()
    with pytest.raises(UpstreamFailure) as caught:
        await place.models.models(upstream)
    assert caught.value.kind is ErrorKind.CONNECT
    await transport.aclose()
