"""The stage of every fault, and the examination that follows each."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from tests.faults import invariants
from tests.faults.stage import Stage, soon, staged

PHASES: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")
"""Of a test; its own log begins anew with each of them."""


@pytest.fixture
async def stage(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> AsyncIterator[Stage]:
    """Two upstreams and, after `await stage.serve(…)`, a proxy; when the test is over, all invariants are checked."""
    before = invariants.sockets()
    async with staged() as made:
        yield made
        if made.is_open:
            await invariants.at_rest(made)
            invariants.of_answers(made)
            invariants.of_records(made)
            made.engine._ledgers[-1].flush()  # type: ignore[attr-defined]
            shown = capsys.readouterr()
            sys.stderr.write(shown.err)  # for the report of a test that fails
            logged = [caplog.handler.format(record) for when in PHASES for record in caplog.get_records(when)]
            await invariants.of_secrets(made, "\n".join((shown.out, shown.err, *logged)))
            invariants.of_calls(made)
    gc.collect(0)
    await soon(lambda: not invariants.sockets() - before, "a socket is still open")
