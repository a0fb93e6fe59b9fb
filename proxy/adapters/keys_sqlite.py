"""Callers' keys that were made at run time, in an embedded database: hashed, so that the file gives no key away."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proxy.core.digest import digest
from proxy.core.ports import IssuedKey

log = logging.getLogger("failsoft")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
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
_COLUMNS = "id, digest, tenant, plan, label, created, expires, revoked"
_LOOK_EVERY = 1.0  # seconds; a revoked key is good for this long at most
_BUSY = 5.0  # seconds to wait for another process that writes


class SqliteKeys:
    """Implements `KeyStore`, and what the command line does with keys.

    All keys are held in memory, for they are few; a change by any process is seen within a second. The file is made
    by the first key and readable by its owner only; before that there is none, and nothing is found. While it cannot
    be read, what was read before holds, and strangers are not let in.
    """

    def __init__(self, file: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._monotonic = monotonic
        self._connection: sqlite3.Connection | None = None
        self._looked = float("-inf")
        self._version: int | None = None
        self._by_digest: dict[str, IssuedKey] = {}
        self._is_unreadable = False

    def find(self, digest: str) -> IssuedKey | None:
        self._look()
        return self._by_digest.get(digest)

    def has_any(self) -> bool:
        self._look()
        return bool(self._by_digest) or self._is_unreadable

    def list(self) -> list[IssuedKey]:
        """All keys, the oldest first."""
        self._look()
        return sorted(self._by_digest.values(), key=lambda key: key.created)

    def create(self, tenant: str, plan: str | None, label: str, expires: datetime | None) -> tuple[str, IssuedKey]:
        """Make a key; returns it, the only time that it is seen, and what is kept of it."""
        shown = "fs-" + secrets.token_urlsafe(32)
        key = IssuedKey("key_" + secrets.token_hex(4), digest(shown), tenant, plan, label, datetime.now(UTC), expires)
        with self._writing() as database:
            database.execute(f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(key))  # noqa: S608
        return shown, key

    def revoke(self, id: str) -> bool:  # noqa: A002 — it is what it is called everywhere
        """Make a key useless at once; False if there is no such key that was good."""
        with self._writing() as database:
            now = datetime.now(UTC).timestamp()
            done = database.execute("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (now, id))
            return done.rowcount == 1

    def rotate(self, id: str, overlap: timedelta) -> tuple[str, IssuedKey] | None:  # noqa: A002
        """A new key in place of an old one, which stays good for `overlap`; None if there is no such good key."""
        now = datetime.now(UTC)
        old = next((key for key in self.list() if key.id == id and key.is_good(now)), None)
        if old is None:
            return None
        made = self.create(old.tenant, old.plan, old.label, old.expires)
        until = now + overlap if old.expires is None else min(old.expires, now + overlap)
        with self._writing() as database:
            database.execute("UPDATE keys SET expires = ? WHERE id = ?", (until.timestamp(), id))
        return made

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self._file.exists():
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(self._file, timeout=_BUSY)
        try:
            with database:
                database.execute(_SCHEMA)
                yield database
        finally:
            database.close()
            self._looked = float("-inf")

    def _look(self) -> None:
        """Read the file again if somebody changed it; asks at most once a second."""
        now = self._monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        try:
            self._read()
        except sqlite3.Error as error:
            if not self._is_unreadable:
                log.error("the keys cannot be read, the last known ones hold: %s", error)
            self._is_unreadable = True
        else:
            self._is_unreadable = False

    def _read(self) -> None:
        if self._connection is None:
            if not self._file.exists():
                return
            self._connection = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=_BUSY)
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM keys").fetchall()  # noqa: S608
            self._by_digest = {row[1]: _key(row) for row in rows}
            self._version = version


def _row(key: IssuedKey) -> tuple[object, ...]:
    times = [None if at is None else at.timestamp() for at in (key.created, key.expires, key.revoked)]
    return (key.id, key.digest, key.tenant, key.plan, key.label, *times)


def _key(row: tuple[str, str, str, str | None, str, float, float | None, float | None]) -> IssuedKey:
    created, expires, revoked = (None if at is None else datetime.fromtimestamp(at, UTC) for at in row[5:])
    assert created is not None
    return IssuedKey(row[0], row[1], row[2], row[3], row[4], created, expires, revoked)
