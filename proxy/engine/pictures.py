"""Bring the pictures that a request names by their address, for upstreams that would not fetch them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.ports import PictureSource, Unfetched
from proxy.core.request import Inbound
from proxy.wire.pictures import distant, with_data

_MOST = 8
_MOST_CHARACTERS = 32 << 20  # of all pictures of a request together, as base64


class Pictures:
    """Asks the source for each address once per request."""

    def __init__(self, source: PictureSource) -> None:
        self._source = source

    async def brought(self, inbound: Inbound, known: Mapping[str, str]) -> tuple[Inbound, Mapping[str, str]]:
        """The request with data in place of addresses, and the data of each address; `known` were brought before.

        Raises ProxyError BAD_REQUEST for a picture that cannot be had.
        """
        wanted = distant(inbound.body)
        if not wanted:
            return inbound, known
        paths = {url: path for path, url in wanted}
        if len(paths) > _MOST:
            raise ProxyError(ErrorKind.BAD_REQUEST, f"At most {_MOST} pictures are fetched for one request.")
        absent = [url for url in paths if url not in known]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {url: group.create_task(self._fetch(url, paths[url])) for url in absent}
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        found = {**known, **{url: task.result() for url, task in tasks.items()}}
        if sum(map(len, found.values())) > _MOST_CHARACTERS:
            raise ProxyError(ErrorKind.BAD_REQUEST, "The pictures of this request are too large together.")
        return replace(inbound, body=with_data(inbound.body, found)), found

    async def _fetch(self, url: str, path: str) -> str:
        try:
            return await self._source.fetch(url)
        except Unfetched as error:
            told = f"The picture at `{path}` could not be fetched: {error}. Send it as a data: URL."
            raise ProxyError(ErrorKind.BAD_REQUEST, told, param=path) from None
