"""Maintenance is kept in one small private file for each upstream; whoever looks hears of every change, once."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.adapters.pauses import PauseFolder
from proxy.core.ports import Pause

PAUSE = Pause("new\ndisk", "abcd1234", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
OTHER = Pause("other", "abcd1234", datetime(2026, 1, 1, tzinfo=UTC))


class Ear:
    """What one process has heard since the last time."""

    def __init__(self, folder: Path) -> None:
        self._heard: list[tuple[str, Pause | None]] = []
        self.pauses = PauseFolder(folder, lambda name, pause: self._heard.append((name, pause)))

    def look(self) -> list[tuple[str, Pause | None]]:
        self._heard.clear()
        self.pauses.look()
        return sorted(self._heard, key=lambda heard: heard[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "maintenance"


@pytest.fixture
def ear(folder: Path) -> Ear:
    return Ear(folder)


def test_what_one_process_puts_all_hear_once(folder, ear):
    other = Ear(folder)
    assert ear.look() == other.look() == []
    ear.pauses.put("one", PAUSE)
    ear.pauses.put("two.b", OTHER)
    for one in (ear, other, Ear(folder)):
        assert one.look() == [("one", PAUSE), ("two.b", OTHER)]
        assert one.look() == []
    other.pauses.put("one", OTHER)
    other.pauses.put("two.b", None)
    assert ear.look() == [("one", OTHER), ("two.b", None)]


def test_to_end_what_is_not_there_is_nothing(ear):
    ear.pauses.put("one", None)
    assert ear.look() == []


def test_the_files_are_private_and_nothing_else_is_left(folder, ear):
    ear.pauses.put("one", PAUSE)
    (file,) = folder.iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("one.json", 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_that_says_nothing_changes_nothing(folder, ear, caplog):
    ear.pauses.put("one", PAUSE)
    ear.look()
    (folder / "one.json").write_text("{")
    assert ear.look() == []
    assert "one.json says nothing" in caplog.text


def test_a_folder_that_cannot_be_made(folder, ear):
    folder.parent.write_text("no folder")
    with pytest.raises(OSError, match="directory"):
        ear.pauses.put("one", PAUSE)
    assert ear.look() == []
