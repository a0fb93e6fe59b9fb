"""Carries out a script on a connection: the head, then the body in frames, with all the faults it asks for."""

from __future__ import annotations

import asyncio
import http
import itertools
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Protocol

from tests.upstream.dialects import Dialect
from tests.upstream.request import Request
from tests.upstream.script import Script, pause
from tests.upstream.seen import Seen

_GZIP = 16 + zlib.MAX_WBITS


class Link(Protocol):
    """The connection as a script needs it."""

    async def write(self, data: bytes) -> None:
        """Send; returns when the socket has room again."""
        ...

    def close(self) -> None:
        """End it by FIN, after what has been written."""
        ...

    def reset(self) -> None:
        """End it by RST."""
        ...


async def play(script: Script, dialect: Dialect, link: Link, seen: Seen) -> None:
    """Answer one request as scripted; the connection stays open only after a `clean` end."""
    if script.interim:
        await link.write(script.interim)
    await pause(script.before_head)
    streamed = script.status < 400 and script.body is None and dialect.streams(seen.request)
    framing = script.framing or ("chunked" if streamed or script.chunks is not None else "length")
    frames = _frames(script, seen.request, dialect, streamed)
    coding = zlib.compressobj(wbits=_GZIP) if script.gzip else None
    length = None
    if framing == "length":
        known = tuple(frames) if coding is None else (b"".join(frames),)
        frames = iter(known)
        length = sum(map(len, known)) if coding is None else _coded_length(known[0])
    head = script.head or _head(script, dialect, streamed, length)
    if script.cut_head is not None:
        await _write(head[: script.cut_head], script, link)
        await _end(script, link, complete=False)
        return
    await _write(head, script, link)
    cut = await _body(_timed(frames, script), coding, framing, script, link, seen)
    await pause(script.before_end)
    if framing == "chunked" and script.ending == "clean":
        await _write(b"0\r\n\r\n", script, link)
    if script.ending != "hang":
        seen.answered = time.monotonic()
        seen.mark()
    await _end(script, link, complete=framing == "chunked" or (framing == "length" and not cut))


def _coded_length(whole: bytes) -> int:
    """How long `whole` becomes under gzip, if it is written in one piece."""
    coding = zlib.compressobj(wbits=_GZIP)
    return len(coding.compress(whole) + coding.flush(zlib.Z_SYNC_FLUSH) + coding.flush())


async def _end(script: Script, link: Link, *, complete: bool) -> None:
    if script.ending == "reset":
        link.reset()
    elif script.ending == "hang":
        await pause("never")
    elif script.ending == "close" or not complete:
        link.close()


def _head(script: Script, dialect: Dialect, streamed: bool, length: int | None) -> bytes:
    """The status line and headers; `length` None means that the length is not told in advance."""
    try:
        reason = http.HTTPStatus(script.status).phrase
    except ValueError:
        reason = "Unknown"
    kind = script.content_type or (dialect.stream_type if streamed else "application/json")
    lines = [f"HTTP/1.1 {script.status} {reason}", f"content-type: {kind}"]
    lines += [f"{name}: {value}" for name, value in script.headers]
    if script.gzip:
        lines.append("content-encoding: gzip")
    if length is not None:
        lines.append(f"content-length: {length}")
    elif script.framing == "close":
        lines.append("connection: close")
    else:
        lines.append("transfer-encoding: chunked")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _frames(script: Script, request: Request, dialect: Dialect, streamed: bool) -> Iterator[bytes]:
    """The body before any fault of the wire."""
    if script.chunks is not None:
        return iter(script.chunks)
    if script.body is not None:
        return iter((script.body,))
    if script.status >= 400:
        return iter((dialect.error(script),))
    if not streamed:
        return iter((dialect.whole(request, script),))
    frames = dialect.frames(request, script)
    if script.line_end == "\n":
        return frames
    return (frame.replace(b"\n", script.line_end.encode()) for frame in frames)


async def _timed(frames: Iterator[bytes], script: Script) -> AsyncIterator[tuple[bytes, int, bool]]:
    """The pieces to write, each with the number of frames in it and whether the script cuts here."""
    batch: list[bytes] = []
    budget = script.cut_after
    for number, frame in enumerate(frames):
        whole, part = _cut(frame, number, script, budget)
        if part or whole:
            await pause(script.before_first if number == 0 else script.between)
            await pause(script.pauses.get(number, 0.0))
            batch.append(part)
        if not whole:
            yield b"".join(batch), len(batch), True
            return
        if len(batch) == script.frames_per_write:
            yield b"".join(batch), len(batch), False
            batch.clear()
        if budget is not None:
            budget -= len(frame)
    if batch:
        yield b"".join(batch), len(batch), False


def _cut(frame: bytes, number: int, script: Script, budget: int | None) -> tuple[bool, bytes]:
    """Whether the frame goes out whole, and what of it does."""
    if script.cut_frames is not None and number + 1 > script.cut_frames:
        share = max(0.0, script.cut_frames - number)
        return False, frame[: int(len(frame) * share)]
    if budget is not None and len(frame) > budget:
        return False, frame[:budget]
    return True, frame


async def _body(
    pieces: AsyncIterator[tuple[bytes, int, bool]],
    coding: zlib._Compress | None,
    framing: str,
    script: Script,
    link: Link,
    seen: Seen,
) -> bool:
    """Send the pieces; True if the script cut the body short."""
    cut = False
    async for piece, frames, is_last in pieces:
        cut = is_last
        if piece:
            coded = coding.compress(piece) + coding.flush(zlib.Z_SYNC_FLUSH) if coding else piece
            framed = b"%x\r\n%s\r\n" % (len(coded), coded) if framing == "chunked" else coded
            await _write(framed, script, link)
            seen.sent += piece
            seen.wire_bytes += len(framed)
        seen.frames += frames
        seen.mark()
        if script.endless:
            await asyncio.sleep(0)
    if coding and not cut:
        rest = coding.flush()
        await _write(b"%x\r\n%s\r\n" % (len(rest), rest) if framing == "chunked" else rest, script, link)
    return cut


async def _write(data: bytes, script: Script, link: Link) -> None:
    for part in _split(data, script.write_size):
        await link.write(part)
        if script.write_size:
            await asyncio.sleep(0)


def _split(data: bytes, size: int | None) -> Iterable[bytes]:
    if not size:
        return (data,)
    return (data[start : start + size] for start in itertools.takewhile(len(data).__gt__, itertools.count(0, size)))
