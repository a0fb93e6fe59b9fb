"""aiohttp behind the project's transport port: the oracle that ours is compared with, not a part of the product."""

from __future__ import annotations

import io
import ssl
from collections.abc import Mapping

import aiohttp
from yarl import URL

from proxy.core.decision import Origin
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import WireRequest

_LIMIT = 64 * 1024


class AiohttpTransport:
    """One session per origin, since trust and proxy belong to it."""

    def __init__(self, *, keep_alive: float = 15.0, limit: int = 10_000) -> None:
        self._keep_alive = keep_alive
        self._limit = limit
        self._sessions: dict[Origin, aiohttp.ClientSession] = {}

    async def send(self, request: WireRequest) -> AiohttpResponse:
        origin, timeouts = request.origin, request.timeouts
        session = self._sessions.get(origin) or self._open(origin)
        try:
            response = await session.request(
                request.method,
                URL(f"{origin.scheme}://{origin.authority}{request.path}", encoded=True),
                headers=[(name.decode(), value.decode()) for name, value in request.headers],
                data=io.BytesIO(request.body) if request.body else None,  # as bytes it warns of large ones
                allow_redirects=False,
                proxy=f"http://{origin.via}" if origin.via else None,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=timeouts.connect, sock_read=timeouts.first_byte, connect=None
                ),
            )
        except (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError) as error:
            raise UpstreamFailure(ErrorKind.TLS, type(error).__name__, sent=False) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError) as error:
            raise UpstreamFailure(ErrorKind.CONNECT, type(error).__name__, sent=False) from error
        except aiohttp.ServerTimeoutError as error:
            raise UpstreamFailure(ErrorKind.FIRST_BYTE_TIMEOUT) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamFailure(ErrorKind.FAULT, type(error).__name__) from error
        return AiohttpResponse(response)

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def _open(self, origin: Origin) -> aiohttp.ClientSession:
        context: ssl.SSLContext | bool = True
        if origin.scheme == "https":
            context = ssl.create_default_context(cafile=origin.ca_file)
        connector = aiohttp.TCPConnector(ssl=context, keepalive_timeout=self._keep_alive, limit=self._limit)
        session = aiohttp.ClientSession(
            connector=connector,
            headers={"Accept-Encoding": "identity"},
            skip_auto_headers=("User-Agent", "Accept"),
            max_line_size=_LIMIT,
            max_field_size=_LIMIT,
            max_headers=1000,
        )
        self._sessions[origin] = session
        return session


class AiohttpResponse:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.failure: ErrorKind | None = None

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        names = {name.lower() for name in self._response.headers}
        return {name: ", ".join(self._response.headers.getall(name)) for name in names}

    async def read(self) -> bytes:
        if self.failure is not None:
            raise UpstreamFailure(self.failure)
        try:
            return await self._response.content.readany()
        except aiohttp.ServerTimeoutError as error:
            raise UpstreamFailure(ErrorKind.IDLE_TIMEOUT) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamFailure(ErrorKind.FAULT, type(error).__name__) from error

    def expire(self, kind: ErrorKind) -> None:
        self.failure = kind
        self._response.close()

    def close(self) -> None:
        if self._response.content.at_eof() and self._response.content.exception() is None:
            self._response.release()
        else:
            self._response.close()
