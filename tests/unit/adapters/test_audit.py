"""The operators' log: private, append-only, one line for each deed, and never in the way of one."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.adapters.audit import MOST, AuditLog
from proxy.core.ports import Deed

START = datetime(2026, 1, 1, tzinfo=UTC)


def deed(number: int = 0, **fields: str) -> Deed:
    usual = {
        "who": "0a1b2c3d", "address": "127.0.0.1", "action": "maintenance", "subject": "one", "reason": "new disk",
        "result": "done",
    }  # fmt: skip
    return Deed(START + timedelta(seconds=number), **(usual | fields))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


@pytest.fixture
def audit(file: Path) -> Iterator[AuditLog]:
    log = AuditLog(file)
    yield log
    log.close()


async def test_what_was_written_is_there_the_newest_first(audit, file):
    for number in range(3):
        audit.write(deed(number))
    known = await audit.latest(2)
    assert (known.latest, known.unsaved) == ([deed(2), deed(1)], None)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["at"] for line in lines] == [f"2026-01-01T00:00:0{number}Z" for number in range(3)]
    assert lines[0] == {
        "at": "2026-01-01T00:00:00Z", "who": "0a1b2c3d", "address": "127.0.0.1", "action": "maintenance",
        "subject": "one", "reason": "new disk", "result": "done",
    }  # fmt: skip


async def test_nobody_else_can_read_it(audit, file):
    audit.write(deed())
    await audit.latest(1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_it_outlives_the_process_and_is_shared(audit, file):
    audit.write(deed(1))
    await audit.latest(1)
    other = AuditLog(file)
    other.write(deed(2))
    assert [one.at.second for one in (await other.latest(9)).latest] == [2, 1]
    assert [one.at.second for one in (await audit.latest(9)).latest] == [2, 1]
    other.close()


async def test_it_may_be_moved_away(audit, file):
    audit.write(deed(1))
    await audit.latest(1)
    file.rename(file.with_suffix(".1"))
    audit.write(deed(2))
    assert [one.at.second for one in (await audit.latest(9)).latest] == [2]


async def test_strangers_words_stay_on_their_line_and_short(audit, file):
    audit.write(deed(reason="a\r\n\x1b[31m\u2028\u202eb" + "x" * 5000, subject="\x00{}"))
    (line,) = file_lines(await audit.latest(1), file)
    assert len(line) < 1000
    assert line.isascii()
    assert '{}"' in line
    assert "\\\\r\\\\n\\\\x1b[31m\\\\u2028\\\\u202eb" in line


def file_lines(_written: object, file: Path) -> list[str]:
    return file.read_text().splitlines()


async def test_lines_that_are_none_are_passed_over(audit, file):
    audit.write(deed(1))
    await audit.latest(1)
    with file.open("a") as text:
        text.write('{"at": "2026-\nnonsense\n[]\n')
    audit.write(deed(2))
    assert [one.at.second for one in (await audit.latest(9)).latest] == [2, 1]


async def test_only_the_end_of_a_long_file_is_shown(audit):
    for number in range(MOST + 20):
        audit.write(deed(number))
    known = await audit.latest(MOST + 20)
    assert len(known.latest) == MOST
    assert known.latest[0] == deed(MOST + 19)


async def test_a_disk_that_takes_nothing_is_said_and_in_nobodys_way(audit, file, caplog):
    file.parent.write_text("no folder")
    with caplog.at_level(logging.ERROR, "failsoft"):
        audit.write(deed(1, reason="why"))
        known = await audit.latest(9)
    assert known.latest == [deed(1, reason="why")]
    assert "audit.jsonl" in (known.unsaved or "")
    assert "cannot be written" in caplog.text
    assert "maintenance one by 0a1b2c3d, done" in caplog.text

    file.parent.unlink()
    audit.write(deed(2))
    known = await audit.latest(9)
    assert (known.latest, known.unsaved) == ([deed(2), deed(1, reason="why")], None)


async def test_a_full_disk(audit, file, monkeypatch):
    """The system takes a part of a line and then no more; the next line is one of its own."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: real(descriptor, line[:20]))
    audit.write(deed(1))
    assert (await audit.latest(9)).unsaved is not None
    monkeypatch.undo()
    audit.write(deed(2))
    known = await audit.latest(9)
    assert ([one.at.second for one in known.latest], known.unsaved) == ([2, 1], None)
    assert json.loads(file.read_text().splitlines()[-1])["at"] == "2026-01-01T00:00:02Z"
