"""A body that stays in its dialect is changed only where its upstream or its model would refuse it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.decision import Mode, Quirks, Target
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.family import Family
from proxy.wire.crossing import Crossing, insist, spoken_at
from tests.unit.routing.given import upstream
from tests.unit.wire.crossing import put

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f"}}


def target(quirks: Quirks = Quirks(), family: Family | None = None, *speaks: str) -> Target:  # noqa: B008
    paths = {name: f"/{name}" for name in speaks or ("openai_chat",)}
    return Target(replace(upstream("u"), quirks=quirks, paths=paths), "m", family=family)


def crossed(to: Target, params: dict[str, Any] | None = None, **fields: Any) -> Crossing:
    body = json.dumps({"model": "x", "messages": [USER], **fields}).encode()
    return put(body, to, params)


def sent(crossing: Crossing) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(crossing.take(0))
    return body


def test_a_field_that_the_upstream_refuses_is_left_out_and_said() -> None:
    crossing = crossed(target(Quirks(drop=("seed", "n"))), seed=1, n=1)
    assert crossing.losses == ("seed: the upstream refuses this field",)
    assert sent(crossing) == {"model": "m", "messages": [USER]}


def test_what_the_model_does_not_take() -> None:
    to = target(family=Family(sampling="never", efforts=("low", "high"), output=50))
    crossing = crossed(to, temperature=0.2, reasoning_effort="max", max_tokens=99, seed=1)
    assert sent(crossing) == {"model": "m", "messages": [USER], "reasoning_effort": "high", "max_tokens": 50, "seed": 1}
    assert [loss.partition(":")[0] for loss in crossing.losses] == ["reasoning_effort", "temperature", "max_tokens"]


def test_the_route_s_own_fields_must_fit_too() -> None:
    crossing = crossed(target(family=Family(sampling="never")), {"temperature": 0.2})
    assert "temperature" not in sent(crossing)


def test_no_reasoning_in_the_vendor_s_words() -> None:
    quirks = Quirks(unthinking={"thinking": {"type": "disabled"}})
    told = sent(crossed(target(quirks), reasoning_effort="none"))
    assert told == {"model": "m", "messages": [USER], "thinking": {"type": "disabled"}}
    assert sent(crossed(target(quirks), reasoning_effort="low"))["reasoning_effort"] == "low"


def test_messages_are_tidied() -> None:
    crossing = crossed(target(Quirks(unnamed=True)), messages=[USER | {"name": "ann"}])
    assert sent(crossing)["messages"] == [USER]
    assert crossing.losses == ("messages[0].name: the upstream refuses this field",)


@pytest.mark.parametrize("quirks", [Quirks(), Quirks(unnamed=True, plain_text=True, no_nulls=True, drop=("seed",))])
def test_what_fits_keeps_its_bytes(quirks: Quirks) -> None:
    body = b'{ "model": "m",  "messages": [ {"role":"user","content":"hi"} ], "temperature": 1 }'
    crossing = put(body, target(quirks, Family(sampling="never")))
    assert (crossing.take(0), crossing.losses, crossing.mode) == (body, (), Mode.IDENTITY)


def test_an_irregular_upstream_is_read_and_written_anew() -> None:
    crossing = crossed(target(Quirks(irregular=True)), seed=1)
    assert crossing.mode is Mode.TRANSLATE
    assert sent(crossing) == {"model": "m", "messages": [USER], "seed": 1}
    call = {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}
    answer = {"choices": [{"message": {"content": None, "tool_calls": [call]}}]}
    told = json.loads(crossing.answer([json.dumps(answer).encode()]).body)
    assert told["choices"][0]["message"]["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]
    assert told["choices"][0]["finish_reason"] == "tool_calls"
    assert told["object"] == "chat.completion"


def test_a_route_that_insists() -> None:
    to = target(Quirks(drop=("seed",)))
    insist(crossed(to))
    with pytest.raises(ProxyError, match="seed: the upstream refuses this field") as caught:
        insist(crossed(to, seed=1))
    assert (caught.value.kind, caught.value.param) == (ErrorKind.BAD_REQUEST, "seed")


NEWER = Family(max_tokens=False)


@pytest.mark.parametrize(
    ("quirks", "fields", "params", "told"),
    [
        (Quirks(), {"max_tokens": 9}, {}, {"max_completion_tokens": 9}),
        (Quirks(), {"max_completion_tokens": 9}, {}, {"max_completion_tokens": 9}),
        (Quirks(), {"max_tokens": 5, "max_completion_tokens": 9}, {}, {"max_completion_tokens": 9}),
        (Quirks(), {"max_completion_tokens": 5}, {"max_tokens": 9}, {"max_completion_tokens": 9}),
        (Quirks(rename={"max_completion_tokens": "max_tokens"}), {"max_tokens": 9}, {}, {"max_tokens": 9}),
    ],
)
def test_the_length_is_said_by_the_name_that_the_model_knows(
    quirks: Quirks, fields: Any, params: Any, told: Any
) -> None:
    """Nothing is lost by it; an upstream that knows the older name only has the last word."""
    crossing = crossed(target(quirks, NEWER), params, **fields)
    assert sent(crossing) == {"model": "m", "messages": [USER], **told}
    assert crossing.losses == ()


def test_legacy_completions_are_put_to_a_chat_model_as_chats() -> None:
    body = b'{"model":"x","prompt":"hi","max_tokens":9}'
    both = target(Quirks(), Family(completions=False), "openai_chat", "openai_completions")
    assert spoken_at(both, "openai_completions", body, {}) == "openai_chat"
    only = target(Quirks(), Family(completions=False), "openai_completions")
    assert spoken_at(only, "openai_completions", body, {}) == "openai_completions"


CAREFUL = Family(chat_tools="without_reasoning")


@pytest.mark.parametrize(
    ("family", "fields", "params", "wants"),
    [
        (None, {"tools": [TOOL]}, {}, False),
        (Family(), {"tools": [TOOL]}, {}, False),
        (Family(only_responses=True), {}, {}, True),
        (Family(chat_tools="no"), {"tools": [TOOL], "reasoning_effort": "none"}, {}, True),
        (Family(chat_tools="no"), {}, {}, False),
        (CAREFUL, {"tools": [TOOL]}, {}, True),
        (CAREFUL, {"tools": [TOOL], "reasoning_effort": "low"}, {}, True),
        (CAREFUL, {"tools": [TOOL], "reasoning_effort": "none"}, {}, False),
        (CAREFUL, {"tools": [TOOL]}, {"reasoning_effort": "none"}, False),
        (CAREFUL, {"tools": [TOOL], "reasoning_effort": "none"}, {"reasoning_effort": "low"}, True),
        (CAREFUL, {}, {"tools": [TOOL]}, True),
        (CAREFUL, {"tools": []}, {}, False),
        (CAREFUL, {"tools": [{"type": "custom", "custom": {"name": "g"}}]}, {}, False),
        (CAREFUL, {"tools": [{"type": "custom", "custom": {"name": "g"}}, TOOL]}, {}, True),
    ],
)
def test_who_must_be_asked_in_responses(family: Family | None, fields: Any, params: Any, wants: bool) -> None:
    both = target(Quirks(), family, "openai_chat", "openai_responses")
    body = json.dumps({"model": "x", "messages": [USER], **fields}).encode()
    assert spoken_at(both, "openai_chat", body, params) == ("openai_responses" if wants else "openai_chat")
    # Who does not speak it is asked as before.
    assert spoken_at(target(Quirks(), family), "openai_chat", body, params) == "openai_chat"
    hidden = body.replace(b'"tools"', b'"\\u0074ools"')
    assert spoken_at(both, "openai_chat", hidden, params) == ("openai_responses" if wants else "openai_chat")
