"""What `Reloader` swaps, what it keeps, and what it tells."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.config.problems import ConfigError, Problem
from proxy.core.clock import FakeClock
from proxy.engine.live import Live
from proxy.engine.reload import Reloader


def snapshot(**sections: Any) -> Snapshot:
    return loads(json.dumps(sections).encode(), "routes.yaml", {})


class Source:
    """A file that the test writes: a snapshot or an error."""

    def __init__(self) -> None:
        self.next: Snapshot | Exception = ConfigError([Problem("routes.yaml", 3, "routes", "is no list")])
        self.threads: set[int] = set()

    def __call__(self) -> Snapshot:
        self.threads.add(threading.get_ident())
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def live() -> Live:
    return Live(snapshot(server={"port": 8000}), FakeClock())


async def test_a_swap_is_one_attribute_and_told(live, source):
    swapped = []
    reloader = Reloader(live, source, lambda: swapped.append(live.snapshot))
    source.next = new = snapshot(server={"port": 8000}, models={"house": []})
    server = live.server
    live.clock.advance(60)
    done = await reloader.reload()
    assert (done.ok, done.fingerprint, done.problems, done.needs_restart) == (True, new.fingerprint, (), ())
    assert done.at == live.clock.wall()
    assert live.snapshot is new
    assert live.server is server
    assert swapped == [new]
    assert (reloader.last, reloader.succeeded, reloader.failed) == (done, 1, 0)
    assert source.threads.isdisjoint({threading.get_ident()}), "the event loop goes on while a file is read"


async def test_a_bad_file_is_told_and_nothing_else(live, source):
    reloader = Reloader(live, source, lambda: pytest.fail("nothing was swapped"))
    old = live.snapshot
    done = await reloader.reload()
    assert (done.ok, done.fingerprint) == (False, old.fingerprint)
    assert done.problems == ("routes.yaml:3: routes: is no list",)
    assert live.snapshot is old
    assert (reloader.succeeded, reloader.failed) == (0, 1)


async def test_the_names_of_static_keys_are_held_against_the_start(live, source):
    """Not against the last reload: a key that is still pending is still named."""
    reloader = Reloader(live, source, lambda: None)
    for sections, named in (
        ({"server": {"port": 9000}}, ("server.port",)),
        ({"server": {"port": 9000}, "models": {"house": []}}, ("server.port",)),
        ({"server": {"port": 9000, "drain": "1s"}, "storage": {"ledger": "sqlite:///x.db"}},
         ("server.port", "server.drain", "storage.ledger")),
        ({"server": {"port": 8000}}, ()),
    ):  # fmt: skip
        source.next = snapshot(**sections)
        assert (await reloader.reload()).needs_restart == named
        assert live.server.port == 8000


async def test_a_reload_does_not_open_the_listening_address_to_everybody(source):
    """The file's own host says nothing of where this process listens."""
    keyed = {"tenants": {"acme": {}}}
    live = Live(snapshot(server={"host": "0.0.0.0"}, **keyed), FakeClock())
    reloader = Reloader(live, source, lambda: None)
    old = live.snapshot
    source.next = snapshot(server={"host": "127.0.0.1"}, tenants={"public": {"anonymous": True}})
    done = await reloader.reload()
    assert done.ok is False
    assert "0.0.0.0" in done.problems[0]
    assert live.snapshot is old
    source.next = snapshot(server={"host": "0.0.0.0", "allow_anonymous": True}, tenants={"public": {"anonymous": True}})
    assert (await reloader.reload()).ok is False, "the permission is a static key too"


async def test_attempts_wait_for_one_another(live):
    entered, release, inside = threading.Event(), threading.Event(), []

    def read() -> Snapshot:
        inside.append("in")
        entered.set()
        assert release.wait(60)
        inside.append("out")
        return snapshot()

    reloader = Reloader(live, read, lambda: None)
    both = asyncio.gather(reloader.reload(), reloader.reload())
    await asyncio.to_thread(entered.wait, 60)
    for _ in range(10):
        await asyncio.sleep(0)
    release.set()
    await both
    assert inside == ["in", "out"] * 2


async def test_after_a_bug_in_reading_the_next_attempt_works(live, source):
    reloader = Reloader(live, source, lambda: None)
    source.next = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        await reloader.reload()
    source.next = new = snapshot()
    assert (await reloader.reload()).ok is True
    assert live.snapshot is new
