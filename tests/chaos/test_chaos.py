"""The day of chaos in a few seconds, and that its judges see what is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.__main__ import chaos
from tests.chaos.crowd import Sight
from tests.chaos.verdict import Evidence, judge
from tests.e2e.harness import Answer

_GOOD = b'data: {"choices":[{"delta":{"content":"one-0 "},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_HEADERS = {"content-type": "text/event-stream", "x-request-id": "req_1"}


def sight(body: bytes = _GOOD, status: int = 200) -> Sight:
    return Sight("stream", 1.0, 2.0, Answer(status, _HEADERS, body))


OFFLINE = Sight("no offline answer", 1.0, 2.0, Answer(200, {**_HEADERS, "x-failsoft-offline": "rules"}, _GOOD))
QUIET = Evidence(
    sights=[sight()],
    outages=[],
    reloads=[(200, 200), (409, 409)],
    asked={"req_1": 4},
    records=[{"id": "req_1"}],
    status={"in_flight": 0, "buffered_bytes": 0, "upstreams": []},
    since=0.0,
    rss=(1, 2),
    sockets=(1, 1),
    output="all is well",
    exit_code=0,
)

BREACHES: dict[str, dict[str, Any]] = {
    "every client gets an answer": {"sights": [Sight("whole", 1.0, 2.0)]},
    "a sound request is answered": {"sights": [sight(status=500)]},
    "an offline answer": {"sights": [OFFLINE]},
    "a stream ends in exactly one way": {"sights": [sight(_GOOD.removesuffix(b"data: [DONE]\n\n"))]},
    "nobody reads the words of two": {"sights": [sight(_GOOD.replace(b"one-0 ", b"one-0 two-0"))]},
    "at most four tries": {"asked": {"req_1": 5}},
    "each request has one record": {"records": [{"id": "req_1"}, {"id": "req_1"}]},
    "good files are taken": {"reloads": [(200, 409)]},
    "at rest nothing is held": {"status": {"in_flight": 1, "buffered_bytes": 0, "upstreams": []}},
    "memory stays": {"rss": (0, 1 << 30)},
    "no socket is left": {"sockets": (1, 2)},
    "no secret leaves": {"output": "sk-chaos-canary-2"},
    "nothing fails inside": {"output": "Traceback"},
    "the proxy ends well": {"exit_code": 1},
}


async def test_a_short_day() -> None:
    verdicts, told = await chaos(4.0, seed=7, clients=8)
    assert [verdict for verdict in verdicts if not verdict.holds] == [], told


def test_a_quiet_day_has_no_breach() -> None:
    assert all(verdict.holds for verdict in judge(QUIET))


@pytest.mark.parametrize("invariant", BREACHES)
def test_a_breach_is_seen(invariant: str) -> None:
    breached = [v.invariant for v in judge(replace(QUIET, **BREACHES[invariant])) if not v.holds]
    assert [name for name in breached if name.startswith(invariant)] == breached != []
