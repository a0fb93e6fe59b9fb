"""Fetch a picture from where a stranger says it is, and reach nothing that is not public on the way.

A name is resolved once, all of its addresses must be public, and one of them is connected to: a name that answers
otherwise a moment later is not asked again. Nothing of ours goes along, and a redirect is not followed.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import quote, urlsplit

from proxy.adapters.http1.dial import Dialler, LookUp, look_up
from proxy.adapters.transport_http import HttpTransport
from proxy.core.decision import Origin, Timeouts
from proxy.core.errors import UpstreamFailure
from proxy.core.ports import Unfetched, WireRequest
from proxy.core.public import is_public

MOST_BYTES: Final = 10 * 2**20
"""Of one picture."""

_SECONDS: Final = 10.0
_AT_ONCE: Final = 16  # pictures that one process fetches at the same time
_NAMES_AT_ONCE: Final = 4
_LONGEST: Final = 8192
_TIMEOUTS: Final = Timeouts(connect=3.0, tls=3.0, first_byte=_SECONDS, idle=_SECONDS, attempt=_SECONDS)
_HEAD: Final = ((b"accept", b"image/png, image/jpeg, image/gif, image/webp"), (b"user-agent", b"failsoft"))
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f\\]")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]+")
_SAFE: Final = "/?:@!$&'()*+,;=%~-._"
_UNREACHED: Final = "its host cannot be reached, or is not public"


class PictureFetcher:
    """A `PictureSource`.

    `admits` says which addresses may be connected to and `look_up` what addresses a name has; `ca_file` replaces the
    system's trust store.
    """

    def __init__(
        self,
        *,
        admits: Callable[[str], bool] = is_public,
        look_up: LookUp = look_up,
        ca_file: str | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        # Threads of its own: strangers' name servers may take their time, and upstreams' names must not wait for them.
        self._dialler = Dialler(look_up, admits, ThreadPoolExecutor(_NAMES_AT_ONCE, "failsoft-pictures"))
        self._ca_file = ca_file
        self._seconds = seconds
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, url: str) -> str:
        origin, path = _parse(url, self._ca_file)
        try:
            async with asyncio.timeout(self._seconds), self._places:
                return _data_url(await self._get(origin, path))
        except TimeoutError:
            raise Unfetched(f"it did not arrive within {self._seconds:g} s") from None
        except UpstreamFailure:
            raise Unfetched(_UNREACHED) from None

    async def _get(self, origin: Origin, path: str) -> bytes:
        """The body of a 200; no connection outlives it, for nobody asks the same stranger twice."""
        transport = HttpTransport(dialler=self._dialler)
        try:
            response = await transport.send(WireRequest(origin, "GET", path, _HEAD, b"", _TIMEOUTS))
            if response.status != 200:
                raise Unfetched(f"its host answered {response.status}, and redirects are not followed")
            body = bytearray()
            while piece := await response.read():
                body += piece
                if len(body) > MOST_BYTES:
                    raise Unfetched(f"it is larger than {MOST_BYTES >> 20} MiB")
            return bytes(body)
        finally:
            await transport.aclose()


def _parse(url: str, ca_file: str | None) -> tuple[Origin, str]:
    """Where to connect and what to ask for. Raises Unfetched for all but plain https URLs."""
    if len(url) > _LONGEST or _UNFIT.search(url):
        raise Unfetched("its URL is too long or holds characters that no URL has")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except (ValueError, UnicodeError):
        raise Unfetched("its URL is not valid") from None
    if parts.scheme != "https" or not _HOST.fullmatch(host) or parts.username is not None or "@" in parts.netloc:
        raise Unfetched("only https:// URLs without user names are fetched")
    path = quote(parts.path or "/", safe=_SAFE)
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    return Origin("https", host, 443 if port is None else port, ca_file), path + query


_SIGNS: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
"""How files begin: what they are, whatever their sender says."""


def _data_url(body: bytes) -> str:
    kind = next((kind for sign, kind in _SIGNS if sign.match(body)), None)
    if kind is None:
        raise Unfetched("it is no PNG, JPEG, GIF or WebP")
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"
