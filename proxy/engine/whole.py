"""Read a body that is of use only in one piece: a whole answer, or the report of an error."""

from __future__ import annotations

import asyncio

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import WireResponse


async def read_in_time(response: WireResponse, ends: float, limit: int, *, cut: bool = False) -> bytes:
    """The body up to `limit` bytes; longer ones are cut, or a failure.

    It is over at `ends` by the loop's clock: the time for the head counts, and drops do not gain any.
    """
    expiry = asyncio.get_running_loop().call_at(ends, response.expire, ErrorKind.IDLE_TIMEOUT)
    try:
        return await _read_whole(response, limit, cut=cut)
    finally:
        expiry.cancel()


async def _read_whole(response: WireResponse, limit: int, *, cut: bool = False) -> bytes:
    first = await response.read()
    pieces, size = [first], len(first)
    while pieces[-1]:
        if size > limit:
            if cut:
                break
            raise UpstreamFailure(ErrorKind.FAULT, f"an answer of more than {limit} bytes")
        piece = await response.read()
        pieces.append(piece)
        size += len(piece)
    return first if len(pieces) <= 2 else b"".join(pieces)[: limit if cut else None]
