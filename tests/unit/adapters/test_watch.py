"""Changes of a file are noticed, once each, and only when it has come to rest."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.adapters.watch import signature, watch
from tests.unit.engine.virtual import run
from tests.upstream import PATIENCE

EVERY = 0.01


class Watched:
    """A file under watch; `looks` passes while the watcher looks so many times."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: asyncio.Queue[str] = asyncio.Queue()

    async def changed(self) -> None:
        await self.seen.put(self.file.read_text())

    async def next(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self.seen.get()


@pytest.fixture
async def watched(tmp_path) -> AsyncIterator[Watched]:
    file = tmp_path / "routes.yaml"
    file.write_text("zero")
    made = Watched(file)
    task = asyncio.create_task(watch(file, made.changed, EVERY))
    await asyncio.sleep(0)
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_file_written_in_place_and_one_put_in_its_place(watched, tmp_path):
    watched.file.write_text("one")
    assert await watched.next() == "one"
    other = tmp_path / "other"
    other.write_text("two")
    other.replace(watched.file)
    assert await watched.next() == "two"


async def test_a_file_that_comes_back(watched):
    watched.file.unlink()
    watched.file.write_text("again")
    assert await watched.next() == "again"
    assert watched.seen.empty()


async def test_a_link_that_turns_to_another_file(tmp_path):
    """As mounted configuration volumes are changed: by one link among the file's parents."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "routes.yaml").write_text(name)
    current = tmp_path / "current"
    current.symlink_to("old")
    made = Watched(current / "routes.yaml")
    task = asyncio.create_task(watch(made.file, made.changed, EVERY))
    await asyncio.sleep(0)
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(current)
    assert await made.next() == "new"
    task.cancel()


def test_a_file_that_is_still_being_written_is_not_read(tmp_path):
    """Half of a file can be a sound file too. The watcher looks at each full second of virtual time."""

    async def work() -> None:
        file = tmp_path / "routes.yaml"
        file.write_text("0")
        found: list[str] = []

        async def changed() -> None:
            found.append(file.read_text())

        task = asyncio.create_task(watch(file, changed, 1))
        await asyncio.sleep(0.5)
        for half in ("01", "012", "0123", "01234"):
            file.write_text(half)
            await asyncio.sleep(1)
            assert found == []
        await asyncio.sleep(1)
        assert found == ["01234"]
        await asyncio.sleep(10)
        assert found == ["01234"]
        task.cancel()

    run(work())


def test_a_signature_changes_with_the_file(tmp_path):
    file = tmp_path / "x"
    assert signature(file) is None
    file.write_text("one")
    first = signature(file)
    assert first == signature(file)
    os.utime(file, ns=(1, 1))
    touched = signature(file)
    assert touched != first
    file.write_text("three")
    os.utime(file, ns=(1, 1))
    resized = signature(file)
    assert resized != touched
    (tmp_path / "y").write_text("seven")
    os.utime(tmp_path / "y", ns=(1, 1))
    (tmp_path / "y").replace(file)
    assert signature(file) != resized, "another file of the same size and time"
