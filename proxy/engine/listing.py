"""Ask an upstream for its models, and what it says of each."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from proxy.core.decision import Timeouts, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.family import Told
from proxy.core.ports import Transport, WireRequest
from proxy.core.secret import Secret
from proxy.wire.model_list import read_models

_PATIENCE = Timeouts(connect=1.0, tls=2.0, first_byte=5.0, idle=5.0)
_LIMIT = 8 << 20


async def list_models(transport: Transport, upstream: Upstream, key: Secret) -> Mapping[str, Told]:
    """By name, in the upstream's order. Raises UpstreamFailure for everything that is not such a list."""
    head = ((b"accept", b"application/json"), *upstream.headers(key))
    path = f"{upstream.base}{upstream.models_path}"
    response = await transport.send(WireRequest(upstream.origin, "GET", path, head, b"", _PATIENCE))
    try:
        body = bytearray()
        while piece := await response.read():
            body += piece
            if len(body) > _LIMIT:
                raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"a list of more than {_LIMIT} bytes")
    finally:
        response.close()
    if response.status == 200:
        with contextlib.suppress(ValueError):
            return (upstream.reads_models or read_models)(bytes(body))
    raise upstream.classify(response.status, response.headers, bytes(body))
