"""Keys made at run time: what is kept of them, who sees a change and when, and what holds without the file."""

from __future__ import annotations

import logging
import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.adapters.keys_sqlite import IssuedKeys, KnownKeys
from proxy.core.clock import FakeClock
from proxy.core.digest import digest

EVERY = 1.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(epoch=datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture
def keys(file: Path, clock: FakeClock) -> IssuedKeys:
    return IssuedKeys(file, clock.wall)


@pytest.fixture
def known(file: Path, clock: FakeClock):
    store = KnownKeys(file, clock.monotonic, EVERY)
    yield store
    store.close()


def test_a_key_is_found_by_its_digest_and_comes_back_as_it_was_made(keys, known, clock):
    expires = clock.wall() + timedelta(days=90)
    shown, kept = keys.create("acme", "premium", "laptop", expires)
    assert shown.startswith("fs-")
    assert (kept.tenant, kept.plan, kept.label, kept.created, kept.expires) == (
        "acme", "premium", "laptop", clock.wall(), expires,
    )  # fmt: skip
    assert known.find(digest(shown)) == kept
    assert known.find(digest("fs-unknown")) is None
    assert keys.list() == [kept]


def test_no_two_keys_are_alike(keys):
    made = [keys.create("acme", None, "", None) for _ in range(3)]
    assert len({shown for shown, _ in made}) == len({kept.id for _, kept in made}) == 3
    assert {kept.id for kept in keys.list()} == {kept.id for _, kept in made}


def test_only_asking_makes_no_file(file, keys, known):
    assert keys.list() == []
    assert keys.revoke("key_0") is False
    assert keys.rotate("key_0", timedelta(0)) is None
    assert known.find("0" * 64) is None
    assert known.has_any() is False
    assert not file.parent.exists()


def test_the_file_is_its_owners_and_holds_nothing_but_hashes(file, keys):
    """Neither a key, nor the part that a person would take for one, is in any byte of the folder."""
    first, kept = keys.create("acme", None, "", None)
    second, _ = keys.rotate(kept.id, timedelta(hours=1))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["keys.db"]
    stored = file.read_bytes()
    for shown in (first, second):
        assert shown.removeprefix("fs-").encode()[:12] not in stored
        assert digest(shown).encode() in stored


def test_another_process_sees_a_revocation_within_its_look_interval(keys, known, clock):
    shown, kept = keys.create("acme", None, "", None)
    assert known.find(digest(shown)).is_good(clock.wall())
    assert keys.revoke(kept.id) is True
    clock.advance(EVERY * 0.99)
    assert known.find(digest(shown)).is_good(clock.wall()), "the file is not asked with every request"
    clock.advance(EVERY * 0.02)
    assert not known.find(digest(shown)).is_good(clock.wall())
    assert known.has_any(), "a revoked key is still a key that exists"


def test_a_key_is_revoked_once(keys):
    _, kept = keys.create("acme", None, "", None)
    assert keys.revoke(kept.id) is True
    assert keys.revoke(kept.id) is False
    assert keys.revoke("key_absent") is False


def test_after_its_rotation_a_key_is_good_for_the_overlap(keys, known, clock):
    old, kept = keys.create("acme", "free", "ci", None)
    new, successor = keys.rotate(kept.id, timedelta(hours=24))
    assert (successor.tenant, successor.plan, successor.label, successor.expires) == ("acme", "free", "ci", None)
    assert known.find(digest(old)).is_good(clock.wall() + timedelta(hours=23, minutes=59))
    assert not known.find(digest(old)).is_good(clock.wall() + timedelta(hours=24))
    assert known.find(digest(new)).is_good(clock.wall() + timedelta(days=999))


def test_rotation_prolongs_nothing(keys, clock):
    """A key that ends within the overlap ends then, and its successor with it."""
    soon = clock.wall() + timedelta(hours=1)
    _, kept = keys.create("acme", None, "", soon)
    _, successor = keys.rotate(kept.id, timedelta(hours=24))
    assert [key.expires for key in keys.list()] == [soon, soon]
    assert successor.expires == soon


def test_only_a_good_key_can_be_rotated(keys, clock):
    _, revoked = keys.create("acme", None, "", None)
    keys.revoke(revoked.id)
    _, expired = keys.create("acme", None, "", clock.wall() + timedelta(seconds=1))
    clock.advance(1)
    assert keys.rotate(revoked.id, timedelta(hours=1)) is None
    assert keys.rotate(expired.id, timedelta(hours=1)) is None
    assert len(keys.list()) == 2


def test_a_file_that_was_put_in_anothers_place_is_read(file, keys, known, clock, tmp_path):
    """As when a backup is restored: the old file, still open, is no longer the truth."""
    gone, _ = keys.create("acme", None, "", None)
    assert known.find(digest(gone))
    other = tmp_path / "other.db"
    shown, _ = IssuedKeys(other).create("acme", None, "", None)
    other.replace(file)
    clock.advance(EVERY)
    assert known.find(digest(shown))
    assert known.find(digest(gone)) is None


@pytest.mark.parametrize("damage", ["gone", "garbage", "emptied", "no table", "odd row"])
def test_without_a_readable_file_the_last_known_keys_hold(file, keys, known, clock, caplog, damage):
    """The outage of a disk locks nobody out and lets nobody in; it is said once."""
    caplog.set_level(logging.ERROR, "failsoft")
    shown, _ = keys.create("acme", None, "", None)
    assert known.find(digest(shown))
    sound = file.read_bytes()
    _damage(file, damage)
    for _ in range(3):
        clock.advance(EVERY)
        assert known.find(digest(shown))
        assert known.find(digest("stranger")) is None
        assert known.has_any()
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1
    file.unlink(missing_ok=True)
    file.write_bytes(sound)
    keys.create("late", None, "", None)
    clock.advance(EVERY)
    late = next(key for key in keys.list() if key.tenant == "late")
    assert known.find(late.digest) == late, "it is read again as soon as it can be"


@pytest.mark.parametrize("damage", ["garbage", "emptied", "no table", "odd row"])
def test_a_file_that_was_never_readable_counts_as_full_of_keys(file, keys, known, damage):
    """Else a damaged file would open the proxy to any key."""
    shown, _ = keys.create("acme", None, "", None)
    _damage(file, damage)
    assert known.has_any()
    assert known.find(digest(shown)) is None


def _damage(file: Path, damage: str) -> None:
    if damage == "gone":
        file.unlink()
    elif damage == "garbage":
        file.write_bytes(b"this is no database" * 1000)
    elif damage == "emptied":
        file.write_bytes(b"")
    else:
        with sqlite3.connect(file) as database:
            database.execute("DROP TABLE keys" if damage == "no table" else "UPDATE keys SET created = 1e300")
        database.close()


def test_a_file_that_somebody_writes_just_now_is_not_waited_for(file, keys, known, clock, caplog):
    caplog.set_level(logging.ERROR, "failsoft")
    shown, _ = keys.create("acme", None, "", None)
    assert known.find(digest(shown))
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    clock.advance(EVERY)
    assert known.find(digest(shown))
    assert known.has_any()
    assert not caplog.records, "this is no outage"
    writer.execute("UPDATE keys SET revoked = 1.0")
    writer.execute("COMMIT")
    writer.close()
    clock.advance(EVERY)
    assert known.find(digest(shown)).revoked


def test_a_writer_that_died_half_way_has_written_nothing(file, keys, known):
    """A rotation is one transaction: there is no moment with two good keys for ever, or with none."""
    shown, kept = keys.create("acme", None, "", None)

    with sqlite3.connect(file) as database:
        database.execute("CREATE TRIGGER no_end BEFORE UPDATE ON keys BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    database.close()
    with pytest.raises(sqlite3.Error):
        keys.rotate(kept.id, timedelta(hours=1))
    assert [key.id for key in keys.list()] == [kept.id]
    assert known.find(digest(shown)).expires is None
