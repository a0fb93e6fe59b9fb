"""The ASGI application: the hot paths straight to their endpoints, everything else by Starlette."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy import __version__
from proxy.core.errors import ProxyError
from proxy.core.ports import Audit, PauseStore, Records
from proxy.engine.catalog import Catalog
from proxy.engine.door import Door
from proxy.engine.live import Live
from proxy.engine.pipeline import Engine
from proxy.engine.pulse import Pulse
from proxy.engine.readiness import Readiness
from proxy.engine.reload import Reloader
from proxy.engine.self_test import SelfTest
from proxy.web.admin.audit import Book
from proxy.web.admin.control import Control
from proxy.web.admin.explain import Explain
from proxy.web.admin.gate import AdminGate
from proxy.web.admin.local_models import LocalModelsAdmin
from proxy.web.admin.provider import Provider
from proxy.web.admin.requests import Requests
from proxy.web.admin.status import Status
from proxy.web.asgi import CLOSE, SECURITY_HEADERS, timing_headers
from proxy.web.identity import Identities, check_host
from proxy.web.inbound import Endpoint, correlation_of, new_request_id
from proxy.web.models import Models
from proxy.web.respond import error_response, json_response, on_bug, on_http_error, on_proxy_error
from proxy.wire.dialects import UpstreamDialect, heard

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Office:
    """What only operators see and use."""

    readiness: Readiness
    reloader: Reloader
    records: Records
    audit: Audit
    pauses: PauseStore
    self_test: SelfTest


class App:
    """Two look-ups decide where a request goes: a dictionary for the hot paths, Starlette's router for the rest.

    Going past the router and its middleware saves a hot request a third of the proxy's own time.
    """

    def __init__(self, hot: Mapping[str, Endpoint], rest: ASGIApp) -> None:
        self.hot = hot
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (endpoint := self.hot.get(scope["path"])) is not None:
            await endpoint(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


class Dressed:
    """Gives the answers of the paths that are not hot the headers that every answer carries, and checks the Host."""

    def __init__(self, app: ASGIApp, live: Live) -> None:
        self._app = app
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = new_request_id()
        correlation_id = correlation_of(headers, request_id)
        extra = (
            (b"x-request-id", request_id.encode()),
            (b"x-correlation-id", correlation_id.encode()),
            *SECURITY_HEADERS,
            *((CLOSE,) if self._live.draining else ()),
        )

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(field for field in extra if field[0] not in own),
                    *timing_headers(time.perf_counter() - started),
                ]
            await send(message)

        try:
            check_host(headers, self._live.server.trusted_hosts)
        except ProxyError as error:
            await error_response(error)(scope, receive, dressed)
        else:
            await self._app(scope, receive, dressed)


def build_app(
    engine: Engine,
    door: Door,
    catalog: Catalog,
    pulse: Pulse,
    office: Office,
    dialects: Mapping[str, UpstreamDialect],
    identities: Identities,
    lifespan: Lifespan,
) -> ASGIApp:
    """The application; `lifespan` is entered while the server runs."""
    live = engine.live
    inbound = heard(dialects).values()
    hot = {path: Endpoint(dialect, engine, identities, door) for dialect in inbound for path in dialect.paths}
    chat = next(dialect for dialect in inbound if "/v1/chat/completions" in dialect.paths)
    book = Book(office.audit, live.clock)
    status = Status(live, engine.admission, door, office.reloader, office.self_test, book)
    pages = [
        *_views(status, Requests(office.records), book),
        *_control(Control(engine, chat, office.reloader, book), Explain(live, dialects)),
        *_actions(Provider(live, office.pauses, book), LocalModelsAdmin(live, office.readiness, book)),
    ]
    routes = [*_public(live, catalog, identities, pulse), _admin(pages, identities)]

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        async with lifespan():
            yield

    rest: ASGIApp = Starlette(
        routes=routes,
        lifespan=running,
        exception_handlers={ProxyError: on_proxy_error, HTTPException: on_http_error, Exception: on_bug},
    )
    app: ASGIApp = App(hot, Dressed(rest, live))
    origins = live.server.cors_origins
    if origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[
                "x-request-id",
                "x-correlation-id",
                "retry-after",
                "x-failsoft-upstream",
                "x-failsoft-model",
            ],
        )
    return app


def _public(live: Live, catalog: Catalog, identities: Identities, pulse: Pulse) -> list[BaseRoute]:
    models = Models(live, catalog, identities)

    async def root(_request: Request) -> Response:
        links = {"models": "/v1/models", "health": "/health", "status": "/admin/status"}
        return json_response({"name": "failsoft", "version": __version__, "links": links})

    async def alive(_request: Request) -> Response:
        told = {"status": "blocked" if pulse.is_blocked else "ok", "loop_lag_seconds": round(pulse.lag, 3)}
        return json_response(told, 503 if pulse.is_blocked else 200)

    async def ready(_request: Request) -> Response:
        return json_response({"status": "draining"}, 503) if live.draining else json_response({"status": "ok"})

    async def health(_request: Request) -> Response:
        status = "draining" if live.draining else "ok"
        uptime = round(live.clock.monotonic() - live.started, 3)
        return json_response({"status": status, "version": __version__, "uptime_seconds": uptime})

    return [
        Route("/", root),
        Route("/livez", alive),
        Route("/readyz", ready),
        Route("/health", health),
        Route("/v1/models", models.list),
        Route("/v1/models/{id:path}", models.retrieve),
    ]


def _views(status: Status, requests: Requests, book: Book) -> list[BaseRoute]:
    return [
        Route("/requests", requests.list),
        Route("/status", status.status),
        Route("/health", status.health),
        Route("/statistics", status.statistics),
        Route("/reset-stats", status.reset, methods=["POST"]),
        Route("/audit", book.list),
    ]


def _control(control: Control, explain: Explain) -> list[BaseRoute]:
    return [
        Route("/test", control.test, methods=["POST"]),
        Route("/explain", explain.explain, methods=["POST"]),
        Route("/reload", control.reload, methods=["POST"]),
    ]


def _actions(provider: Provider, models: LocalModelsAdmin) -> list[BaseRoute]:
    return [
        Route("/provider", provider.act, methods=["POST"]),
        Route("/models", models.list),
        Route("/models", models.act, methods=["POST"]),
    ]


def _admin(routes: list[BaseRoute], identities: Identities) -> BaseRoute:
    handlers = {ProxyError: on_proxy_error, HTTPException: on_http_error}
    return Mount("/admin", app=AdminGate(Starlette(routes=routes, exception_handlers=handlers), identities))
