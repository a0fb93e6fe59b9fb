"""Turns between processes: real files, and a real process that dies while it is its turn."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from proxy.adapters.turns import TurnFolder

URL = "http://127.0.0.1:1234/v1"
HOLDER = """
import asyncio, sys
from pathlib import Path
from proxy.adapters.turns import TurnFolder

async def hold():
    async with TurnFolder(Path(sys.argv[1])).turn(sys.argv[2]):
        print("mine", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


async def test_one_at_a_time_at_one_server(tmp_path: Path) -> None:
    inside, most = 0, 0

    async def take() -> None:
        nonlocal inside, most
        async with TurnFolder(tmp_path).turn(URL):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(take() for _ in range(4)))
    assert most == 1


async def test_servers_have_turns_of_their_own(tmp_path: Path) -> None:
    folder = TurnFolder(tmp_path)
    async with folder.turn(URL), folder.turn(URL + "/other"):
        pass


async def test_who_is_killed_leaves_no_turn_behind(tmp_path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(tmp_path), URL, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"mine\n"
    taken = asyncio.Event()

    async def take() -> None:
        async with TurnFolder(tmp_path).turn(URL):
            taken.set()

    waiting = asyncio.create_task(take())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not taken.is_set()
    os.kill(holder.pid, signal.SIGKILL)
    await waiting
    await holder.wait()


async def test_who_gives_up_waiting_is_out_of_the_way(tmp_path: Path) -> None:
    folder = TurnFolder(tmp_path)
    async with folder.turn(URL):
        waiting = asyncio.create_task(folder.turn(URL).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with folder.turn(URL):
        pass


async def test_without_a_folder_everybody_is_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        async with TurnFolder(tmp_path / "file").turn(URL):
            pass
    assert "cannot take turns" in caplog.text
