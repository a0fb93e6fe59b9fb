"""Faults 17 to 35: statuses, and bodies that are no answers."""

from __future__ import annotations

from tests.faults.scenario import Fault, play, plays
from tests.faults.stage import Stage
from tests.upstream import Script

REPEATED = ("one fault", "one fault", "two success")

FAULTS = (
    Fault(
        number=17, name="a-single-500", one=(Script(status=500),), tries=("one fault", "one success"), hurts=1, by="one"
    ),
    Fault(number=18, name="always-500", one=Script(status=500), tries=REPEATED, hurts=2, alone=(502, "upstream_fault")),
)


@plays(FAULTS)
async def test_fault(stage: Stage, fault: Fault, stream: bool, alone: bool) -> None:
    await play(stage, fault, stream, alone)
