"""Callers' keys that were made at run time, in an embedded database: hashed, so that the file gives no key away."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proxy.adapters.private import make_private
from proxy.core.digest import digest
from proxy.core.ports import IssuedKey

log = logging.getLogger("failsoft")

_SCHEMA = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    plan TEXT,
    label TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    revoked REAL
) STRICT
"""
_ALL = "SELECT id, digest, tenant, plan, label, created, expires, revoked FROM keys"
_INSERT = "INSERT INTO keys (id, digest, tenant, plan, label, created, expires, revoked) VALUES (?,?,?,?,?,?,?,?)"
_PATIENCE = 5.0  # seconds a command waits for another process that writes

_UNFIT = (sqlite3.Error, OSError, ValueError, OverflowError)
"""What a file that is no database of keys, or a damaged one, raises."""


class IssuedKeys:
    """What the command line does with keys. All methods raise sqlite3.Error or OSError if the file is of no use.

    The file is made by the first key, readable by its owner only. `wall` is the present time in UTC.
    """

    def __init__(self, file: Path, wall: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._file = file
        self._wall = wall

    def list(self) -> list[IssuedKey]:
        """All keys, the oldest first."""
        if not self._file.exists():
            return []
        with closing(_open(self._file, _PATIENCE)) as database:
            return sorted(_keys(database), key=lambda key: key.created)

    def create(self, tenant: str, plan: str | None, label: str, expires: datetime | None) -> tuple[str, IssuedKey]:
        """Make a key; returns it, the only time that it is seen, and what is kept of it."""
        shown, key = _new(tenant, plan, label, self._wall(), expires)
        if not self._file.exists():
            make_private(self._file, _make_schema)
        with self._writing() as database:
            database.execute(_INSERT, _row(key))
        return shown, key

    def revoke(self, id: str) -> bool:  # noqa: A002 — it is what it is called everywhere
        """Make a key useless; False if there is no such key, or it was revoked before."""
        if not self._file.exists():
            return False
        with self._writing() as database:
            when = self._wall().timestamp()
            done = database.execute("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (when, id))
            return done.rowcount == 1

    def rotate(self, id: str, overlap: timedelta) -> tuple[str, IssuedKey] | None:  # noqa: A002
        """A new key in place of an old one, which stays good for `overlap`; None if there is no such good key."""
        if not self._file.exists():
            return None
        now = self._wall()
        with self._writing() as database:
            old = next((key for key in _keys(database) if key.id == id and key.is_good(now)), None)
            if old is None:
                return None
            shown, key = _new(old.tenant, old.plan, old.label, now, old.expires)
            until = now + overlap if old.expires is None else min(old.expires, now + overlap)
            database.execute(_INSERT, _row(key))
            database.execute("UPDATE keys SET expires = ? WHERE id = ?", (until.timestamp(), id))
        return shown, key

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: what is read in it is still so when it writes."""
        with closing(_open(self._file, _PATIENCE)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")


class KnownKeys:
    """Implements `KeyStore`: the keys of a file that other processes write, held in memory, for they are few.

    A change is seen at the first question after `every` seconds. While the file cannot be read, or is gone, what was
    read before holds; if nothing was, keys count as existing, so that strangers are not let in.
    """

    def __init__(self, file: Path, monotonic: Callable[[], float] = time.monotonic, every: float = 1.0) -> None:
        self._file = file
        self._monotonic = monotonic
        self._every = every
        self._looked = float("-inf")
        self._database: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None
        self._version: int | None = None
        self._by_digest: dict[str, IssuedKey] = {}
        self._is_unreadable = False

    def find(self, digest: str) -> IssuedKey | None:
        self._look()
        return self._by_digest.get(digest)

    def has_any(self) -> bool:
        self._look()
        return bool(self._by_digest) or self._is_unreadable

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = self._place = self._version = None

    def _look(self) -> None:
        """Read the file again if somebody changed it."""
        now = self._monotonic()
        if now - self._looked < self._every:
            return
        self._looked = now
        try:
            self._read()
        except _UNFIT as error:
            self.close()
            is_busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY  # somebody writes just now
            if not self._is_unreadable and not is_busy:
                log.error("the keys cannot be read, the last known ones hold: %s", error)
            self._is_unreadable = True
        else:
            self._is_unreadable = False

    def _read(self) -> None:
        try:
            status = os.stat(self._file)  # noqa: PTH116 — as in watch.py
        except FileNotFoundError:
            if self._by_digest:
                raise
            return
        if self._database is None or self._place != (status.st_dev, status.st_ino):
            self.close()
            self._database = _open(self._file, patience=0)  # the event loop does not wait
            self._place = (status.st_dev, status.st_ino)
        (version,) = self._database.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._by_digest = {key.digest: key for key in _keys(self._database)}
            self._version = version


def _open(file: Path, patience: float) -> sqlite3.Connection:
    """A file that is not there is not made; whoever opens one mends what a writer that died has left half done."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=patience, isolation_level=None)


def _make_schema(file: Path) -> None:
    with closing(_open(file, _PATIENCE)) as database:
        database.execute(_SCHEMA)


def _new(
    tenant: str, plan: str | None, label: str, created: datetime, expires: datetime | None
) -> tuple[str, IssuedKey]:
    shown = "fs-" + secrets.token_urlsafe(32)
    return shown, IssuedKey("key_" + secrets.token_hex(4), digest(shown), tenant, plan, label, created, expires)


def _row(key: IssuedKey) -> tuple[object, ...]:
    times = [None if at is None else at.timestamp() for at in (key.created, key.expires, key.revoked)]
    return (key.id, key.digest, key.tenant, key.plan, key.label, *times)


def _keys(database: sqlite3.Connection) -> Sequence[IssuedKey]:
    return [_key(row) for row in database.execute(_ALL)]


def _key(row: tuple[str, str, str, str | None, str, float, float | None, float | None]) -> IssuedKey:
    id, digest, tenant, plan, label, created, *ends = row  # noqa: A001
    expires, revoked = (None if at is None else datetime.fromtimestamp(at, UTC) for at in ends)
    return IssuedKey(id, digest, tenant, plan, label, datetime.fromtimestamp(created, UTC), expires, revoked)
