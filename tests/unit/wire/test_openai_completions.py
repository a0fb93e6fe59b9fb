"""Legacy completions to clients of chat-only upstreams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion

from proxy.core.chat import Chat, Losses, TextPart, TokensPart
from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.events import Event, Finish, Reason, Refuse, Start, Text, Tokens, ToolOpen
from proxy.core.family import UNKNOWN
from proxy.core.usage import Usage
from proxy.wire import sse
from proxy.wire.dialects import discover
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.dialects.openai_completions import DIALECT as COMPLETIONS


def decode(**fields: Any) -> tuple[Chat, ...]:
    return COMPLETIONS.decode_request(json.dumps({"model": "m", **fields}).encode())


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a", [TextPart("a")]),
        (["a", "b"], [TextPart("a"), TextPart("b")]),
        ([1, 2], [TokensPart((1, 2))]),
        ([[1], [2, 3]], [TokensPart((1,)), TokensPart((2, 3))]),
        (["a", [1]], [TextPart("a"), TokensPart((1,))]),
        (None, [TextPart("")]),
    ],
)
def test_every_prompt_is_a_chat(prompt: Any, parts: list[Any]) -> None:
    chats = decode(prompt=prompt, n=2, max_tokens=5, stop="x", temperature=0.5)
    assert [part for chat in chats for message in chat.messages for part in message.parts] == parts
    assert {(chat.n, chat.max_tokens, chat.stop, chat.temperature) for chat in chats} == {(2, 5, ("x",), 0.5)}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt[1]"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": ["a"] * 65, "n": 2}, "prompt"),
        ({"prompt": "a", "n": "2"}, "n"),
        ({"prompt": "a", "seed": "x"}, "seed"),
    ],
)
def test_what_is_wrong_has_a_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ProxyError) as caught:
        decode(**fields)
    assert (caught.value.kind, caught.value.param) == (ErrorKind.BAD_REQUEST, param)


@pytest.mark.parametrize("fields", [{"suffix": "x"}, {"best_of": 2}, {"logprobs": 1}, {"prompt": [1]}])
def test_what_a_chat_model_cannot_do_is_refused(fields: dict[str, Any]) -> None:
    chats = decode(**{"prompt": "a", **fields})
    with pytest.raises(ProxyError) as caught:
        CHAT.encode_request(chats[0], Quirks(), UNKNOWN, Losses())
    assert caught.value.param in {*fields, "prompt"}


def test_what_a_chat_model_can_do_crosses() -> None:
    (chat,) = decode(prompt="a", echo=True, best_of=1, logit_bias={"1": 2}, user="u")
    assert json.loads(CHAT.encode_request(chat, Quirks(), UNKNOWN, Losses())) == {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "user": "u",
        "logit_bias": {"1": 2},
    }


EVENTS: list[Event] = [
    Start("i", "u", 5),
    Reason("thinking"),
    Text("b"),
    ToolOpen(0, "c", "f"),
    Finish("tool_calls"),
    Refuse("no", 1),
    Finish("length", 1),
    Tokens(Usage(1, 2, source="vendor")),
]


def streamed(chat: Chat) -> list[Any]:
    encoder = COMPLETIONS.encoder(chat, 9)
    out = b"".join(map(encoder.feed, EVENTS)) + encoder.close()
    frames = [frame.data or b"" for frame in sse.SSEDecoder().feed(out)]
    assert frames[-1] == b"[DONE]"
    for frame in frames[:-1]:
        if json.loads(frame)["choices"]:
            Completion.model_construct(**json.loads(frame))
    return [json.loads(frame) for frame in frames[:-1]]


@pytest.mark.parametrize("echo", [False, True])
def test_stream_and_body_say_the_same(echo: bool) -> None:
    """Thinking and tools have no place; a refusal is text; the prompt comes first if asked for."""
    (chat,) = decode(prompt="P:", n=2, echo=echo)
    prefix = "P:" if echo else ""
    body = json.loads(COMPLETIONS.encode_body(EVENTS, chat, 9))
    Completion.model_validate(body)
    expected = {0: (prefix + "b", "stop"), 1: (prefix + "no", "length")}
    assert {one["index"]: (one["text"], one["finish_reason"]) for one in body["choices"]} == expected
    assert body["usage"]["total_tokens"] == 3
    texts: dict[int, tuple[str, Any]] = {0: ("", None), 1: ("", None)}
    for one in streamed(chat):
        assert (one["id"], one["model"], one["created"], one["object"]) == ("i", "u", 5, "text_completion")
        assert "usage" not in one
        for choice in one["choices"]:
            texts[choice["index"]] = (texts[choice["index"]][0] + choice["text"], choice["finish_reason"])
    assert texts == expected


def test_usage_is_told_to_who_asked() -> None:
    (chat,) = decode(prompt="P", stream=True, stream_options={"include_usage": True})
    chunks = streamed(chat)
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 3)
    assert all(one["usage"] is None for one in chunks[:-1])


def test_as_an_upstream_it_is_identity_only() -> None:
    """Its streams can be read all the same, where somebody goes on with one."""
    (chat,) = decode(prompt="P")
    for ask in (
        lambda: COMPLETIONS.encode_request(chat, Quirks(), UNKNOWN, Losses()),
        lambda: COMPLETIONS.decode_body(b"{}"),
    ):
        with pytest.raises(ProxyError):
            ask()


def test_both_dialects_are_discovered() -> None:
    found = discover()
    assert found["openai_chat"] is CHAT
    assert found["openai_completions"] is COMPLETIONS
    assert COMPLETIONS.paths == ("/v1/completions",)
    error = ProxyError(ErrorKind.BAD_REQUEST, "no")
    assert COMPLETIONS.encode_error(error) == CHAT.encode_error(error)
    assert COMPLETIONS.encode_error_event(error) == CHAT.encode_error_event(error)
