"""Pictures by their address: passed on, refused, or fetched, as the configuration says; with the official SDK."""

from __future__ import annotations

import base64
import contextlib
import gc
import socket
import ssl
from functools import partial

import openai
import pytest
import trustme

from proxy import bootstrap
from proxy.adapters.fetch import PictureFetcher
from proxy.core.request import Inbound
from proxy.engine.delivery import Delivery
from tests.contract.transport.rawserver import always, serving
from tests.e2e.harness import ADMIN, document, upstream
from tests.upstream import Script

PNG = b"\x89PNG\r\n\x1a\npicture"
DATA = "data:image/png;base64," + base64.b64encode(PNG).decode()


def asking(url):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.fixture
async def pictures(tmp_path, monkeypatch):
    """A host of pictures, which listens on loopback and counts as public."""
    authority, file = trustme.CA(key_type=trustme.KeyType.ECDSA), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.test", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    made = partial(
        PictureFetcher,
        admits=lambda address: address == "127.0.0.1",
        look_up=lambda _host, port: [(socket.AF_INET, ("127.0.0.1", port))],
        ca_file=str(file),
    )
    monkeypatch.setattr(bootstrap, "PictureFetcher", made)
    async with serving(always(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(PNG), PNG), context) as server:
        yield server


def url_of(server):
    return f"https://pictures.test:{server.port}/cat.png"


def seen_by(fake):
    return fake.seen[-1].request.json["messages"][0]["content"][0]["image_url"]["url"]


@pytest.mark.parametrize("provider", ["lmstudio", "ollama", "compatible"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_picture_is_fetched_where_that_is_allowed(serve, one, pictures, provider, stream):
    """Once, though the upstream must be asked twice."""
    one.script(Script(status=500))
    proxy = await serve(document({"one": upstream(one, provider=provider, fetch_images=True)}))
    async with proxy.sdk() as sdk:
        answer = await sdk.chat.completions.create(model="m", messages=asking(url_of(pictures)), stream=stream)
        if stream:
            assert [chunk async for chunk in answer]
    assert (seen_by(one), len(one.seen), pictures.accepted) == (DATA, 2, 1)


async def test_no_picture_is_kept_while_the_answer_lasts(serve, one, pictures):
    """It may take minutes, and a request's pictures are up to 32 MiB."""
    gate = one.gate()
    one.script(Script(pauses={2: gate}))
    proxy = await serve(document({"one": upstream(one, provider="lmstudio", fetch_images=True)}))
    async with proxy.sdk() as sdk:
        answer = await sdk.chat.completions.create(model="m", messages=asking(url_of(pictures)), stream=True)
        await anext(answer)
        await gate.reached()
        kept = gc.get_objects()
        deliveries = [one for one in kept if isinstance(one, Delivery) and one.journey.id != "self-test"]
        assert [(one.pictures, one.inbound.body) for one in deliveries] == [(None, b"")]
        assert not any(isinstance(one, Inbound) and b"base64" in one.body for one in kept)
        gate.open()
        assert [chunk async for chunk in answer]


async def test_a_translated_request_holds_it_too(serve, one, pictures):
    proxy = await serve(document({"one": upstream(one, provider="anthropic", fetch_images=True)}))
    assert (await proxy.chat(model="claude-sonnet-5", messages=asking(url_of(pictures)))).status == 200
    block = one.seen[-1].request.json["messages"][0]["content"][0]
    assert block["source"] == {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}


@pytest.mark.parametrize(("provider", "status"), [("compatible", 200), ("lmstudio", 400), ("ollama", 400)])
async def test_nothing_is_fetched_unless_it_is_said(serve, one, pictures, provider, status):
    proxy = await serve(document({"one": upstream(one, provider=provider)}))
    answer = await proxy.chat(messages=asking(url_of(pictures)))
    assert (answer.status, pictures.accepted) == (status, 0)
    assert [seen_by(one)] == [url_of(pictures)] if status == 200 else not one.seen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"])
async def test_what_is_ours_is_not_fetched(serve, one, host):
    """By the fetcher as it is in production."""
    proxy = await serve(document({"one": upstream(one, fetch_images=True)}))
    async with proxy.sdk() as sdk, contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(always(b"HTTP/1.1 200 OK\r\n\r\n")))
        with pytest.raises(openai.BadRequestError, match="not public") as caught:
            await sdk.chat.completions.create(model="m", messages=asking(f"https://{host}:{server.port}/"))
    assert (caught.value.param, server.accepted, one.seen) == ("messages[0].content[0].image_url.url", 0, [])


async def test_a_target_that_takes_the_address_is_asked_instead(serve, one, two, pictures):
    """What one target cannot be given is no reason to refuse the request."""
    proxy = await serve(document({"one": upstream(one, provider="lmstudio"), "two": upstream(two)}))
    answer = await proxy.chat(messages=asking(url_of(pictures)))
    assert (answer.status, answer.headers["x-failsoft-upstream"], seen_by(two)) == (200, "two", url_of(pictures))


@pytest.mark.parametrize(("allowed", "refused"), [(True, False), (False, True)])
async def test_explain_says_beforehand_what_will_be_refused(serve, one, pictures, allowed, refused):
    proxy = await serve(document({"one": upstream(one, provider="lmstudio", fetch_images=allowed)}))
    question = {"request": {"model": "m", "messages": asking(url_of(pictures))}}
    answer = await proxy.post("/admin/explain", question, {"x-api-key": ADMIN})
    assert (bool(answer.json["targets"][0]["refused"]), pictures.accepted) == (refused, 0)
