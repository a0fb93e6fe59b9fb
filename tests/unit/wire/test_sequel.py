"""When a further request may be made for the rest of an answer, and what is in it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.core.chat import Chat, Message, ResponseFormat, TextPart
from proxy.core.family import UNKNOWN, Family
from proxy.wire.dialects.openai_completions import DIALECT as COMPLETIONS
from proxy.wire.sequel import prefilled, prevents_prefill, prevents_replay

CHAT = Chat("m", (Message("user", (TextPart("hi"),)),), stream=True)
GOES_ON = Family(prefill=True)
LEGACY = {"model": "m", "prompt": "a", "stream": True}


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
    assert prevents_prefill(CHAT, "a", family)


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
    told = prefilled(body(temperature=0), "Hello \n")
    assert told == {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello"}]}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_longest_rest_is_less_by_what_was_told(name: str) -> None:
    assert prefilled(body(**{name: 10}), "x" * 16)[name] == 6
    assert prefilled(body(**{name: 3}), "x" * 16)[name] == 1
    assert name not in prefilled(body(**{name: None}), "x")
