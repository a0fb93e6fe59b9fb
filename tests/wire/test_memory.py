"""What streams of any size need of memory: no more than a short one, in every dialect and on every way to a client."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from proxy.core.errors import ErrorKind
from proxy.core.request import Peek
from proxy.wire import sse
from proxy.wire.bridge import Translation
from proxy.wire.dialects import Passage
from tests.wire.golden import CALLER, DIALECTS, HEARD

WORDS = "x" * 100_000


def frame(data: Mapping[str, Any]) -> bytes:
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def chunk(**choice: Any) -> bytes:
    return frame({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, **choice}]})


def candidate(text: str, **more: Any) -> bytes:
    return frame({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}]})


_TEXT = {"index": 0, "delta": {"type": "text_delta", "text": WORDS}}
PARTS: Mapping[str, tuple[bytes, bytes, bytes]] = {
    "openai_chat": (
        chunk(delta={"role": "assistant", "content": ""}),
        chunk(delta={"content": WORDS}),
        chunk(delta={}, finish_reason="stop") + b"data: [DONE]\n\n",
    ),
    "openai_completions": (
        b"",
        frame({"id": "c", "object": "text_completion", "model": "m", "choices": [{"index": 0, "text": WORDS}]}),
        frame({"id": "c", "model": "m", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
        + b"data: [DONE]\n\n",
    ),
    "anthropic_messages": (
        frame({"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": {}}})
        + frame({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        frame({"type": "content_block_delta", **_TEXT}),
        frame({"type": "content_block_stop", "index": 0})
        + frame({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}})
        + frame({"type": "message_stop"}),
    ),
    "gemini_generate": (b"", candidate(WORDS), candidate("", finishReason="STOP")),
    "openai_responses": (
        frame({"type": "response.created", "response": {"id": "r", "model": "m", "output": []}}),
        frame({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": WORDS}),
        frame(
            {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", "output": []}}
        ),
    ),
}
"""How an answer begins, goes on and ends."""


def tap(dialect: str) -> Passage:
    return HEARD[dialect].tap(Peek("m", stream=True))


def translation(dialect: str) -> Passage:
    return Translation(DIALECTS[dialect].decoder(), HEARD["openai_chat"].encoder(CALLER, 7))


WAYS = [
    *(pytest.param(tap, name, id=f"{name}-tap") for name in PARTS if name in HEARD),
    *(pytest.param(translation, name, id=f"{name}-translation") for name in PARTS if name != "openai_completions"),
]


def test_no_dialect_is_left_out() -> None:
    assert set(PARTS) == set(DIALECTS)


@pytest.mark.parametrize(("way", "dialect"), WAYS)
def test_100_megabytes_need_no_more_than_a_short_answer(way: Callable[[str], Passage], dialect: str) -> None:
    begin, piece, end = PARTS[dialect]
    passage = way(dialect)
    size = len(passage.feed(begin))
    tracemalloc.start()
    try:
        for _ in range(1000):
            size += len(passage.feed(piece))
        size += len(passage.feed(end)) + len(passage.close())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert passage.finished
    assert passage.failure is None
    assert size > 1000 * len(WORDS)
    assert peak < 16 * len(piece)


@pytest.mark.parametrize(("way", "dialect"), WAYS)
def test_an_event_of_more_than_8_megabytes_is_a_fault_and_not_an_allocation(
    way: Callable[[str], Passage], dialect: str
) -> None:
    passage = way(dialect)
    passage.feed(PARTS[dialect][0])
    passage.feed(b'data: {"candidates":"')
    piece = b"y" * (1 << 20)
    tracemalloc.start()
    try:
        for _ in range(4 * sse.LIMIT // len(piece)):
            passage.feed(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert passage.failure in (ErrorKind.NOT_AN_ANSWER, ErrorKind.FAULT, ErrorKind.BROKEN_STREAM)
    assert peak < 3 * sse.LIMIT
