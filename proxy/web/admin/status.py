"""`/admin/status`, `/admin/health`, `/admin/statistics`: what is configured, what is true now, what has happened."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy import __version__
from proxy.core.decision import Upstream
from proxy.engine.admission import Admission
from proxy.engine.door import Door
from proxy.engine.live import Live
from proxy.engine.reload import Reloader
from proxy.engine.self_test import SelfTest
from proxy.web.admin.audit import Book
from proxy.web.respond import json_response


class Status:
    """Read-only views of one process; with several workers each answers for itself and says so by its `worker`."""

    def __init__(
        self, live: Live, admission: Admission, door: Door, reloader: Reloader, self_test: SelfTest, book: Book
    ) -> None:
        self._live = live
        self._self_test = self_test
        self._book = book
        self._door = door
        self._admission = admission
        self._reloader = reloader

    async def status(self, _request: Request) -> Response:
        snapshot = self._live.snapshot
        return json_response(
            {
                **self._process(),
                "config": {
                    "file": snapshot.file,
                    "fingerprint": snapshot.fingerprint,
                    "reloads": {"succeeded": self._reloader.succeeded, "failed": self._reloader.failed},
                    "last_reload": self._reloader.last,
                    "warnings": [str(warning) for warning in snapshot.warnings],
                },
                "routes": [route.name for route in snapshot.routes],
                "upstreams": [self._upstream(upstream) for upstream in snapshot.upstreams.values()],
                "offline_answers": self._live.statistics.offline,
            }
        )

    async def health(self, _request: Request) -> Response:
        upstreams = self._live.snapshot.upstreams.values()
        tested = self._self_test.last
        return json_response(
            {
                "status": "draining" if self._live.draining else "ok",
                "upstreams": {upstream.name: self._health(upstream) for upstream in upstreams},
                "offline_self_test": None if tested is None else tested.describe(),
            }
        )

    async def statistics(self, _request: Request) -> Response:
        return json_response({**self._process(), **self._live.statistics.describe(self._live.snapshot.upstreams)})

    async def reset(self, request: Request) -> Response:
        with self._book.deed(request, "reset statistics"):
            self._live.statistics.reset(self._live.clock.wall())
        return json_response({"reset": True, "since": self._live.statistics.since.isoformat(timespec="seconds")})

    def _process(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "worker": os.getpid(),
            "uptime_seconds": round(self._live.clock.monotonic() - self._live.started, 3),
            "in_flight": self._live.under_way,
            "buffered_bytes": self._door.buffered,
        }

    def _upstream(self, upstream: Upstream) -> dict[str, Any]:
        listed = self._live.listed(upstream.name)
        return {
            "name": upstream.name,
            "provider": upstream.provider,
            "url": None if upstream.offline else upstream.url,
            "enabled": upstream.disabled is None,
            "disabled_because": upstream.disabled,
            **self._live.service.describe(upstream),
            "keys": [key.fingerprint for key in upstream.keys],
            "key_pool": self._live.health.describe_keys(upstream),
            "throttled": self._throttled(upstream),
            "in_flight": self._live.requests_at(upstream.name),
            "slots": None if upstream.offline else self._admission.describe(upstream),
            "models_listed": None if listed is None else len(listed),
            "breaker": None if upstream.offline else self._live.health.describe(upstream.name),
            **self._live.statistics.of(upstream.name).describe(),
        }

    def _throttled(self, upstream: Upstream) -> list[dict[str, Any]]:
        """The models that are not asked until the vendor's limit is over, and when that is."""
        now = self._live.clock.wall()
        return [
            {
                "model": model,
                "until": (now + timedelta(seconds=seconds)).isoformat(timespec="seconds"),
                "seconds": round(seconds, 3),
            }
            for model, seconds in sorted(self._live.health.throttled(upstream).items())
        ]

    def _health(self, upstream: Upstream) -> dict[str, Any]:
        row = self._live.statistics.of(upstream.name)
        return {
            "enabled": upstream.disabled is None,
            **self._live.service.describe(upstream),
            "last_outcome": row.last_outcome,
            "last_request": row.last_at.isoformat(timespec="milliseconds") if row.last_at else None,
        }
