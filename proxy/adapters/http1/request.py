"""The bytes of a request's head; framing headers are written here and nowhere else."""

from __future__ import annotations

from typing import Final

from proxy.core.decision import Origin
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import WireRequest

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def standing_lines(origin: Origin) -> bytes:
    """The rest of the request line and the headers that are the same in all requests to `origin`."""
    return f" HTTP/1.1\r\nhost: {origin.authority}\r\naccept-encoding: identity\r\n".encode("ascii")


def encode_head(request: WireRequest, standing: bytes) -> bytes:
    """The head, blank line included.

    Raises `UpstreamFailure` (nothing sent) if a header or the path would break the head: a key from a file
    with its line feed still on must not become a second header.
    """
    try:
        parts = [request.method.encode("ascii"), b" ", request.path.encode("ascii"), standing]
    except UnicodeEncodeError:
        raise UpstreamFailure(ErrorKind.FAULT, "the request path is not ASCII", sent=False) from None
    for name, value in request.headers:
        parts += (name, b": ", value, b"\r\n")
    lines = 3 + len(request.headers)
    if request.body or request.method in _WITH_BODY:
        parts.append(b"content-length: %d\r\n" % len(request.body))
        lines += 1
    parts.append(b"\r\n")
    head = b"".join(parts)
    # Counting the line ends of the whole costs less than looking at each value.
    is_whole = head.count(b"\r") == head.count(b"\n") == lines + 1 and b"\0" not in head
    if not is_whole or " " in request.path:
        raise UpstreamFailure(ErrorKind.FAULT, "a header or the path holds a control character", sent=False)
    return head
