"""What the wire layer costs: CPU microseconds per frame and per body, median and best of several rounds.

`python -m benchmarks.wire`. CPU time, not wall time: the machine may be busy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from proxy.core.chat import Chat, Losses, Message, TextPart
from proxy.core.decision import Quirks
from proxy.core.family import UNKNOWN
from proxy.core.request import Peek
from proxy.wire.bridge import Translation
from proxy.wire.dialects.anthropic_messages import DIALECT as MESSAGES
from proxy.wire.dialects.gemini_generate import DIALECT as GEMINI
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.dialects.openai_responses import DIALECT as RESPONSES

ROUNDS = 9
CALLS = 5_000

_CHUNK = (
    '{"id":"chatcmpl-ABCDEFGHIJKLMNOPQRSTUVWX","object":"chat.completion.chunk","created":1795000000,'
    '"model":"gpt-6-luna","choices":[{"index":0,"delta":{"content":" hello"},"finish_reason":null}]%s}'
)
FRAME = b"data: " + (_CHUNK % "").encode() + b"\n\n"
FRAME_NULL = b"data: " + (_CHUNK % ',"usage":null').encode() + b"\n\n"
FRAME_MESSAGES = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":" hello"}}\n\n'
)
_FRAMES_BEFORE = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"claude","usage":{}}}'
    b'\n\nevent: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text"}}'
    b"\n\n"
)
FRAME_GEMINI = (
    b'data: {"candidates": [{"content": {"parts": [{"text": " hello"}],"role": "model"},"index": 0}],'
    b'"usageMetadata": {"promptTokenCount": 12,"candidatesTokenCount": 2,"totalTokenCount": 54,"promptTokensDetails": '
    b'[{"modality": "TEXT","tokenCount": 12}],"thoughtsTokenCount": 40},"modelVersion": "gemini-3.8-flash",'
    b'"responseId": "mAitaLcmM73Szwb_2uCYCw"}\r\n\r\n'
)
FRAME_CRLF = FRAME.replace(b"\n", b"\r\n")

_TURN = b'{"role":"user","content":"%s"}' % (rb"Please say \"hello\" to everybody. " * 11)
_TURNS = b",".join([_TURN] * 5)
BODY = b'{"model":"fast","stream":true,"messages":[%s],"temperature":0.3}' % _TURNS
SPACED = b'{"model": "fast", "stream": true, "messages": [%s], "temperature": 0.3}' % _TURNS
LARGE = b'{"model":"fast","stream":true,"messages":[%s]}' % b",".join([_TURN] * 560)
ANSWER = b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":' + (
    b'"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":200}}'
) % (b"words and words " * 60)

FRAME_RESPONSES = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":7,'
    b'"item_id":"msg_68f0c1","output_index":0,"content_index":0,"delta":" hello","logprobs":[],"obfuscation":"x"}\n\n'
)

_PLAIN = Quirks()
_CALLER = Chat("m", (Message("user", (TextPart("hi"),)),), stream=True)


def cost(call: Callable[[], object]) -> tuple[float, float]:
    """Microseconds of CPU per call: median and best round."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CALLS):
            call()
        rounds.append((time.process_time() - start) / CALLS * 1e6)
    return statistics.median(rounds), min(rounds)


def main() -> None:
    """Print one line per piece of work."""
    peek = CHAT.peek(BODY)
    silent, asking = CHAT.tap(peek), CHAT.tap(Peek("fast", stream=True, include_usage=True))
    bridge = Translation(CHAT.decoder(), CHAT.encoder(_CALLER, 1))
    gemini = Translation(GEMINI.decoder(), CHAT.encoder(_CALLER, 1))
    messages = Translation(MESSAGES.decoder(), CHAT.encoder(_CALLER, 1))
    messages.feed(_FRAMES_BEFORE)
    responses = Translation(RESPONSES.decoder(), CHAT.encoder(_CALLER, 1))
    (chat,) = CHAT.decode_request(BODY)
    half = len(FRAME) // 2
    work: dict[str, Callable[[], object]] = {
        f"tap, frame of {len(FRAME)} bytes": lambda: asking.feed(FRAME),
        "tap, the same with usage:null taken out": lambda: silent.feed(FRAME_NULL),
        "tap, the same with CRLF": lambda: asking.feed(FRAME_CRLF),
        "tap, the same in two pieces": lambda: (asking.feed(FRAME[:half]), asking.feed(FRAME[half:])),
        "translate, the same frame chat to chat": lambda: bridge.feed(FRAME),
        f"translate, Messages frame of {len(FRAME_MESSAGES)} bytes": lambda: messages.feed(FRAME_MESSAGES),
        f"translate, Gemini's frame of {len(FRAME_GEMINI)} bytes": lambda: gemini.feed(FRAME_GEMINI),
        f"translate, responses frame of {len(FRAME_RESPONSES)} bytes": lambda: responses.feed(FRAME_RESPONSES),
        "encode_request for Messages": lambda: MESSAGES.encode_request(chat, _PLAIN, UNKNOWN, Losses()),
        "encode_request for responses": lambda: RESPONSES.encode_request(chat, _PLAIN, UNKNOWN, Losses()),
        "encode_request for Gemini": lambda: GEMINI.encode_request(chat, _PLAIN, UNKNOWN, Losses()),
        f"peek, body of {len(BODY)} bytes": lambda: CHAT.peek(BODY),
        "prepare, rename and ask for usage": lambda: CHAT.prepare(BODY, peek, "m", _PLAIN, {}),
        "prepare, the same written with spaces": lambda: CHAT.prepare(SPACED, peek, "m", _PLAIN, {}),
        "prepare, with an override": lambda: CHAT.prepare(BODY, peek, "m", _PLAIN, {"temperature": 1}),
        "decode_request": lambda: CHAT.decode_request(BODY),
        f"judge, answer of {len(ANSWER)} bytes": lambda: CHAT.judge(ANSWER),
    }
    for name, call in work.items():
        median, best = cost(call)
        print(f"{name:45} {median:8.2f} / {best:.2f} us")
    start = time.process_time()
    for _ in range(50):
        CHAT.prepare(LARGE, CHAT.peek(LARGE), "m", _PLAIN, {})
    print(f"{f'peek and prepare, body of {len(LARGE)} bytes':45} {(time.process_time() - start) / 50 * 1e6:8.2f} us")


if __name__ == "__main__":
    main()
