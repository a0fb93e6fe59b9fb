"""What must be true after every fault, whatever it was (reliability, the end of section 2).

`at_rest` waits until all work is over and then looks for what was left behind; `of_answers` reads what the clients got;
`of_records` the ledger; `of_secrets` everything that left the proxy. `sockets` is compared before and after.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.harness import Answer
from tests.faults.stage import FIRST_WORDS, PROMPT, SECOND_WORDS, SECRETS, Stage, soon

MOST_ATTEMPTS = 4
RESUMED = (b"x_failsoft", b"resumed")
"""A stream that holds the words of two answers says so by both of these."""
_VIEWS = ("status", "health", "statistics", "requests?limit=1000")


def sockets() -> set[str]:
    """The network's sockets this process has open; none where the system has no list of them.

    A loop wakes itself through sockets of its own, and uvloop has new ones each time that it is run.
    """
    return set(_sockets())


def _sockets() -> Iterator[str]:
    listing = Path("/proc/self/fd")
    if not listing.is_dir():
        return
    for entry in listing.iterdir():
        try:
            name = str(entry.readlink())
            is_wanted = name.startswith("socket:") and _family(int(entry.name)) != socket.AF_UNIX
        except OSError:
            continue  # the list's own descriptor
        if is_wanted:
            yield name


def _family(descriptor: int) -> int:
    """Raises OSError if it is no socket any more."""
    borrowed = socket.socket(fileno=descriptor)
    try:
        return borrowed.family
    finally:
        borrowed.detach()


async def at_rest(stage: Stage) -> None:
    """Nothing is under way, and nothing that was lent has not come back."""
    await soon(lambda: not held(stage), "still held when all was over")
    assert held(stage) == {}


def held(stage: Stage) -> dict[str, Any]:
    """What is under way or lent out at this moment, by name; empty at rest."""
    engine, door = stage.engine, stage.endpoint._door
    live, attempts = engine.live, engine._attempts
    pools = [place.pool for place in attempts._transport._places.values()]  # type: ignore[attr-defined]
    gates = engine.admission._gates.values()
    counts = {
        "requests in flight": live.under_way,
        "requests inside": len(door.inside),
        "bytes of bodies": door.buffered,
        "requests at upstreams": sum(live._busy.values()),
        "slots": sum(gate.slots.held for gate in gates),
        "places in line": sum(gate.slots.waiting + len(gate._waiting) for gate in gates),
        "repetitions": sum(budget.under_way for budget in live.health._budgets.values()),
        "probes": sum(breaker._is_probing for breaker in live.health._breakers.values()),
        "lingering answers": len(attempts._lingering),
        "connections in use": sum(len(pool._connections) - len(pool._idle) for pool in pools),
        "requests that wait for a connection": sum(len(pool._queue) for pool in pools),
        "tasks": [task for task in asyncio.all_tasks() - stage.tasks if task is not asyncio.current_task()],
    }
    return {name: count for name, count in counts.items() if count}


def of_answers(stage: Stage) -> None:
    """Each answer is whole or says that it is not, and holds the words of one upstream."""
    for answer in stage.answers:
        assert not (_words_of_two(answer) and not all(mark in answer.body for mark in RESUMED)), answer.body
        if is_stream(answer):
            one_end(answer)
        elif answer.status >= 400:
            assert answer.error["message"]


def is_stream(answer: Answer) -> bool:
    return answer.headers.get("content-type", "").startswith("text/event-stream")


def one_end(answer: Answer) -> None:
    """A stream ends in exactly one of: all choices finished and an end mark; one error event."""
    *before, last = answer.frames
    chunks = [json.loads(frame.removeprefix(b"data: ")) for frame in (*before, last) if b"[DONE]" not in frame]
    errors = [chunk for chunk in chunks if "error" in chunk]
    marks = answer.body.count(b"data: [DONE]")
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    finished = Counter(choice.get("index", 0) for choice in choices if choice.get("finish_reason"))
    if errors:
        assert (len(errors), marks) == (1, 0), answer.body
        assert b'"error"' in last, "the error event is the last"
    else:
        assert (marks, last) == (1, b"data: [DONE]"), answer.body
        assert set(finished) == {choice.get("index", 0) for choice in choices}, "every choice has finished"
    assert all(count == 1 for count in finished.values()), "and once"


def _words_of_two(answer: Answer) -> bool:
    return all(words.partition(" ")[0].strip(",").encode() in answer.body for words in (FIRST_WORDS, SECOND_WORDS))


def of_records(stage: Stage) -> None:
    """One record per request, of at most four tries; an answer tells its request by its id."""
    ids = Counter(record.id for record in stage.records)
    assert all(count == 1 for count in ids.values()), "no request has two records"
    assert len(ids) == stage.accepted, "every request has one"
    assert {answer.headers["x-request-id"] for answer in stage.answers} <= set(ids)
    for record in stage.records:
        tries = [attempt for attempt in record.attempts if attempt.upstream in ("one", "two", "three")]
        assert len(tries) <= MOST_ATTEMPTS, record
        assert record.ended, record
        assert record.status, record


async def of_secrets(stage: Stage, logs: str) -> None:
    """No key is in anything that left the proxy but for upstreams, no prompt in what operators see."""
    views = [json.dumps(await stage.proxy.admin(view)) for view in _VIEWS]
    answers = [f"{answer.headers} {answer.body.decode('utf-8', 'replace')}" for answer in stage.answers]
    for secret in SECRETS:
        assert not [text for text in (logs, *views, *answers) if secret in text], f"{secret} has left"
    assert not [text for text in (logs, *views) if PROMPT[:17] in text], "a prompt is shown"


def of_calls(stage: Stage) -> None:
    """No upstream is asked for an answer that the client has already."""
    for seen in (*stage.one.seen, *stage.two.seen):
        answered = stage.answered.get(seen.headers["x-client-request-id"])
        assert answered is None or seen.arrived <= answered, seen
