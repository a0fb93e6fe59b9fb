"""A private file is whole from its first moment, and its owner's alone."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from proxy.adapters.private import make_private


def test_only_the_owner_reads_it_whatever_the_umask(tmp_path):
    file = tmp_path / "state" / "failsoft" / "secret"
    before = os.umask(0)
    try:
        assert make_private(file, lambda draft: draft.write_text("x")) is True
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.read_text() == "x"
    assert list(file.parent.iterdir()) == [file]


def test_it_is_not_there_before_it_is_whole(tmp_path):
    file = tmp_path / "secret"

    def fill(draft: Path) -> None:
        draft.write_text("half")
        assert not file.exists()
        draft.write_text("whole")

    make_private(file, fill)
    assert file.read_text() == "whole"


def test_what_is_there_stays(tmp_path):
    file = tmp_path / "secret"
    file.write_text("mine")
    assert make_private(file, lambda draft: draft.write_text("yours")) is False
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_one_of_many_wins(tmp_path):
    file = tmp_path / "secret"
    barrier = threading.Barrier(8)
    won = []

    def run(number: int) -> None:
        barrier.wait()
        if make_private(file, lambda draft: draft.write_text(str(number))):
            won.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.read_text()] == [str(number) for number in won]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fill(_draft: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_private(tmp_path / "secret", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_mount_without_links_has_private_files_too(tmp_path, monkeypatch):
    def no_links(*_: object) -> None:
        raise PermissionError("links are not supported here")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    file = tmp_path / "secret"
    assert make_private(file, lambda draft: draft.write_text("x")) is True
    assert make_private(file, lambda draft: draft.write_text("y")) is False
    assert file.read_text() == "x"
    assert list(tmp_path.iterdir()) == [file]
