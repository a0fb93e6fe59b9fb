"""What a request's body holds, as far as rules ask: features, the last user's words, the size of its text.

Lean structs look at the few fields that matter and skip the rest; texts stay raw slices of the body until they are
wanted. Chat bodies, messages bodies and legacy completions bodies are read alike: field names do not clash. A body
that is not of these forms holds nothing: whether it is valid is not decided here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from msgspec import Raw, Struct

from proxy.core.usage import BYTES_PER_TOKEN

WORDS_LIMIT = 8192
"""Characters kept of one text: its head and its tail, half each."""
_TOKENS_PER_IMAGE = 1000  # vendors charge 85 (low detail) to some 1,500 (full detail) per image
MOST_TOKENS_PER_BYTE = 60
"""No body is estimated at more tokens than its bytes times this: the shortest image part has 16 bytes and a comma."""
_NULL = Raw(b"null")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a body holds.

    `features` are among tools, images, audio, files, json_schema and logprobs. `system` and `last_user` are cut to
    `WORDS_LIMIT` characters. `turns` counts user and assistant messages, `chars` the bytes of all messages' JSON
    without embedded data. `tokens` estimates the whole prompt. `group` is the caller's own mark of what belongs
    together (`prompt_cache_key`, `safety_identifier`).
    """

    features: frozenset[str] = frozenset()
    system: str = ""
    last_user: str = ""
    turns: int = 1
    chars: int = 0
    tokens: int = 0
    group: str | None = None


class _Part(Struct):
    type: str = ""
    image_url: Raw = _NULL
    input_audio: Raw = _NULL
    file: Raw = _NULL
    source: Raw = _NULL

    @property
    def data(self) -> tuple[Raw, ...]:
        """Everything in which bytes may be embedded as text."""
        return self.image_url, self.input_audio, self.file, self.source


class _Message(Struct):
    role: str = ""
    content: Raw = _NULL


class _Format(Struct):
    type: str = ""


class _Body(Struct):
    messages: list[_Message] = []
    prompt: Raw = _NULL
    system: Raw = _NULL
    tools: Raw = _NULL
    functions: Raw = _NULL
    modalities: Raw = _NULL
    response_format: _Format | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None


_body = msgspec.json.Decoder(_Body)
_parts = msgspec.json.Decoder(list[_Part])
_anything = msgspec.json.Decoder()

_PART_FEATURES = {
    "image_url": "images",
    "image": "images",
    "input_audio": "audio",
    "file": "files",
    "document": "files",
}
_INSTRUCTIONS = frozenset({"system", "developer"})
_SPOKEN = frozenset({"user", "assistant"})


def read_contents(body: bytes) -> Contents:
    """Read a body; never raises."""
    try:
        return _read(_body.decode(body), len(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Contents(tokens=len(body) // BYTES_PER_TOKEN)


def _read(body: _Body, size: int) -> Contents:
    contents = [message.content for message in body.messages]
    counts, embedded = _survey([body.system, *contents])
    asked = next((m.content for m in reversed(body.messages) if m.role == "user"), body.prompt)
    instructions = [body.system, *(m.content for m in body.messages if m.role in _INSTRUCTIONS)]
    chars = sum(len(memoryview(content)) for content in (contents or [body.prompt]))
    return Contents(
        features=frozenset(counts).union(_asked_for(body)),
        system=_cut("\n".join(filter(None, map(_text, instructions)))),
        last_user=_cut(_text(asked)),
        turns=sum(message.role in _SPOKEN for message in body.messages) or 1,
        chars=chars - embedded,
        tokens=(size - embedded) // BYTES_PER_TOKEN + counts["images"] * _TOKENS_PER_IMAGE,
        group=body.prompt_cache_key or body.safety_identifier,
    )


def _survey(contents: Iterable[Raw]) -> tuple[Counter[str], int]:
    """How many parts of each kind there are, and how many bytes of data are embedded in them."""
    counts: Counter[str] = Counter()
    embedded = 0
    for content in contents:
        if bytes(memoryview(content)[:1]) != b"[":
            continue
        for part in _parts.decode(content):
            if feature := _PART_FEATURES.get(part.type):
                counts[feature] += 1
                embedded += sum(len(memoryview(data)) for data in part.data)
    return counts, embedded


def _asked_for(body: _Body) -> Iterator[str]:
    """The features that fields of their own ask for."""
    if _filled(body.tools) or _filled(body.functions):
        yield "tools"
    if body.response_format is not None and body.response_format.type == "json_schema":
        yield "json_schema"
    if body.logprobs or body.top_logprobs:
        yield "logprobs"
    if b'"audio"' in memoryview(body.modalities).tobytes():
        yield "audio"


def _filled(value: Raw) -> bool:
    """True for a list that is not empty."""
    view = memoryview(value)
    return bytes(view[:1]) == b"[" and bool(view[1:-1].tobytes().strip())


def _text(content: Raw) -> str:
    """The text of a string, of a list of strings or of a list of parts; of anything else nothing."""
    value = _anything.decode(content)
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    pieces = (item.get("text") if isinstance(item, dict) else item for item in value)
    return "\n".join(piece for piece in pieces if isinstance(piece, str))


def _cut(text: str) -> str:
    """Head and tail of a long text, so that what stands first and last is kept."""
    if len(text) <= WORDS_LIMIT:
        return text
    half = WORDS_LIMIT // 2
    return f"{text[: half - 1]}\n{text[-half:]}"
