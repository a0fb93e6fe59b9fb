"""Who may do what under `/admin`: every role at every endpoint by every method, from the route table itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.routing import Mount, Route

from proxy import bootstrap
from proxy.config.load import loads
from proxy.core.digest import digest
from tests.e2e.harness import ADMIN, ENVIRONMENT, document, upstream

CALLER = "caller-canary-2f6d1c"
ROLES = {
    "nobody": {},
    "a caller": {"authorization": f"Bearer {CALLER}"},
    "a wrong key": {"authorization": "Bearer wrong"},
    "almost": {"x-api-key": ADMIN + "x"},
    "another scheme": {"authorization": f"Basic {ADMIN}"},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ODD = ("/admin", "/admin/", "//admin/status", "/admin//status", "/admin/status/", "/admin/absent", "/admin/%73tatus")


def table() -> dict[str, set[str]]:
    """The paths under `/admin` with their methods, as the application is put together."""
    app = bootstrap.assemble(loads(b"{}", "routes.yaml", {}), [])
    (mount,) = (route for route in app._rest._app.routes if isinstance(route, Mount))  # type: ignore[attr-defined]
    found: dict[str, set[str]] = {}
    for route in mount.app._app.routes:  # type: ignore[attr-defined]
        assert isinstance(route, Route)
        found.setdefault(mount.path + route.path, set()).update(route.methods or ())
    return found


TABLE = table()


def cells() -> Iterator[tuple[str, str]]:
    for path in (*TABLE, *ODD):
        for method in METHODS:
            yield path, method


@pytest.fixture
async def proxy(serve, one):
    tenants = {"public": {"anonymous": True}, "acme": {"keys": [f"sha256:{digest(CALLER)}"]}}
    return await serve(document({"one": upstream(one)}, tenants=tenants))


def test_the_table_is_the_real_one():
    assert {"/admin/status", "/admin/provider", "/admin/audit", "/admin/models", "/admin/reload"} <= set(TABLE)
    assert "POST" in TABLE["/admin/provider"]
    assert "POST" not in TABLE["/admin/audit"]


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_but_operators_gets_in_anywhere(proxy, one, role):
    assert (await proxy.chat(ROLES["a caller"])).status == 200
    for path, method in cells():
        answer = await proxy.request(method, path, b'{"upstream":"one"}', ROLES[role])
        assert answer.status in ((401, 404) if path.startswith("//") else (401,)), (path, method, answer.status)
    assert len(one.seen) == 1
    assert not (await proxy.admin("audit"))["deeds"]


async def test_operators_get_what_there_is(proxy):
    for path, methods in TABLE.items():
        for method in METHODS:
            answer = await proxy.request(method, path, b"{}", {"x-api-key": ADMIN})
            assert (answer.status == 405) is (method not in methods), (path, method, answer.status)


def test_the_environment_holds_the_key():
    assert ADMIN in ENVIRONMENT.values()
