"""Fetching a stranger's picture, over real sockets and TLS with an authority of the test's own.

The servers listen on loopback, so a test says which addresses count as public; the table of those that do is in
`tests/unit/core/test_public.py`.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme

from proxy.adapters.fetch import MOST_BYTES, PictureFetcher
from proxy.core.ports import Unfetched
from tests.contract.transport.rawserver import Peer, RawServer, Script, always, serving

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
NAME = "pictures.test"
CLOSE = b"connection: close\r\n"


@dataclass(frozen=True)
class Trust:
    authority: trustme.CA
    file: str

    def context(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names, key_type=trustme.KeyType.ECDSA).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    path = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return Trust(authority, str(path))


@dataclass
class Names:
    """A name server: each question takes the next answer, the last one for ever."""

    answers: Sequence[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> list[Any]:
        self.asked.append(host)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, (one, port)) for one in answer]


@dataclass
class Site:
    """A server of pictures, and what fetches from it; `public` are the addresses that count as such."""

    server: RawServer
    names: Names
    fetcher: PictureFetcher

    async def fetch(self, path: str = "/cat.png", host: str = NAME) -> str:
        return await self.fetcher.fetch(f"https://{host}:{self.server.port}{path}")


@pytest.fixture
def site(trust: Trust) -> Callable[..., Any]:
    @asynccontextmanager
    async def make(
        script: Script, *answers: Sequence[str], public: Sequence[str] = ("127.0.0.1",), seconds: float = 30.0
    ) -> AsyncIterator[Site]:
        names = Names(answers or [["127.0.0.1"]])
        async with serving(script, trust.context(NAME)) as server:
            fetcher = PictureFetcher(
                admits=lambda address: address in public, look_up=names, ca_file=trust.file, seconds=seconds
            )
            yield Site(server, names, fetcher)

    return make


def ok(body: bytes, *head: bytes) -> Script:
    return always(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n" % (len(body), b"".join(head)), body)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF87a..", "image/gif"),
        (b"GIF89a..", "image/gif"),
        (b"RIFF\x0a\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
async def test_a_picture_is_what_its_bytes_say(site: Any, body: bytes, kind: str) -> None:
    async with site(ok(body, b"content-type: text/html\r\n")) as place:
        assert await place.fetch() == f"data:{kind};base64,{base64.b64encode(body).decode()}"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"<svg xmlns=", b"%PDF-1.4", b"GIF88a", b"RIFF\0\0\0\0WAVE", b" " + PNG]
)
async def test_what_is_no_picture(site: Any, body: bytes) -> None:
    async with site(ok(body, b"content-type: image/png\r\n")) as place:
        with pytest.raises(Unfetched, match="no PNG"):
            await place.fetch()


async def test_nothing_of_ours_goes_along(site: Any) -> None:
    heads: list[Any] = []

    async def script(peer: Peer) -> None:
        heads.append(
            await peer.answer(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: %d\r\n\r\n" % len(PNG), PNG)
        )

    async with site(script) as place:
        for _ in range(2):
            await place.fetch("/a b/ü?q=1#part".replace(" ", "%20"))
    for asked in heads:
        assert asked.line == b"GET /a%20b/%C3%BC?q=1 HTTP/1.1"
        assert asked.headers.keys() == {b"host", b"accept", b"accept-encoding", b"user-agent"}


async def test_a_name_is_asked_for_once(site: Any) -> None:
    """DNS rebinding: what the name would answer a moment later is never heard."""
    async with site(ok(PNG), ["127.0.0.1"], ["127.0.0.2"], public=["127.0.0.1"]) as place:
        assert (await place.fetch()).startswith("data:image/png")
        assert place.names.asked == [NAME]
        with pytest.raises(Unfetched, match="not public"):
            await place.fetch()
        assert place.server.accepted == 1


async def test_a_slow_name_server_keeps_nobody_else_waiting() -> None:
    """The loop's own threads look up the names of upstreams; here it has one."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    released = threading.Event()
    looking = asyncio.Event()
    order: list[str] = []

    def slow(_host: str, _port: int) -> list[Any]:
        loop.call_soon_threadsafe(looking.set)
        released.wait(5.0)
        order.append("the stranger's")
        return []

    fetching = asyncio.create_task(PictureFetcher(look_up=slow).fetch("https://slow.test/cat.png"))
    await looking.wait()
    await asyncio.to_thread(order.append, "ours")
    released.set()
    with pytest.raises(Unfetched):
        await fetching
    assert order == ["ours", "the stranger's"]


@pytest.mark.parametrize(
    "answer", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "::1"], ["::1"]]
)
async def test_all_addresses_of_a_name_must_be_public(site: Any, answer: list[str]) -> None:
    async with site(ok(PNG), answer, public=["127.0.0.1"]) as place:
        with pytest.raises(Unfetched, match="not public"):
            await place.fetch()
        assert place.server.accepted == 0


@pytest.mark.parametrize("location", ["/other.png", "https://127.0.0.1/x.png", "http://pictures.test/cat.png"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(site: Any, status: int, location: str) -> None:
    head = f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    async with site(always(head.encode())) as place:
        with pytest.raises(Unfetched, match=f"answered {status}"):
            await place.fetch()
        assert place.server.accepted == 1


@pytest.mark.parametrize("status", [204, 206, 404, 500])
async def test_only_200_is_a_picture(site: Any, status: int) -> None:
    body = b"" if status == 204 else PNG
    length = b"" if status == 204 else b"content-length: %d\r\n" % len(body)
    async with site(always(b"HTTP/1.1 %d X\r\n%s\r\n" % (status, length), body)) as place:
        with pytest.raises(Unfetched, match=f"answered {status}"):
            await place.fetch()


async def test_a_picture_without_end_is_given_up(site: Any) -> None:
    """At the limit, and the connection with it: the sender is not heard out."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.answer(b"HTTP/1.1 200 OK\r\n" + CLOSE + b"\r\n" + PNG)
        piece = bytes(1 << 16)
        try:
            while sent < 4 * MOST_BYTES:
                await peer.send(piece)
                sent += len(piece)
        except OSError:
            pass

    async with site(script) as place:
        with pytest.raises(Unfetched, match="larger than 10 MiB"):
            await place.fetch()
    assert sent < 4 * MOST_BYTES


async def test_the_largest_picture_arrives(site: Any) -> None:
    body = PNG + bytes(MOST_BYTES - len(PNG))
    async with site(ok(body)) as place:
        assert len(await place.fetch()) > MOST_BYTES


async def test_a_host_that_never_answers_is_given_up(site: Any) -> None:
    async with site(Peer.gone, seconds=0.2) as place:
        with pytest.raises(Unfetched, match=r"within 0\.2 s"):
            await place.fetch()


@pytest.mark.parametrize("broken", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n\x89PNG"])
async def test_broken_answers(site: Any, broken: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(broken)
        await peer.reset()

    async with site(script) as place:
        with pytest.raises(Unfetched, match="cannot be reached"):
            await place.fetch()


async def test_the_certificate_must_be_the_host_s(site: Any) -> None:
    async with site(ok(PNG)) as place:
        with pytest.raises(Unfetched, match="cannot be reached"):
            await place.fetch(host="other.test")


async def test_an_unknown_authority_is_not_trusted(trust: Trust) -> None:
    async with serving(ok(PNG), trust.context(NAME)) as server:
        fetcher = PictureFetcher(admits=lambda _: True, look_up=Names([["127.0.0.1"]]))
        with pytest.raises(Unfetched, match="cannot be reached"):
            await fetcher.fetch(f"https://{NAME}:{server.port}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.test/a.png", "ftp://pictures.test/a", "file:///etc/passwd", "gopher://x/", "//pictures.test/a",
        "pictures.test/a.png", "", "https://", "https:///a", "https://user@pictures.test/", "https://u:p@pictures.test/",
        "https://pictures.test\\@127.0.0.1/", "https://pictures.test/a\r\nhost: x", "https://pictures.test/a b",
        "https://pictures.test:99999/", "https://pictures.test:port/", "https://[::1/", "https://pictures test/",
        "https://pictures.test/" + "a" * 9000, "https://pictures_test%00/", "https://" + "a" * 300 + "/",
        "https://exa<mple/", "\thttps://pictures.test/", "https://@/", "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_what_is_no_plain_https_url_is_not_even_looked_up(url: str) -> None:
    names = Names([["127.0.0.1"]])
    fetcher = PictureFetcher(admits=lambda _: True, look_up=names)
    with pytest.raises(Unfetched, match="URL"):
        await fetcher.fetch(url)
    assert names.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "LOCALHOST.", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0", "169.254.169.254", "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]", "10.0.0.1", "192.168.1.1", "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "[fe80::1]",
    ],
)  # fmt: skip
async def test_our_own_hosts_in_any_writing_are_refused(host: str) -> None:
    """With the system's own resolver, and nothing that any of them could connect to is connected to."""
    async with serving(ok(PNG)) as server:
        with pytest.raises(Unfetched, match=r"not public|not valid"):
            await PictureFetcher().fetch(f"https://{host}:{server.port}/cat.png")
        assert server.accepted == 0
