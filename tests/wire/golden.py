"""Golden answers: `<dialect>/<case>.sse` is what an upstream sent, `<case>.json` what becomes of it.

The first line of each says whether it was recorded or written by hand, and after what. `python -m tests.wire.golden`
writes the second files anew; a person reads the difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxy.core.chat import Chat, Message, TextPart
from proxy.core.request import Peek
from proxy.wire.bridge import Translation
from proxy.wire.dialects import Dialect, Passage, discover

FOLDER = Path(__file__).parents[1] / "golden" / "answers"
DIALECTS = discover()
SPOKEN = ("openai_chat", "openai_completions")
"""The dialects whose transcripts are run here."""
CALLER = Chat("m", (Message("user", (TextPart("hi"),)),), stream=True)


def names() -> list[str]:
    return sorted(
        str(path.relative_to(FOLDER).with_suffix("")) for name in SPOKEN for path in (FOLDER / name).glob("*.sse")
    )


def stream_of(name: str) -> bytes:
    return (FOLDER / f"{name}.sse").read_bytes()


def dialect_of(name: str) -> Dialect:
    return DIALECTS[name.partition("/")[0]]


def tapped(name: str, pieces: Iterable[bytes], *, include_usage: bool = False) -> dict[str, Any]:
    """What a tap makes of the stream: the client's bytes, and what it says of them."""
    return observe(dialect_of(name).tap(Peek("m", stream=True, include_usage=include_usage)), pieces)


def translated(name: str, pieces: Iterable[bytes]) -> dict[str, Any]:
    """The same of the way through the hub, to a client that speaks chat."""
    return observe(Translation(dialect_of(name).decoder(), DIALECTS["openai_chat"].encoder(CALLER, 7)), pieces)


def observe(passage: Passage, pieces: Iterable[bytes]) -> dict[str, Any]:
    out = b"".join(map(passage.feed, pieces)) + passage.close()
    return {
        "client": out.decode("utf-8").splitlines(keepends=True),
        "begun": passage.begun,
        "finished": passage.finished,
        "ended": passage.ended,
        "failure": passage.failure and passage.failure.label,
        "detail": passage.detail,
        "usage": passage.usage and asdict(passage.usage),
        "model": passage.model,
        "finish": passage.finish,
        "written": passage.written,
    }


def becomes(name: str) -> dict[str, Any]:
    """Everything that is expected of one transcript."""
    pieces: Sequence[bytes] = [stream_of(name)]
    found = {"tap": tapped(name, pieces)}
    if name.startswith("openai_chat/"):
        found["translation"] = translated(name, pieces)
    return found


if __name__ == "__main__":
    for case in names():
        (FOLDER / f"{case}.json").write_text(json.dumps(becomes(case), indent=1, ensure_ascii=False) + "\n")
