"""Characters that were cut in two come together again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.lenient import Mender, mend, read_json, write_json


@given(st.text(max_size=20), st.lists(st.integers(0, 40), max_size=6))
@settings(max_examples=100, deadline=None)
def test_text_cut_between_code_units_is_mended(text: str, cuts: list[int]) -> None:
    units = text.encode("utf-16-le")
    places = sorted({0, len(units), *(2 * cut % (len(units) + 2) for cut in cuts)})
    pieces = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in pairwise(places)]
    mender = Mender()
    assert text == "".join(map(mender.feed, pieces)) + mender.close()


def test_halves_without_their_other_half_are_replaced() -> None:
    assert mend("a\ud800b\udc00") == "a\ufffdb\ufffd"
    mender = Mender()
    assert (mender.feed("x\ud83d"), mender.feed("y"), mender.close()) == ("x", "\ufffdy", "")
    assert (mender.feed("x\ud83d"), mender.close()) == ("x", "\ufffd")


@pytest.mark.parametrize("text", [b'"\\ud800"', b"NaN", b"[1e999]", b"1" + b"0" * 400])
def test_reads_what_strict_readers_refuse(text: bytes) -> None:
    write_json(read_json(text)).encode()


@pytest.mark.parametrize("text", [b"", b"[DONE]", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000])
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_json(text)
