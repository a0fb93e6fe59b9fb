"""`GET /admin/audit`, and what writes down the operators' deeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy.core.clock import Clock
from proxy.core.errors import ProxyError
from proxy.core.ports import Audit, Deed
from proxy.core.secret import Secret
from proxy.web.admin.asked import limit_of
from proxy.web.identity import presented_key
from proxy.web.respond import json_response

DONE = "done"
INTERRUPTED = "interrupted"

_USUAL = 100
_MOST = 200


def operator(request: Request) -> str:
    """The fingerprint of the admin key that a request shows."""
    return Secret(presented_key(request.headers)).fingerprint


class Entry:
    """A deed that is being done; one that goes on for long is told of more than once."""

    def __init__(self, audit: Audit, clock: Clock, request: Request, action: str) -> None:
        self._audit = audit
        self._clock = clock
        self._who = operator(request)
        self._address = request.client.host if request.client else ""
        self._action = action
        self.is_told = False
        self.subject = ""
        self.reason = ""

    def tell(self, result: str) -> None:
        """Write down how far it has come."""
        self.is_told = True
        at = self._clock.wall()
        self._audit.write(Deed(at, self._who, self._address, self._action, self.subject, self.reason, result))


class Book:
    """Where operators' deeds are written down, and shown."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock

    @contextmanager
    def deed(self, request: Request, action: str) -> Iterator[Entry]:
        """When this is left, it is done, or an error says what came of it; unless it was told before."""
        entry = Entry(self._audit, self._clock, request, action)
        result = INTERRUPTED
        try:
            yield entry
            result = DONE
        except ProxyError as error:
            result = error.code or error.kind.label
            raise
        finally:
            if not entry.is_told:
                entry.tell(result)

    async def list(self, request: Request) -> Response:
        """The last `limit` deeds of all workers, the newest first."""
        known = await self._audit.latest(limit_of(request, _USUAL, _MOST))
        return json_response({"deeds": [_shown(deed) for deed in known.latest], "not_saved_because": known.unsaved})


def _shown(deed: Deed) -> dict[str, Any]:
    return {
        "at": deed.at.isoformat(timespec="milliseconds"),
        "who": deed.who,
        "address": deed.address,
        "action": deed.action,
        "subject": deed.subject,
        "reason": deed.reason,
        "result": deed.result,
    }
