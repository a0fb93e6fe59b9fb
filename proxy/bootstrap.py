"""The composition root: the only module that sees adapters and web, and puts everything together."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from proxy.adapters import logs
from proxy.adapters.audit import AuditLog
from proxy.adapters.fetch import PictureFetcher
from proxy.adapters.keys_sqlite import KnownKeys
from proxy.adapters.ledger_memory import MemoryLedger
from proxy.adapters.local_models import LocalModels
from proxy.adapters.pauses import PauseFolder
from proxy.adapters.private import make_private
from proxy.adapters.transport_http import HttpTransport
from proxy.adapters.transport_offline import OfflineTransport
from proxy.adapters.turns import TurnFolder
from proxy.adapters.watch import watch
from proxy.config.cases import prove
from proxy.config.compile import Snapshot, exposure
from proxy.config.load import bytes_of, loads
from proxy.config.problems import ConfigError
from proxy.core.clock import Clock, SystemClock
from proxy.core.ports import FaultOf, Transport
from proxy.core.secret import Secret
from proxy.engine.admission import Admission
from proxy.engine.attempt import Attempts, Ears
from proxy.engine.catalog import Catalog
from proxy.engine.checks import Checks
from proxy.engine.door import Door
from proxy.engine.drain import Drain
from proxy.engine.examine import Examiner
from proxy.engine.live import Live
from proxy.engine.pictures import Pictures
from proxy.engine.pipeline import Engine
from proxy.engine.pulse import Pulse
from proxy.engine.readiness import Readiness
from proxy.engine.reload import Reloader
from proxy.engine.self_test import SelfTest
from proxy.engine.tasks import Duty, supervise, whenever
from proxy.web.app import Office, build_app
from proxy.web.identity import Identities
from proxy.wire import dialects as wire_dialects

log = logging.getLogger("failsoft")

_CATALOG_EVERY = 60.0
_GC_THRESHOLDS = (20_000, 20, 100)
"""A request leaves no cycles behind, so looking for them after every 700 allocations is work for nothing."""
ADMIN_KEY_FILE = "admin-key"
KEYS_FILE = "keys.db"
AUDIT_FILE = "audit.jsonl"
PAUSES_FOLDER = "maintenance"
TURNS_FOLDER = "turns"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where the process keeps what must outlive it: `$FAILSOFT_STATE`, else the user's state folder."""
    if chosen := environ.get("FAILSOFT_STATE"):
        return Path(chosen)
    base = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "failsoft"


def admin_keys(snapshot: Snapshot, folder: Path) -> tuple[Sequence[Secret], bool]:
    """The configured admin keys, else the one that an earlier start made, else a new one; and whether it is new.

    A made key is kept in a file that only its owner can read.
    """
    configured = [key for key in snapshot.server.admin_keys if key]
    if configured:
        return configured, False
    file = folder / ADMIN_KEY_FILE
    key = "fs-admin-" + secrets.token_urlsafe(24)
    is_new = not file.exists() and make_private(file, lambda draft: draft.write_text(key + "\n"))
    return [Secret(file.read_text().strip())], is_new


def assemble(
    snapshot: Snapshot,
    keys: Sequence[Secret],
    source: Callable[[], Snapshot] | None = None,
    folder: Path | None = None,
    clock: Clock | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    transport: Transport | None = None,
) -> ASGIApp:
    """The whole application around a snapshot; nothing runs before the server enters its lifespan.

    `source` reads the snapshot anew; without one the configuration stays as it is. `folder` is where the keys are that
    were made at run time, by default the state folder of this process. `clock` is the time by which policies decide,
    `pause` waits for so many seconds of it, and `transport` carries requests to upstreams: over sockets, if not given.
    """
    clock = clock or SystemClock()
    dialects = wire_dialects.discover()
    inbound = wire_dialects.heard(dialects)
    live = Live(snapshot, clock)
    transport = transport or HttpTransport()
    offline_paths = {
        path: inbound[name] for u in snapshot.upstreams.values() if u.offline for name, path in u.paths.items()
    }
    offline = partial(OfflineTransport, offline_paths, _satisfies)
    request_log = logs.RequestLog(snapshot.logging.format)
    records = MemoryLedger()
    folder = folder or state_folder(os.environ)
    readiness = Readiness(live, LocalModels(transport), TurnFolder(folder / TURNS_FOLDER).turn)
    pictures = Pictures(PictureFetcher())
    admission = Admission(clock)
    ears = Ears(live.health.hear, admission.began)
    attempts = Attempts(transport, offline, dialects, readiness, clock, _compile_schema, ears, pictures)
    engine = Engine(live, admission, attempts, inbound, [live, records, request_log], clock, pause)
    catalog = Catalog(live, transport, readiness)
    checks = Checks(live, transport)
    self_test = SelfTest(live, attempts, inbound["openai_chat"])
    pulse = Pulse()
    issued = KnownKeys(folder / KEYS_FILE)
    audit = AuditLog(folder / AUDIT_FILE)
    pauses = PauseFolder(folder / PAUSES_FOLDER, live.service.set_pause)

    def swapped() -> None:
        catalog.outdate()
        checks.outdate()
        self_test.outdate()
        admission.adopt(live.snapshot.upstreams.values())
        live.health.adopt(live.snapshot.upstreams)

    reloader = Reloader(live, source or (lambda: snapshot), swapped)
    hung_up = asyncio.Event()
    door = Door(live)
    drain = Drain(live, door)

    duties: dict[str, Duty] = {
        "catalog": lambda: catalog.keep_fresh(_CATALOG_EVERY),
        "checks": checks.keep,
        "local models": readiness.keep,
        "self-test": self_test.keep,
        "pulse": pulse.beat,
        "maintenance": pauses.follow,
        "hang-up": lambda: whenever(hung_up, reloader.reload),
    }
    if source is not None:
        duties["watch"] = lambda: watch(Path(snapshot.file), reloader.reload)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        pauses.look()
        with _on_hangup(hung_up.set), _on_termination(drain.ask):
            async with _doing(duties):
                yield
        await transport.aclose()
        issued.close()
        audit.close()
        request_log.flush()

    identities = Identities(live, issued, keys)
    office = Office(readiness, reloader, records, audit, pauses, self_test)
    return build_app(engine, door, catalog, pulse, office, dialects, identities, running)


@asynccontextmanager
async def _doing(duties: Mapping[str, Duty]) -> AsyncIterator[None]:
    """What is done in the background for as long as the server runs."""
    gc.collect()
    gc.freeze()  # what was built by now lives as long as the process: the collector need not look at it again
    gc.set_threshold(*_GC_THRESHOLDS)
    work = [asyncio.create_task(supervise(name, duty)) for name, duty in duties.items()]
    yield
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


@asynccontextmanager
async def examiner(snapshot: Snapshot) -> AsyncIterator[Examiner]:
    """What tries the upstreams of a snapshot, by the same attempts that requests make."""
    clock = SystemClock()
    dialects = wire_dialects.discover()
    live = Live(snapshot, clock)
    transport = HttpTransport()
    readiness = Readiness(live, LocalModels(transport))
    offline = partial(OfflineTransport, {}, _satisfies)
    ears = Ears(live.health.hear, Admission(clock).began)
    attempts = Attempts(transport, offline, dialects, readiness, clock, _compile_schema, ears)
    chat = wire_dialects.heard(dialects)["openai_chat"]
    try:
        yield Examiner(live, transport, attempts, readiness, chat)
    finally:
        await transport.aclose()


def worker(file: Path, host: str, good: bytes) -> ASGIApp:
    """The application of one worker process, on `host`.

    One that takes the place of another may find a file that has become unfit since: then it begins with `good`, what
    was in it when it was last fit, like the others that go on with that.
    """
    snapshot = listening_on(host, _fit(file, host) or loads(good, str(file), os.environ))
    logs.configure(snapshot.logging.format, snapshot.logging.level)
    keys, _ = admin_keys(snapshot, state_folder(os.environ))
    return assemble(examined(snapshot), keys, source(file))


def _fit(file: Path, host: str) -> Snapshot | None:
    """What a reload would put in force now, or None if it would refuse the file."""
    try:
        snapshot = source(file)()
    except ConfigError:
        return None
    return None if exposure(snapshot.server, snapshot.anonymous, host) else snapshot


def source(file: Path) -> Callable[[], Snapshot]:
    """Reads `file` anew, with the environment of this process; refuses it if one of its own tests fails."""
    return lambda: proved(bytes_of(file), file)


def proved(data: bytes, file: Path) -> Snapshot:
    """The snapshot of what is, or was, in `file`. Raises ConfigError, also if one of its own tests fails."""
    snapshot = loads(data, str(file), os.environ)
    prove(snapshot, wire_dialects.discover())
    return snapshot


def listening_on(host: str, snapshot: Snapshot) -> Snapshot:
    """The same where another host was asked for than the file's: what may be served without a key depends on it."""
    return replace(snapshot, server=snapshot.server.model_copy(update={"host": host}))


def examined(snapshot: Snapshot) -> Snapshot:
    """The same with its own failing tests among the warnings, and said aloud.

    A start is not refused for them: a proxy that answers by a doubtful route is better than none.
    """
    try:
        prove(snapshot, wire_dialects.discover())
    except ConfigError as error:
        for problem in error.problems:
            log.error("a test of the configuration fails: %s", problem)
        return replace(snapshot, warnings=(*snapshot.warnings, *error.problems))
    return snapshot


@contextmanager
def _on_hangup(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` at each SIGHUP, where there is such a signal and this is the thread that gets it."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop.add_signal_handler(signal.SIGHUP, act)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def _on_termination(act: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """At each SIGTERM call `act` with what the server that runs this would have done by itself: to stop."""
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread() or not callable(stop):
        yield
        return
    loop.add_signal_handler(signal.SIGTERM, act, partial(stop, signal.SIGTERM, None))
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, stop)


def _satisfies(schema: Mapping[str, Any], value: Any) -> bool:
    """`schemas.satisfies`; the validator is loaded by the first caller who needs it."""
    from proxy.adapters.schemas import satisfies

    return satisfies(schema, value)


def _compile_schema(schema: Mapping[str, Any]) -> FaultOf:
    """`schemas.compile_schema`, loaded likewise."""
    from proxy.adapters.schemas import compile_schema

    return compile_schema(schema)
