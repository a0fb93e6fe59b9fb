"""The way of one streamed answer from upstream to client, and the commit rule.

Before the first semantic delta is given to the client any failure may move on to the next target; after it none may.
Whole SSE frames leave, so an error event can follow at any time without tearing a frame apart.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import Reply, WireResponse
from proxy.engine.heartbeat import Heartbeat
from proxy.wire.dialects import Passage

_HELD_LIMIT = 1 << 20  # bytes before the first delta; a preamble is a few hundred


async def hold_until_begun(response: WireResponse, passage: Passage) -> bytes:
    """Read up to the first semantic delta; returns all that may go out with it.

    Raises UpstreamFailure for everything that is not the beginning of a good answer: silence, an empty stream, an
    error inside the first frames, bytes that are no frames. A pause behind the first words is none of that.
    """
    held: list[bytes] = []
    size = 0
    while not passage.begun:
        data = await response.read()
        held.append(passage.feed(data) if data else passage.close())
        if passage.failure is not None and passage.failure is not ErrorKind.PAUSED:
            raise _failure_of(passage)
        size += len(held[-1])
        if size > _HELD_LIMIT:
            raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, "a megabyte of stream without a delta")
        if not passage.begun and (not data or passage.ended):
            raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, "the stream ended without a delta")
    return b"".join(held)


async def relay(
    response: WireResponse, passage: Passage, reply: Reply, heartbeat: Heartbeat, finished: Callable[[], None]
) -> None:
    """Give the rest of a stream that has begun to the client, piece by piece, up to its end mark.

    `finished` is called when nothing is missing but that mark, and perhaps the usage.
    Raises UpstreamFailure if the stream breaks; everything before the break has been given out by then.
    """
    if passage.failure is not None:  # it has paused already
        raise _failure_of(passage)
    while not passage.ended:
        if passage.finished:
            finished()
        try:
            data = await response.read()
        except UpstreamFailure:
            if not passage.finished:
                raise
            data = b""  # all was said but the end mark, and that is ours to write
        out = passage.feed(data) if data else passage.close()
        if out:
            heartbeat.heard()
            await reply.write(out)
        if passage.failure is not None:
            raise _failure_of(passage)
        if not data:
            return


def _failure_of(passage: Passage) -> UpstreamFailure:
    return passage.cause or UpstreamFailure(passage.failure or ErrorKind.BROKEN_STREAM, passage.detail)
