"""Ask an upstream for the names of its models."""

from __future__ import annotations

import msgspec

from proxy.core.decision import Timeouts, Upstream
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.ports import Transport, WireRequest
from proxy.core.secret import Secret

_PATIENCE = Timeouts(connect=1.0, tls=2.0, first_byte=5.0, idle=5.0)
_LIMIT = 8 << 20


class _Model(msgspec.Struct):
    id: str


class _Named(msgspec.Struct):
    name: str


class _List(msgspec.Struct):
    """Models are told by their ids, or else by the names of what stands in the folder `models/`."""

    data: list[_Model] | None = None
    models: list[_Named] | None = None

    def names(self) -> list[str] | None:
        if self.data is not None:
            return [model.id for model in self.data]
        return None if self.models is None else [model.name.removeprefix("models/") for model in self.models]


async def list_models(transport: Transport, upstream: Upstream, key: Secret) -> list[str]:
    """The names, in the upstream's order. Raises UpstreamFailure for everything that is not such a list."""
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
    try:
        names = msgspec.json.decode(bytes(body), type=_List).names() if response.status == 200 else None
    except ValueError:
        names = None
    if names is None:
        raise upstream.classify(response.status, response.headers, bytes(body))
    return names
