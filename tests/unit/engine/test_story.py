"""What was told decides who may go on; the bytes that are sent are all there is to know of it."""

from __future__ import annotations

import json

import pytest

from proxy.core.chat import Chat
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.engine.story import Hop, Story
from proxy.wire.dialects.gemini_generate import DIALECT as GEMINI
from proxy.wire.dialects.openai_chat import DIALECT as CHAT

BROKEN = UpstreamFailure(ErrorKind.BROKEN_STREAM)


def chunk(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


def story(*told: bytes) -> tuple[Story, list[str]]:
    """A story, and how often its request was let go."""
    gone: list[str] = []
    one = Story(CHAT, lambda: gone.append("gone"))
    for data in told:
        one.hear(data)
    return one, gone


def test_a_text_can_be_gone_on_with() -> None:
    one, gone = story(chunk(role="assistant"), chunk(content="Hello"))
    assert one.break_off(BROKEN)
    assert (one.broken, gone) == (BROKEN, [])


@pytest.mark.parametrize("last", [chunk(refusal="no"), chunk(content="\ud83d")], ids=["more than text", "half"])
def test_anything_else_can_not(last: bytes) -> None:
    one, _ = story(chunk(content="Hello"), last)
    assert not one.break_off(BROKEN)
    assert one.broken is None


def test_the_request_is_let_go_once_it_is_of_no_use() -> None:
    assert story(chunk(content="Hello"), chunk(refusal="no"), chunk(refusal="!"))[1] == ["gone"]


@pytest.mark.parametrize("kind", [ErrorKind.REJECTED, ErrorKind.UNFIT, ErrorKind.CLIENT_GONE])
def test_who_else_could_not_do_better_is_not_asked(kind: ErrorKind) -> None:
    one, _ = story(chunk(content="Hello"))
    assert not one.break_off(UpstreamFailure(kind))


@pytest.mark.parametrize(
    ("way", "known", "more", "may"),
    [
        ("replay", "", chunk(content="!"), True),
        ("prefill", "Hello", b"", True),
        ("prefill", "Hello", chunk(content="!"), False),
        ("replay", "", chunk(refusal="no"), False),
    ],
    ids=["told further", "as it was", "gone on with already", "spoilt"],
)
def test_a_hop_is_made_only_while_it_can_be(way: str, known: str, more: bytes, may: bool) -> None:
    one, _ = story(chunk(content="Hello"))
    hop = Hop(way, one, Chat("m", ()), known)  # type: ignore[arg-type]
    one.hear(more)
    if may:
        hop.check()
        return
    with pytest.raises(UpstreamFailure) as raised:
        hop.check()
    assert (raised.value.kind, raised.value.sent) == (ErrorKind.DEPARTED, False)


def test_an_upstream_may_pause_while_it_can_be_asked_again() -> None:
    one, _ = story()
    assert one.ask_in(CHAT, is_last=False) is CHAT
    assert one.ask_in(GEMINI, is_last=True) is GEMINI
    for _ in range(3):
        assert one.ask_in(GEMINI, is_last=False) is not GEMINI
        one.reconnects += 1
    assert one.ask_in(GEMINI, is_last=False) is GEMINI
