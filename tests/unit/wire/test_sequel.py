"""When a further request may be made for the rest of an answer, and what is in it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.core.chat import Chat, Message, ResponseFormat, TextPart
from proxy.core.decision import Quirks, Target
from proxy.core.family import UNKNOWN, Family
from proxy.wire.dialects.openai_completions import DIALECT as COMPLETIONS
from proxy.wire.sequel import prefill_path, prefilled, prevents_prefill, prevents_replay
from tests.unit.routing.given import upstream

CHAT = Chat("m", (Message("user", (TextPart("hi"),)),), stream=True)
PREFIX = Quirks(prefix_path="/beta/chat")
LEGACY = {"model": "m", "prompt": "a", "stream": True}


def target(family: Family | None = None, quirks: Quirks = Quirks()) -> Target:  # noqa: B008
    return Target(replace(upstream("u"), quirks=quirks), "m", family=family)


GOES_ON = target(Family(prefill=True))


def legacy(**fields: object) -> Chat:
    [chat] = COMPLETIONS.decode_request(json.dumps(LEGACY | fields).encode())
    return chat


@pytest.mark.parametrize(
    "chat",
    [replace(CHAT, n=2), replace(CHAT, logprobs=True), legacy(echo=True), legacy(logprobs=0), legacy(n=2)],
    ids=["choices", "logprobs", "echo", "legacy logprobs", "legacy choices"],
)
def test_what_can_be_told_only_once(chat: Chat) -> None:
    assert prevents_replay(chat)
    assert prevents_prefill(chat, "a", GOES_ON)


@pytest.mark.parametrize("chat", [CHAT, replace(CHAT, logprobs=False), legacy(), legacy(echo=False)])
def test_what_can_be_told_again(chat: Chat) -> None:
    assert prevents_replay(chat) is None


@pytest.mark.parametrize("family", [None, UNKNOWN, Family(prefill=False)])
def test_nobody_is_asked_to_go_on_who_is_not_known_to_do_so(family: Family | None) -> None:
    assert prevents_prefill(CHAT, "a", target(family))


def test_a_vendor_may_have_any_model_go_on_unless_it_is_known_to_refuse() -> None:
    assert prevents_prefill(CHAT, "a", target(None, PREFIX)) is None
    assert prevents_prefill(CHAT, "a", target(UNKNOWN, PREFIX)) is None
    assert prevents_prefill(CHAT, "a", target(Family(prefill=False), PREFIX))


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_there_must_be_something_to_go_on_with(text: str) -> None:
    assert prevents_prefill(CHAT, text, GOES_ON)


@pytest.mark.parametrize(
    "chat",
    [
        replace(CHAT, response_format=ResponseFormat("json_object")),
        replace(CHAT, response_format=ResponseFormat("json_schema")),
        replace(CHAT, reasoning_effort="low"),
        legacy(),
    ],
    ids=["json object", "json schema", "effort", "legacy"],
)
def test_what_can_not_be_gone_on_with(chat: Chat) -> None:
    assert prevents_prefill(chat, "a", GOES_ON)


@pytest.mark.parametrize(
    "chat", [CHAT, replace(CHAT, response_format=ResponseFormat("text")), replace(CHAT, reasoning_effort="none")]
)
def test_what_can_be_gone_on_with(chat: Chat) -> None:
    assert prevents_prefill(chat, "a", GOES_ON) is None


def body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def test_the_beginning_is_the_last_message() -> None:
    told = prefilled(body(temperature=0), "Hello \n", GOES_ON)
    assert told == {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello"}]}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_longest_rest_is_less_by_what_was_told(name: str) -> None:
    assert prefilled(body(**{name: 10}), "x" * 16, GOES_ON)[name] == 6
    assert prefilled(body(**{name: 3}), "x" * 16, GOES_ON)[name] == 1
    assert name not in prefilled(body(**{name: None}), "x", GOES_ON)


def test_a_vendor_that_wants_the_beginning_marked_gets_it_so() -> None:
    assert prefilled(body(), "Hello", target(None, PREFIX))["messages"][-1] == {
        "role": "assistant", "content": "Hello", "prefix": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("effort", "efforts", "said"),
    [("high", ("none", "high"), True), ("none", ("none", "high"), False), (None, None, False), ("high", None, False)],
)
def test_who_would_think_first_is_told_not_to(effort: str | None, efforts: tuple[str, ...] | None, said: bool) -> None:
    family = Family(prefill=True, default_effort=effort, efforts=efforts)
    assert ("reasoning_effort" in prefilled(body(), "Hello", target(family))) is said


@pytest.mark.parametrize("base", ["", "/v1", "/beta"])
def test_where_a_marked_beginning_is_gone_on_with(base: str) -> None:
    at = replace(upstream("u"), base=base)
    assert prefill_path(at) is None
    assert prefill_path(replace(at, quirks=PREFIX)) == "/beta/chat"
    assert prefill_path(replace(at, base=f"/gateway{base}", quirks=PREFIX)) == "/gateway/beta/chat"
