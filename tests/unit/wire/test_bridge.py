"""A translation keeps the rules of the tap: when it begins, how it fails, how it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.chat import Chat, Message, TextPart
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import Event, Extra, Failed, Finish, Start
from proxy.core.usage import Usage, add_usage
from proxy.wire.bridge import LONGEST_ANSWER, Gathered, Translation, translate_answers
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.dialects.openai_completions import DIALECT as COMPLETIONS

DONE = b"data: [DONE]\n\n"
ASKED = Chat("m", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)
SILENT = replace(ASKED, include_usage=False)


def chunk(content: str | None = None, finish: str | None = None, index: int = 0, **top: Any) -> bytes:
    choice = {"index": index, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return (
        b"data: " + json.dumps({"id": "c", "model": "u", "created": 5, "choices": [choice], **top}).encode() + b"\n\n"
    )


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
GOOD = chunk("ab") + chunk("c") + chunk(finish="stop") + USAGE + DONE


def translation(chat: Chat = ASKED) -> Translation:
    return Translation(CHAT.decoder(), CHAT.encoder(chat, 9))


def told(out: bytes) -> list[Any]:
    """The data of all frames but the end mark."""
    return [json.loads(frame[6:]) for frame in out.decode().split("\n\n") if frame and frame != "data: [DONE]"]


def test_a_good_stream() -> None:
    passage = translation()
    out = passage.feed(GOOD)
    assert out.endswith(DONE)
    assert (passage.begun, passage.finished, passage.ended, passage.failure) == (True, True, True, None)
    assert (passage.model, passage.finish, passage.written) == ("u", "stop", 3)
    assert passage.usage == Usage(3, 2, source="vendor")
    chunks = told(out)
    assert {(one["id"], one["model"], one["created"]) for one in chunks} == {("c", "u", 5)}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [one["usage"] for one in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 5)
    assert passage.feed(GOOD) + passage.close() == b""


def test_usage_only_for_who_asked() -> None:
    passage = translation(SILENT)
    assert b"usage" not in passage.feed(GOOD)
    assert passage.usage is not None


def test_byte_by_byte_is_the_same() -> None:
    whole, slow = translation(), translation()
    assert whole.feed(GOOD) == b"".join(slow.feed(bytes([byte])) for byte in GOOD)


def test_it_begins_with_the_first_words() -> None:
    passage = translation()
    passage.feed(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n')
    assert not passage.begun
    passage.feed(chunk("a"))
    assert passage.begun


def test_a_finished_stream_without_end_mark_ends_well() -> None:
    passage = translation(SILENT)
    out = passage.feed(chunk("a") + chunk(finish="stop")) + passage.close()
    assert out.endswith(DONE)
    assert passage.ended


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (b"", ErrorKind.NOT_AN_ANSWER),
        (DONE, ErrorKind.NOT_AN_ANSWER),
        (b"<html>", ErrorKind.NOT_AN_ANSWER),
        (b"data: x\n\n", ErrorKind.NOT_AN_ANSWER),
        (chunk("a"), ErrorKind.BROKEN_STREAM),
        (chunk("a") + chunk("b", index=1) + chunk(finish="stop"), ErrorKind.BROKEN_STREAM),
        (chunk("a") + chunk("b", index=1) + chunk(finish="stop") + DONE, ErrorKind.BROKEN_STREAM),
        (chunk("a") + b'data: {"error":{"message":"x","code":503}}\n\n' + GOOD, ErrorKind.OVERLOAD),
        (chunk("a", finish="error"), ErrorKind.FAULT),
        (b"x" * (9 << 20), ErrorKind.NOT_AN_ANSWER),
    ],
)
def test_failures(stream: bytes, kind: ErrorKind) -> None:
    passage = translation()
    out = passage.feed(stream) + passage.close()
    assert passage.failure is kind
    assert passage.detail
    assert b"[DONE]" not in out
    assert b"error" not in out


def test_several_prompts_are_answered_through_one_encoder() -> None:
    """Choices are numbered on, the id is written once, usage is summed, the end mark comes last."""
    body = b'{"model":"m","prompt":["A","B"],"n":2,"echo":true,"stream":true,"stream_options":{"include_usage":true}}'
    chats = COMPLETIONS.decode_request(body)
    assert [chat.messages[0].text for chat in chats] == ["A", "B"]
    encoder = COMPLETIONS.encoder(chats[0], 9)
    stream = chunk("x") + chunk("y", index=1) + chunk(finish="stop") + chunk(finish="length", index=1) + USAGE + DONE
    first = Translation(CHAT.decoder(), encoder, offset=0, last=False)
    second = Translation(CHAT.decoder(), encoder, offset=2)
    out = first.feed(stream) + second.feed(stream.replace(b'"id": "c"', b'"id": "other"'))
    assert out.count(DONE) == 1
    assert out.endswith(DONE)
    texts = dict.fromkeys(range(4), "")
    finishes = {}
    for one in told(out):
        assert one["id"] == "c"
        for choice in one["choices"]:
            texts[choice["index"]] += choice["text"]
            finishes[choice["index"]] = choice["finish_reason"]
    assert texts == {0: "Ax", 1: "Ay", 2: "Bx", 3: "By"}
    assert finishes == {0: "stop", 1: "length", 2: "stop", 3: "length"}
    assert told(out)[-1]["usage"]["total_tokens"] == 10
    assert (first.usage, second.usage) == (Usage(3, 2, source="vendor"),) * 2


def test_whole_answers_to_several_prompts() -> None:
    chats = COMPLETIONS.decode_request(b'{"model":"m","prompt":["A","B"],"echo":true}')
    body = json.dumps(
        {
            "id": "c",
            "model": "u",
            "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        }
    ).encode()
    bodies = [body, b"\n\n" + body.replace(b'"c"', b'"d"')]
    answer = translate_answers(COMPLETIONS, chats, [CHAT.decode_body(one) for one in bodies], 9)
    told_body = json.loads(answer.body)
    assert (told_body["id"], told_body["object"], told_body["created"]) == ("c", "text_completion", 9)
    assert [(one["index"], one["text"]) for one in told_body["choices"]] == [(0, "Ax"), (1, "Bx")]
    assert (answer.usage, answer.written, answer.model) == (Usage(6, 4, source="vendor"), 2, "u")
    with pytest.raises(UpstreamFailure):
        translate_answers(COMPLETIONS, chats, [CHAT.decode_body(body), []], 9)


class Scripted:
    """A decoder that says what it is told to, whatever comes in."""

    ended = True

    def __init__(self, *events: Event) -> None:
        self.events = list(events)

    def feed(self, data: bytes) -> list[Event]:
        return self.events

    def close(self) -> list[Event]:
        return []


def test_a_trailing_event_does_not_open_a_finished_choice() -> None:
    passage = Translation(Scripted(Start("i", "m"), Finish("stop"), Extra("annotations", [1])), CHAT.encoder(ASKED, 9))
    assert passage.feed(b"x").endswith(DONE)
    assert passage.failure is None


def test_unknown_usage_counts_nothing() -> None:
    one = Usage(1, 2, source="vendor")
    assert add_usage(None, one) == one == add_usage(one, None)
    assert add_usage(None, None) is None
    assert add_usage(one, Usage(1, 1)) == Usage(2, 3, source="unknown")


def test_usage_of_which_a_part_was_counted_is_counted() -> None:
    told, counted = Usage(1, 2, source="vendor"), Usage(1, 1, source="counted")
    assert add_usage(told, counted) == Usage(2, 3, source="counted") == add_usage(counted, told)


def test_a_whole_answer_in_place_of_a_stream_has_a_length() -> None:
    gathered, piece = Gathered(CHAT), b" " * (1 << 20)
    for _ in range(LONGEST_ANSWER >> 20):
        assert gathered.feed(piece) == []
    assert [type(event) for event in gathered.feed(b" ")] == [Failed]
    assert gathered.ended
