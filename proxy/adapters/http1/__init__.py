"""HTTP/1.1 towards upstreams: dial, pool, connection, response; `transport_http` puts them together."""

from __future__ import annotations


class Malformed(Exception):
    """The peer broke the protocol or a limit; the text is short, ours, and holds nothing the peer said."""
