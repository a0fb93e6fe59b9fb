"""Write a tiny llama model of random weights as a GGUF file, so that a real model server has something to run.

The format is GGUF version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): a header, typed metadata,
a table of tensors, then the tensors' bytes, each aligned. All numbers are little-endian. The model knows nothing;
what makes it useful is that it is real to the server: it tokenises, samples, streams, counts and can be constrained
by a grammar.
"""

import random
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ALIGNMENT = 32
WIDTH = 64
FEED_FORWARD = 128
HEADS = 4
LAYERS = 2
CONTEXT = 65536

EOS = 2
"""The id of the token that ends an answer. A `logit_bias` on it makes the model stop at once."""

TOOL_CALL = 3
"""The id of the token that opens a tool call. A `logit_bias` on it makes the model call a tool at once."""

_WORDS = """
▁ e t a o i n s r h l d u c m f y w g p b v k
▁the ▁a ▁of ▁to ▁and ▁in ▁it ▁is ▁that ▁was ▁for ▁on ▁as ▁with ▁at ▁by
é ß ▁日本 ▁語 😀 — … !
"""
WORDS = tuple(_WORDS.split())
"""Pieces of text that the model likes to say; `▁` (U+2581) is how the tokeniser writes a blank."""

CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Jinja; the server reads from it how this model writes a tool call, and holds the model to that form."""

_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_F32 = 0


@dataclass(frozen=True, slots=True)
class Value:
    """One metadata value: its GGUF type number and its packed bytes."""

    kind: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named float32 tensor; `shape` lists the fastest-running dimension first, as GGUF does."""

    name: str
    shape: tuple[int, ...]
    numbers: "array[float]"

    def packed(self) -> bytes:
        """The numbers as little-endian float32."""
        if sys.byteorder == "little":
            return self.numbers.tobytes()
        swapped = array("f", self.numbers)
        swapped.byteswap()
        return swapped.tobytes()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the vocabulary: its text, what it is worth to the tokeniser, and its GGUF kind."""

    text: str
    score: float
    kind: int


def write_tiny_llama(path: Path, seed: int = 20) -> Path:
    """Write the model to `path` and return it; the same seed gives the same bytes (484 KiB)."""
    vocabulary = tuple(_vocabulary())
    tensors = tuple(_tensors(vocabulary, random.Random(seed)))
    path.write_bytes(b"".join(_file(_metadata(vocabulary), tensors)))
    return path


def _vocabulary() -> Iterator[Token]:
    """The specials, the 256 bytes that spell anything else, then the words."""
    yield Token("<unk>", 0.0, _UNKNOWN)
    yield Token("<s>", 0.0, _CONTROL)
    yield Token("</s>", 0.0, _CONTROL)
    yield Token("<tool_call>", 0.0, _USER_DEFINED)
    yield from (Token(f"<0x{byte:02X}>", 0.0, _BYTE) for byte in range(256))
    yield from (Token(word, -float(rank), _NORMAL) for rank, word in enumerate(WORDS))


def _metadata(vocabulary: tuple[Token, ...]) -> dict[str, Value]:
    return {
        "general.architecture": _string("llama"),
        "general.name": _string("tiny random llama"),
        "general.alignment": _uint32(ALIGNMENT),
        "general.file_type": _uint32(_F32),
        "llama.vocab_size": _uint32(len(vocabulary)),
        "llama.context_length": _uint32(CONTEXT),
        "llama.embedding_length": _uint32(WIDTH),
        "llama.block_count": _uint32(LAYERS),
        "llama.feed_forward_length": _uint32(FEED_FORWARD),
        "llama.attention.head_count": _uint32(HEADS),
        "llama.attention.head_count_kv": _uint32(HEADS),
        "llama.attention.layer_norm_rms_epsilon": _float32(1e-5),
        "llama.rope.dimension_count": _uint32(WIDTH // HEADS),
        "tokenizer.ggml.model": _string("llama"),
        "tokenizer.ggml.tokens": _array(_STRING, (_text(token.text) for token in vocabulary)),
        "tokenizer.ggml.scores": _array(_FLOAT32, (struct.pack("<f", token.score) for token in vocabulary)),
        "tokenizer.ggml.token_type": _array(_INT32, (struct.pack("<i", token.kind) for token in vocabulary)),
        "tokenizer.ggml.unknown_token_id": _uint32(0),
        "tokenizer.ggml.bos_token_id": _uint32(1),
        "tokenizer.ggml.eos_token_id": _uint32(EOS),
        "tokenizer.ggml.add_bos_token": Value(_BOOL, b"\x01"),
        "tokenizer.ggml.add_space_prefix": Value(_BOOL, b"\x00"),
        "tokenizer.chat_template": _string(CHAT_TEMPLATE),
    }


def _tensors(vocabulary: tuple[Token, ...], chance: random.Random) -> Iterator[Tensor]:
    """The weights by the names the llama architecture gives them.

    The output rows of everything but words are zero, so words win and the end is never reached by itself: answers
    are readable and last exactly as long as `max_tokens` says.
    """

    def matrix(name: str, width: int, height: int, spread: float) -> Tensor:
        return Tensor(name, (width, height), array("f", _gauss(chance, width * height, spread)))

    def norm(name: str) -> Tensor:
        return Tensor(name, (WIDTH,), array("f", [1.0] * WIDTH))

    rows = (_gauss(chance, WIDTH, 0.5 if token.kind == _NORMAL else 0.0) for token in vocabulary)
    yield matrix("token_embd.weight", WIDTH, len(vocabulary), 1.0)
    yield norm("output_norm.weight")
    yield Tensor("output.weight", (WIDTH, len(vocabulary)), array("f", (x for row in rows for x in row)))
    for layer in range(LAYERS):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield matrix(f"blk.{layer}.{part}.weight", WIDTH, WIDTH, 0.2)
        for part in ("ffn_gate", "ffn_up"):
            yield matrix(f"blk.{layer}.{part}.weight", WIDTH, FEED_FORWARD, 0.2)
        yield matrix(f"blk.{layer}.ffn_down.weight", FEED_FORWARD, WIDTH, 0.2)
        yield norm(f"blk.{layer}.attn_norm.weight")
        yield norm(f"blk.{layer}.ffn_norm.weight")


def _gauss(chance: random.Random, count: int, spread: float) -> list[float]:
    return [chance.gauss(0.0, spread) for _ in range(count)]


def _file(metadata: dict[str, Value], tensors: tuple[Tensor, ...]) -> Iterator[bytes]:
    head = b"".join(_head(metadata, tensors))
    yield head + _padding(len(head))
    for tensor in tensors:
        packed = tensor.packed()
        yield packed + _padding(len(packed))


def _head(metadata: dict[str, Value], tensors: tuple[Tensor, ...]) -> Iterator[bytes]:
    yield b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        yield _text(key) + struct.pack("<I", value.kind) + value.packed
    offset = 0
    for tensor in tensors:
        yield _text(tensor.name) + struct.pack("<I", len(tensor.shape))
        yield struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape) + struct.pack("<IQ", _F32, offset)
        size = 4 * len(tensor.numbers)
        offset += size + len(_padding(size))


def _padding(size: int) -> bytes:
    return b"\x00" * (-size % ALIGNMENT)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _string(text: str) -> Value:
    return Value(_STRING, _text(text))


def _uint32(number: int) -> Value:
    return Value(_UINT32, struct.pack("<I", number))


def _float32(number: float) -> Value:
    return Value(_FLOAT32, struct.pack("<f", number))


def _array(kind: int, items: Iterable[bytes]) -> Value:
    packed = tuple(items)
    return Value(_ARRAY, struct.pack("<IQ", kind, len(packed)) + b"".join(packed))
