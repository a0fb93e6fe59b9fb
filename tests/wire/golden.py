"""Golden answers: `<dialect>/<case>.sse` is what an upstream sent, `<case>.json` what becomes of it.

`<case>.whole` is the same answer as it comes without streaming, where both are told. `<case>.asks` says what the proxy
itself sees to on the way through the hub: the `schema` an answer is held to, the `tag` of thinking. The first line of
each stream says whether it was recorded or written by hand, and after what. `python -m tests.wire.golden` writes the
`.json` files anew; a person reads the difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxy.adapters.schemas import compile_schema
from proxy.core.chat import Chat, Message, TextPart
from proxy.core.events import Event
from proxy.core.request import Peek
from proxy.wire.bridge import Translation
from proxy.wire.dialects import Decoder, Passage, discover, heard
from proxy.wire.held import Held, held_whole
from proxy.wire.structured import Form
from proxy.wire.thoughts import Apart, Thoughts

FOLDER = Path(__file__).parents[1] / "golden" / "answers"
DIALECTS = discover()
HEARD = heard(DIALECTS)
UNTRANSLATED = ("openai_completions",)
"""Dialects in which no upstream is asked on behalf of another."""
CALLER = Chat("m", (Message("user", (TextPart("hi"),)),), stream=True)


def names() -> list[str]:
    return sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("*/*.sse"))


def whole_names() -> list[str]:
    """Cases that are told without streaming, too."""
    return sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("*/*.whole"))


def stream_of(name: str) -> bytes:
    return (FOLDER / f"{name}.sse").read_bytes()


def whole_of(name: str) -> bytes:
    return (FOLDER / f"{name}.whole").read_bytes()


def dialect_of(name: str) -> str:
    return name.partition("/")[0]


def asks_of(name: str) -> tuple[str, Form | None]:
    """The tag of thinking, empty if there is none, and the form that the answer is held to."""
    path = FOLDER / f"{name}.asks"
    asks = json.loads(path.read_text()) if path.exists() else {}
    return asks.get("tag", ""), Form("{[", compile_schema(asks["schema"])) if "schema" in asks else None


def decoder_of(name: str) -> Decoder:
    decoder = DIALECTS[dialect_of(name)].decoder()
    tag, form = asks_of(name)
    if tag:
        decoder = Apart(decoder, tag)
    return decoder if form is None else Held(decoder, form)


def whole_events(name: str) -> Sequence[Event]:
    events = DIALECTS[dialect_of(name)].decode_body(whole_of(name))
    tag, form = asks_of(name)
    if tag:
        events = list(Thoughts(tag).events(events))
    return events if form is None else held_whole(events, form)


def tapped(name: str, pieces: Iterable[bytes], *, include_usage: bool = False) -> dict[str, Any]:
    """What a tap makes of the stream: the client's bytes, and what it says of them."""
    return observe(HEARD[dialect_of(name)].tap(Peek("m", stream=True, include_usage=include_usage)), pieces)


def translated(name: str, pieces: Iterable[bytes]) -> dict[str, Any]:
    """The same of the way through the hub, to a client that speaks chat."""
    return observe(Translation(decoder_of(name), HEARD["openai_chat"].encoder(CALLER, 7)), pieces)


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
        "unknown": dict(passage.unknown),
    }


WAYS: Mapping[str, Callable[[str, Iterable[bytes]], dict[str, Any]]] = {"tap": tapped, "translation": translated}


def ways(name: str) -> Sequence[str]:
    """How an answer of this dialect gets to a client."""
    dialect = dialect_of(name)
    return [*(["tap"] if dialect in HEARD else []), *([] if dialect in UNTRANSLATED else ["translation"])]


def becomes(name: str) -> dict[str, Any]:
    """Everything that is expected of one transcript."""
    return {way: WAYS[way](name, [stream_of(name)]) for way in ways(name)}


if __name__ == "__main__":
    for case in names():
        (FOLDER / f"{case}.json").write_text(json.dumps(becomes(case), indent=1, ensure_ascii=False) + "\n")
