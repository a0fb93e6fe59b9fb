"""The form of a fault: what the first upstream does, and what client, upstreams, ledger and health make of it.

Each fault is played streamed and not, unless it says `only`; where it names what a client is told who has nobody else
(`alone`), also without the second upstream and without offline answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest

from proxy.core.usage import UsageRecord
from tests.e2e.harness import Answer, upstream
from tests.faults.invariants import is_stream
from tests.faults.stage import FIRST_WORDS, NO_OFFLINE, SECOND_WORDS, Stage
from tests.upstream import Script

WORDS = {"one": FIRST_WORDS, "two": SECOND_WORDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of the catalogue, or one of several.

    number, name   make its id: `39-reset-after-1-token[stream]`.
    one            the first upstream's scripts: a single one for ever, several one after another, then the default.
    asks           fields of the request. config: of the first upstream. sections: of the whole configuration.
    after          the upstream goes on after so many frames of a stream only when the client has read them; where the
                   client gets another number of frames, `heard` says how many.
    The client:
    by             who answers: `one`, `two`, or nobody. text: what is read; of nobody, what was read before the break.
    status, code   of the error. alone: the same without another upstream.
    unseen         bytes of the upstream's that reach no client.
    The upstreams, the ledger, health:
    tries          how each try ended, as `one fault`; the last is the one that answered.
    seen           how many prompts the first upstream saw; not written: as many as its tries.
    ended, source  of the record: how the request ended, who counted its tokens.
    billed         a try that failed may be billed.
    hurts          how many failures the first target's breaker counted.
    also           anything else that is to be looked at.
    """

    number: int
    name: str
    one: Script | Sequence[Script]
    tries: tuple[str, ...]
    hurts: int
    by: Literal["one", "two"] | None = "two"
    text: str | None = None
    status: int = 200
    code: str | None = None
    alone: tuple[int, str | None] | None = None
    only: Literal["whole", "stream"] | None = None
    after: int | None = None
    heard: int | None = None
    asks: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    unseen: tuple[bytes, ...] = ()
    seen: int | None = None
    ended: str = "stop"
    source: str = "vendor"
    billed: bool = False
    also: Callable[[Stage, Answer, UsageRecord], None] | None = None


def plays(faults: Sequence[Fault]) -> pytest.MarkDecorator:
    """Parametrizes a test by `fault`, `stream` and `alone`."""
    return pytest.mark.parametrize(("fault", "stream", "alone"), [*_plays(faults)])


def _plays(faults: Sequence[Fault]) -> Iterator[Any]:
    for fault in faults:
        for mode in ("whole", "stream"):
            if fault.only in (mode, None):
                for alone in (False, True) if fault.alone else (False,):
                    label = f"{fault.number}-{fault.name}[{mode}{' alone' if alone else ''}]"
                    marks = pytest.mark.fault(fault.number)
                    yield pytest.param(fault, mode == "stream", alone, id=label.replace(" ", "-"), marks=marks)


async def play(stage: Stage, fault: Fault, stream: bool, alone: bool) -> None:
    """Play one fault and look at it from all four sides."""
    await (_serve_alone(stage, fault) if alone else stage.serve(one=fault.config, **fault.sections))
    answer = await _ask(stage, fault, stream)
    (record,) = stage.records
    tries = tuple(made for made in fault.tries if not (alone and made.startswith("two")))

    if alone:
        assert fault.alone is not None
        assert (answer.status, answer.error["code"]) == fault.alone
        assert record.status == fault.alone[0]
    else:
        _judge_answer(answer, fault, stream)
        _judge_record(record, fault)
    assert not [words for words in fault.unseen if words in answer.body]
    assert stage.told() == tries
    assert any(made.may_be_billed for made in record.attempts) is fault.billed
    asked = [sum(made.startswith(name) for made in tries) for name in ("one", "two")]
    assert len(stage.one.seen) == (asked[0] if fault.seen is None else fault.seen)
    assert len(stage.two.seen) == asked[1]
    assert (await stage.health(model=record.attempts[0].model))["failures"] == fault.hurts
    if fault.also is not None and not alone:
        fault.also(stage, answer, record)


async def _serve_alone(stage: Stage, fault: Fault) -> None:
    await stage.serve({"one": upstream(stage.one, **fault.config)}, **{**fault.sections, **NO_OFFLINE})


async def _ask(stage: Stage, fault: Fault, stream: bool) -> Answer:
    gate = stage.one.gate()
    scripts = (fault.one,) if isinstance(fault.one, Script) else fault.one
    for script in scripts:
        if fault.after is not None:
            script = replace(script, pauses={fault.after: gate} | dict(script.pauses), before_end=gate)
        stage.one.script(script, times=None if isinstance(fault.one, Script) else 1)
    if fault.after is not None:
        return await stage.ask_until(fault.heard or fault.after, gate, **fault.asks)
    return await stage.ask(stream, **fault.asks)


def _judge_answer(answer: Answer, fault: Fault, stream: bool) -> None:
    assert answer.status == fault.status, answer.body
    if fault.code is not None:
        last = answer.frames[-1] if is_stream(answer) else answer.body
        assert f'"code":"{fault.code}"'.encode() in last
    if fault.by is not None:
        assert answer.headers["x-failsoft-upstream"] == fault.by
    assert "x-failsoft-offline" not in answer.headers
    if fault.text is not None or fault.by is not None:
        assert answer.text == (WORDS[fault.by or "one"] if fault.text is None else fault.text)
    assert is_stream(answer) is (stream and answer.status == 200)


def _judge_record(record: UsageRecord, fault: Fault) -> None:
    assert (record.ended, record.status) == (fault.ended, fault.status)
    assert (record.upstream or None) == fault.by
    if fault.by is not None:
        assert record.usage.source == fault.source
        assert record.usage.completion > 0
