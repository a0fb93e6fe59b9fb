"""What must have been true of a chaotic day: one verdict per invariant, from all sides' views."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.chaos.crowd import PROMPT, Sight
from tests.chaos.trouble import NAMES
from tests.e2e.harness import ADMIN, CANARY, Answer
from tests.faults.invariants import MOST_ATTEMPTS

GROWTH: Final = 16 * 2**20
"""Bytes that a proxy may grow by after it has warmed up."""
SECRETS: Final = (CANARY, ADMIN, "sk-chaos-canary-2", PROMPT)
_FAIR: Final = {200, 429, 502, 503, 504}
"""What a client may get whose request is sound."""
_TRACES: Final = ("Traceback", "request failed", "attempt failed", "background task")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One invariant; `breaches` are the first of those that there were, in words."""

    invariant: str
    looked_at: int
    breaches: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.breaches


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was seen of a day, after its end.

    `outages` are the times without a proxy; `reloads` what they should have come to and did; `asked` counts the tries
    that upstreams saw per request; `records` and `status` are what the last proxy says at rest, `since` when it was
    started; `rss` and `sockets` are pairs of before and after. `exit_code` is how it ended.
    """

    sights: Sequence[Sight]
    outages: Sequence[tuple[float, float]]
    reloads: Sequence[tuple[int, int]]
    asked: Mapping[str, int]
    records: Sequence[Mapping[str, Any]]
    status: Mapping[str, Any]
    since: float
    rss: tuple[int, int]
    sockets: tuple[int, int]
    output: str
    exit_code: int


def judge(seen: Evidence) -> Iterator[Verdict]:
    """All verdicts."""
    stayed = [sight for sight in seen.sights if not sight.has_left and not _was_cut(sight, seen.outages)]
    answers = [sight.answer for sight in stayed if sight.answer is not None]
    sound = [sight.answer for sight in stayed if sight.answer is not None and sight.kind != "nonsense"]
    streams = [answer for answer in answers if _is_stream(answer)]
    yield _of("every client gets an answer", stayed, _unanswered)
    yield _of("a sound request is answered, or refused by a known error", sound, _unfair)
    yield _of("an offline answer comes to nobody who refuses it", stayed, _unwanted)
    yield _of("a stream ends in exactly one way", streams, _ends)
    yield _of("nobody reads the words of two", answers, _mixed)
    yield _of("at most four tries for a request", list(seen.asked.items()), _too_often)
    yield _of("each request has one record", *_recorded(seen, stayed))
    yield _of("good files are taken, bad ones refused", seen.reloads, _misread)
    yield _of("at rest nothing is held", [seen.status], _held)
    yield _grown("memory stays", seen.rss, GROWTH, "bytes")
    yield _grown("no socket is left", seen.sockets, 0, "sockets")
    yield _of("no secret leaves", [seen.output, *map(_text, answers)], _leaks)
    yield _of("nothing fails inside", seen.output.splitlines(), _failed)
    yield _of("the proxy ends well", [seen.exit_code], lambda code: f"exit code {code}" if code else None)


def _of(invariant: str, things: Sequence[Any], breach: Any) -> Verdict:
    found = (breach(thing) for thing in things)
    return Verdict(invariant, len(things), tuple([told for told in found if told][:3]))


def _grown(invariant: str, pair: tuple[int, int], most: int, unit: str) -> Verdict:
    before, after = pair
    told = f"{before} {unit} before, {after} after"
    return Verdict(f"{invariant} ({told})", 2, () if after - before <= most else (told,))


def _was_cut(sight: Sight, outages: Sequence[tuple[float, float]]) -> bool:
    """No proxy was there at some time of it."""
    return any(sight.began <= end and began <= sight.ended for began, end in outages)


def _unanswered(sight: Sight) -> str | None:
    if sight.is_forgotten:
        return f"{sight.kind}: no end after {sight.ended - sight.began:.0f} s"
    return None if sight.answer is not None else f"{sight.kind}: the connection broke"


def _unfair(answer: Answer) -> str | None:
    return None if answer.status in _FAIR else f"{answer.status}: {answer.body[:200]!r}"


def _unwanted(sight: Sight) -> str | None:
    is_offline = sight.answer is not None and "x-failsoft-offline" in sight.answer.headers
    return "an offline answer" if is_offline and sight.kind == "no offline answer" else None


def _is_stream(answer: Answer) -> bool:
    return answer.headers.get("content-type", "").startswith("text/event-stream")


def _ends(answer: Answer) -> str | None:
    if not answer.body.endswith(b"\n\n"):
        return f"half a frame: {answer.body[-80:]!r}"
    frames = [frame.removeprefix(b"data: ") for frame in answer.frames]
    documents = [json.loads(frame) for frame in frames if frame != b"[DONE]"]
    finishes = sum(bool(c.get("finish_reason")) for chunk in documents for c in chunk.get("choices", ()))
    ends = (frames.count(b"[DONE]"), finishes, sum("error" in document for document in documents))
    return None if ends in ((1, 1, 0), (0, 0, 1), (0, 1, 1)) else f"[DONE], finish, error: {ends}"


def _mixed(answer: Answer) -> str | None:
    speakers = [name for name in NAMES if f"{name}-0".encode() in answer.body]
    return None if len(speakers) < 2 else f"words of {' and '.join(speakers)}"


def _too_often(asked: tuple[str, int]) -> str | None:
    return None if asked[1] <= MOST_ATTEMPTS else f"{asked[1]} tries for {asked[0]}"


def _recorded(seen: Evidence, stayed: Sequence[Sight]) -> tuple[Sequence[tuple[str, int]], Any]:
    """The answers of the last proxy, as far back as it remembers, by how many records each has."""
    counts = Counter(record["id"] for record in seen.records)
    told = [s.answer.headers.get("x-request-id", "") for s in stayed if s.answer is not None and s.began > seen.since]
    remembered = told[-len(counts) // 2 :] if counts else []
    rows = list({**counts, **{name: counts[name] for name in remembered}}.items())
    return rows, lambda row: None if row[1] == 1 else f"{row[1]} records of {row[0]}"


def _held(status: Mapping[str, Any]) -> str | None:
    held = {name: status[name] for name in ("in_flight", "buffered_bytes") if status[name]}
    for upstream in status["upstreams"]:
        slots = upstream["slots"] or {}
        for name, count in {"requests": upstream["in_flight"], "slots": slots.get("in_flight")}.items():
            held |= {f"{upstream['name']}: {name}": count} if count else {}
    return str(held) if held else None


def _misread(reload: tuple[int, int]) -> str | None:
    return None if reload[0] == reload[1] else f"{reload[1]} in place of {reload[0]}"


def _text(answer: Answer) -> str:
    return f"{answer.headers} {answer.body!r}"


def _leaks(text: str) -> str | None:
    return next((f"{secret} in {text[:200]}" for secret in SECRETS if secret in text), None)


def _failed(line: str) -> str | None:
    return line[:500] if any(words in line for words in _TRACES) else None
