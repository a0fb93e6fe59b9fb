"""The model file: small, always the same, and laid out as GGUF says."""

import struct
from pathlib import Path

from tests.real.gguf import ALIGNMENT, EOS, TOOL_CALL, write_tiny_llama
from tests.real.llama import Llama


def test_the_same_seed_gives_the_same_small_file(tmp_path: Path) -> None:
    first = write_tiny_llama(tmp_path / "a.gguf", seed=1).read_bytes()
    assert write_tiny_llama(tmp_path / "b.gguf", seed=1).read_bytes() == first
    assert write_tiny_llama(tmp_path / "c.gguf", seed=2).read_bytes() != first
    assert len(first) < 2_000_000
    assert len(first) % ALIGNMENT == 0
    assert struct.unpack_from("<4sI", first) == (b"GGUF", 3)


def test_the_server_reads_from_the_file_what_was_written(tiny: Llama) -> None:
    meta = tiny.ask("/v1/models")["data"][0]["meta"]
    assert (meta["n_embd"], meta["n_ctx_train"], meta["ftype"]) == (64, 65536, "all F32")
    assert tiny.post("/detokenize", {"tokens": [TOOL_CALL]}) == {"content": "<tool_call>"}
    assert tiny.post("/tokenize", {"content": "</s>", "parse_special": True}) == {"tokens": [EOS]}


def test_any_text_survives_the_tokeniser(tiny: Llama) -> None:
    """What is no word is spelled in bytes, so no text is unknown to the model."""
    text = "Zürich, 東京, 🦙\u2028 and a tab\t"
    tokens = tiny.post("/tokenize", {"content": text})["tokens"]
    assert tiny.post("/detokenize", {"tokens": tokens})["content"].removeprefix(" ") == text
