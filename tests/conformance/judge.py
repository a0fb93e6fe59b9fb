"""From the evidence of a run to the word of a cell; a field that is lost in silence is no word but a failure.

refused    the client got a 400: from the proxy, before anything was sent, or from the vendor
exact      the upstream was told in its own words, the client was told what it answered, and nothing was lost
emulated   the upstream has no such field or form, and yet the client gets what it asked for
dropped    the upstream was asked without it, and the client was told so in `x-failsoft-lossy`
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.columns import Column
from tests.conformance.run import Bench, Run
from tests.upstream import Script

Json = Mapping[str, Any]
Send = Callable[[Bench, Column, Script, str, Json], Awaitable[Run]]
HI = {"role": "user", "content": "hi"}
HELLO = Script()
_MISSING = object()
USUAL = {"tool_choice": "auto"}
"""What is meant where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One row. `asks` are fields of the request; `says` is what the upstream then does.

    `lands` gives, for each dialect that has words for the feature, places in the upstream's body (`a.0.b`) and what
    stands there. `tells` is what the client must see; `stands_in` is what it sees where the feature is emulated.
    `path` begins the losses that are this feature's (by default its fields'). `then` makes a second request of the
    first answer's message, which is the one that is judged. `send` is how the request is made. `fails`: the
    client is to get this status and code, whatever the vendor's are.
    """

    name: str
    section: str
    asks: Json = field(default_factory=dict)
    says: Script | Callable[[Column], Script] = HELLO
    endpoint: str = "/v1/chat/completions"
    lands: Mapping[str, Json] | None = None
    tells: Callable[[Run], bool] = lambda run: True
    stands_in: Callable[[Run], bool] = lambda run: False
    path: str | tuple[str, ...] = ()
    then: Callable[[Json], Json] | None = None
    send: Send = Bench.ask
    fails: tuple[int, str | None] | None = None

    @property
    def body(self) -> Json:
        prompt = {"messages": [HI]} if self.endpoint.endswith("chat/completions") else {"prompt": "hi"}
        return prompt | self.asks


@dataclass(frozen=True)
class Cell:
    """A word, and why it is not `exact`."""

    word: str
    why: str = ""


async def cell(feature: Feature, column: Column, bench: Bench) -> Cell:
    """Run it and judge. Raises AssertionError if something is wrong or lost in silence."""
    script = feature.says(column) if callable(feature.says) else feature.says
    run = await feature.send(bench, column, script, feature.endpoint, feature.body)
    if feature.then is not None:
        assert run.answer.status == 200, run.answer.body
        run = await bench.ask(column, Script(), feature.endpoint, feature.body | feature.then(run.message))
    return judge(feature, run)


def judge(feature: Feature, run: Run) -> Cell:
    """The word that the evidence deserves."""
    if feature.fails is not None:
        return _judge_failure(feature.fails, run)
    if 400 <= run.answer.status < 500:
        rules = [rule for rule in run.column.rules if run.seen and rule.broken_by(run.seen[-1].request)]
        assert rules or not run.seen, f"refused for no known reason: {run.answer.body!r}"
        return Cell("refused", f"the vendor answers: {rules[0].message}" if rules else run.answer.error["message"])
    if feature.stands_in(run):
        return Cell("emulated", _why(_own(feature, run)) or f"asked in {run.dialect}")
    assert run.answer.status == 200, run.answer.body
    lost = _own(feature, run)
    if lost:
        return Cell("dropped", _why(lost))
    if feature.lands is not None:
        assert run.dialect in feature.lands, f"lost in silence: {run.dialect} has no place for it: {run.sent}"
        for place, value in feature.lands[run.dialect].items():
            found = [_at(run.sent, one) for one in place.split("|")]
            assert value in found or (value == USUAL.get(place) and found == [_MISSING]), f"{place}: {run.sent}"
    assert feature.tells(run), f"the client was not told: {run.answer.body!r}"
    return Cell("exact")


def _judge_failure(expected: tuple[int, str | None], run: Run) -> Cell:
    error = run.answer.error
    assert (run.answer.status, error["code"]) == expected, (run.answer.status, error)
    assert "scripted" not in error["message"] or run.answer.status == 400, "a vendor's words about itself are its own"
    return Cell("exact")


def _own(feature: Feature, run: Run) -> list[tuple[str, str]]:
    """The losses that concern the feature."""
    beginnings = feature.path or tuple(feature.asks.keys() - {"stream", "stream_options", "tools"})
    return [loss for loss in run.losses if loss[0].startswith(beginnings)]


def _why(losses: list[tuple[str, str]]) -> str:
    return "; ".join(dict.fromkeys(why for _, why in losses))


def _at(value: Any, place: str) -> Any:
    """What stands at `a.0.b`."""
    for step in place.split("."):
        if isinstance(value, list) and step.lstrip("-").isdigit() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return _MISSING
    return value
