"""How the fake speaks: one file per protocol, from a request and a script to an answer's bytes.

Each module holds one `DIALECT`; the first (in order of names) that `answers` a request gives its answer.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Protocol

from tests.upstream.request import Request
from tests.upstream.script import Script


class Dialect(Protocol):
    """One protocol's answers."""

    stream_type: str
    """Content type of a streamed answer."""

    def answers(self, request: Request) -> bool:
        """True if the request is of this protocol; paths may stand under any prefix."""
        ...

    def streams(self, request: Request) -> bool:
        """True if the caller asked for a stream."""
        ...

    def whole(self, request: Request, script: Script) -> bytes: ...

    def frames(self, request: Request, script: Script) -> Iterator[bytes]:
        """The stream's frames, each with its blank line, lines ended by LF."""
        ...

    def error(self, script: Script) -> bytes:
        """The body of an answer with a status of 400 or more."""
        ...


def discover() -> tuple[Dialect, ...]:
    """All dialects of this package."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return tuple(module.DIALECT for module in modules if hasattr(module, "DIALECT"))
