"""Runs the `tests:` of a file: given a request and a state of the world, what the routes must decide.

They prove the file and not the machine: an upstream that only lacks its key counts as in service, time stands still,
and nothing is asked over a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from proxy.config.compile import Snapshot, with_every_key
from proxy.config.problems import ConfigError, Problem
from proxy.config.question import Assumed, Question, facts_of
from proxy.config.sections import CaseConfig, ExpectConfig, GivenConfig
from proxy.core.errors import ProxyError
from proxy.core.quantities import parse_moment
from proxy.routing.explain import Explanation, explain
from proxy.routing.globs import compile_globs
from proxy.routing.view import StillView
from proxy.wire.dialects import UpstreamDialect

USUAL_TIME = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""A Monday; holds where a case names no time."""

_PIXEL = "data:image/png;base64,iVBORw0KGgo="
_PARTS: Mapping[str, Mapping[str, Any]] = {
    "images": {"type": "image_url", "image_url": {"url": _PIXEL}},
    "audio": {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    "files": {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk=", "filename": "note.txt"}},
}
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "tools": {"tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]},
    "json_schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    },
    "logprobs": {"logprobs": True},
}
"""What each feature of `has` looks like in a request."""

_PROMPTED = ("/v1/completions",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case came out: `wrong` says what was expected and found, and is empty for a success."""

    name: str
    file: str
    line: int
    wrong: tuple[str, ...] = ()


def run(
    snapshot: Snapshot,
    dialects: Mapping[str, UpstreamDialect],
    cases: Sequence[CaseConfig] | None = None,
    line_of: Callable[[int], tuple[str, int]] | None = None,
) -> list[Outcome]:
    """Run the file's own cases, or others over its routes; `line_of` tells the file and line of a case's number."""
    proved = with_every_key(snapshot)
    place = line_of or (lambda number: _own_line(snapshot, number))
    return [
        Outcome(case.name or _name(number, case), *place(number), tuple(_wrong(case, proved, dialects)))
        for number, case in enumerate(snapshot.config.tests if cases is None else cases)
    ]


def prove(snapshot: Snapshot, dialects: Mapping[str, UpstreamDialect]) -> None:
    """Raises ConfigError with every case of the file that fails."""
    failed = [
        Problem(outcome.file, outcome.line, outcome.name, wrong)
        for outcome in run(snapshot, dialects)
        for wrong in outcome.wrong
    ]
    if failed:
        raise ConfigError(failed)


def _own_line(snapshot: Snapshot, number: int) -> tuple[str, int]:
    return snapshot.file, snapshot.document.lines.get(("tests", number), 1)


def _name(number: int, case: CaseConfig) -> str:
    expected = case.expect.model_dump(exclude_none=True)
    return f"tests[{number}]: " + ", ".join(f"{name} {value}" for name, value in expected.items())


def body_of(given: GivenConfig) -> bytes:
    """The request that a case describes."""
    said: dict[str, Any] = {"model": given.model, "stream": given.stream}
    if given.metadata:
        said["metadata"] = given.metadata
    for feature in given.has:
        said |= _FIELDS.get(feature, {})
    if given.endpoint in _PROMPTED:
        said["prompt"] = given.prompt if given.system is None else f"{given.system}\n\n{given.prompt}"
        return msgspec.json.encode(said)
    parts = [_PARTS[feature] for feature in given.has if feature in _PARTS]
    content: Any = [{"type": "text", "text": given.prompt}, *parts] if parts else given.prompt
    system = [] if given.system is None else [{"role": "system", "content": given.system}]
    said["messages"] = [*system, {"role": "user", "content": content}]
    return msgspec.json.encode(said)


def _wrong(case: CaseConfig, snapshot: Snapshot, dialects: Mapping[str, UpstreamDialect]) -> Iterator[str]:
    given = case.given
    question = Question(
        body=body_of(given),
        endpoint=given.endpoint,
        headers={name.lower(): value for name, value in given.header.items()},
        tenant=given.tenant,
        plan=given.plan,
        tokens=given.tokens,
    )
    moment = USUAL_TIME if given.at is None else parse_moment(given.at)
    view = Assumed(StillView(), dict.fromkeys(given.down, True))
    try:
        facts = facts_of(question, snapshot, dialects, lambda: moment)
    except ProxyError as error:
        if case.expect.error != _code(error):
            yield f"refused before any rule was asked: {error.status} {_code(error)}: {error.message}"
        return
    explanation = explain(snapshot.table, facts, view)
    for name, look in _LOOKS.items():
        expected = getattr(case.expect, name)
        if expected is not None and (found := look(explanation, case.expect)) is not None:
            yield f"{name}: expected {_shown(expected)}, found {found}"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _code(error: ProxyError) -> str:
    """What `error:` names: the code that the caller gets, or the kind where there is none."""
    return error.code or error.kind.label


Look = Callable[[Explanation, ExpectConfig], str | None]
"""What was found instead of what is expected, None if it is the same."""


def _differs(expected: object, found: object, explanation: Explanation) -> str | None:
    if expected == found:
        return None
    error = explanation.error
    if found is None and error is not None:
        return f"the error {error.status} {_code(error)}: {error.message}"
    return "nothing" if found is None else str(found)


def _route(seen: Explanation, expect: ExpectConfig) -> str | None:
    return _differs(expect.route, seen.decision.route if seen.decision else None, seen)


def _task(seen: Explanation, expect: ExpectConfig) -> str | None:
    told = _differs(expect.task, seen.task, seen)
    return told and f"{told} ({'; '.join(seen.evidence) or 'no evidence'})"


def _complexity(seen: Explanation, expect: ExpectConfig) -> str | None:
    return _differs(expect.complexity, seen.complexity, seen)


def _first(seen: Explanation, expect: ExpectConfig) -> str | None:
    found = None if seen.first is None else str(seen.first)
    fits = found is not None and compile_globs([str(expect.first)])(found)
    return None if fits else _differs(expect.first, found, seen)


def _targets(seen: Explanation, expect: ExpectConfig) -> str | None:
    expected = expect.targets or ()
    with_offline = any(target.startswith("offline/") for target in expected)
    candidates = seen.decision.candidates if seen.decision else ()
    found = [str(target) for target in candidates if with_offline or not target.upstream.offline]
    if len(found) == len(expected) and all(compile_globs([e])(f) for e, f in zip(expected, found, strict=True)):
        return None
    return _differs(expected, ", ".join(found) or None, seen)


def _level(seen: Explanation, expect: ExpectConfig) -> str | None:
    first = seen.first
    if first is not None and not first.upstream.offline:
        return f"an answer of {first}"
    return _differs(expect.level, None if first is None else first.model, seen)


def _error(seen: Explanation, expect: ExpectConfig) -> str | None:
    if seen.error is None:
        return f"the route {seen.decision.route if seen.decision else None}"
    return _differs(expect.error, _code(seen.error), seen)


_LOOKS: Mapping[str, Look] = {
    "route": _route,
    "task": _task,
    "complexity": _complexity,
    "first": _first,
    "targets": _targets,
    "level": _level,
    "error": _error,
}
"""Every key of `expect:`."""
