"""Reading a file: whatever is in it, there is a snapshot or a list of mistakes."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.config.load import loads, read
from proxy.config.problems import ConfigError
from proxy.config.schema import Config
from tests.unit.config import golden

FILES = [golden.read(name)[0].encode() for name in golden.names()]


def refused(data: bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(data, golden.FILE, golden.ENVIRON)
    return str(caught.value).splitlines()


def only_config_error(data: bytes) -> None:
    refusal = None
    try:
        loads(data, golden.FILE, golden.ENVIRON)
    except ConfigError as error:
        refusal = error
    assert refusal is None or refusal.problems
    for problem in refusal.problems if refusal else ():
        assert problem.line >= 1
        assert problem.message
        assert str(problem).isprintable()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
@example(b"\xff\xfes\x00")
@example(b"\x00")
@example(b"a: \xed\xa0\x80")
@example(b"? ")
@example(b"- - - ? : &a *a")
@example("\N{NEXT LINE}\N{LINE SEPARATOR}a: b".encode())
def test_no_bytes_do_more_harm_than_an_error(data: bytes) -> None:
    only_config_error(data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FILES), st.data())
def test_no_damage_to_a_good_file_does_more_harm_than_an_error(file: bytes, data: st.DataObject) -> None:
    """A piece of one file is replaced by a piece of another: near misses reach deeper than noise."""
    other = data.draw(st.sampled_from(FILES))
    at, length = data.draw(st.integers(0, len(file))), data.draw(st.integers(0, 60))
    start, size = data.draw(st.integers(0, len(other))), data.draw(st.integers(0, 60))
    only_config_error(file[:at] + other[start : start + size] + file[at + length :])


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["a", "lmstudio", "a/b", "${KEY}", "10s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "use", "to", "not"]), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*Config.model_fields]), TREES, max_size=4))
def test_no_shape_of_a_section_does_more_harm_than_an_error(tree: dict[str, object]) -> None:
    only_config_error(json.dumps(tree).encode())


def test_a_file_over_a_mebibyte_is_one_clear_error() -> None:
    assert refused(b"a: b\n" * 1_000_000) == ["routes.yaml:1: the file is larger than 1 MiB"]


def test_a_file_of_very_many_values_is_one_clear_error() -> None:
    (line,) = refused(b"[" + b"1," * 500_000 + b"]")
    assert line == "routes.yaml:1: the file holds more than 100000 values"


def test_a_long_list_of_mistakes_is_cut() -> None:
    lines = refused(b"".join(b"key%d: 1\n" % number for number in range(5_000)))
    assert (len(lines), lines[-1]) == (101, "… and 4900 more")


def test_many_mistakes_cost_no_more_than_their_number() -> None:
    """Each unknown name is compared with the known ones: a file of nothing else must not take hours."""
    upstreams = "\n".join(f"  u{number}: {{provider: lmstudio}}" for number in range(1_000))
    routes = "\n".join(f"  - {{name: r{number}, use: [x{number}/y]}}" for number in range(10_000))
    assert len(refused(f"upstreams:\n{upstreams}\nroutes:\n{routes}\n".encode())) == 101


def test_names_that_stand_for_names_do_not_multiply() -> None:
    """Forty doublings are a billion targets, if each name is expanded each time."""
    names = "\n".join(f"  a{number}: [a{number + 1}, a{number + 1}]" for number in range(12))
    text = f"upstreams: {{l: {{provider: lmstudio}}}}\nmodels:\n{names}\n  a12: [l/x]\n"
    assert [str(target) for target in loads(text.encode(), "f", {}).models["a0"]] == ["l/x"]


def test_a_chain_of_names_has_an_end() -> None:
    names = "\n".join(f"  a{number}: [a{number + 1}]" for number in range(2_000))
    lines = refused(f"models:\n{names}\n  a2000: [offline/rules]\n".encode())
    assert "routes.yaml:17: models.a15[0]: names stand for names more than 16 deep" in lines


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake() -> None:
    snapshot = loads(b"\xef\xbb\xbfserver:\r\n  port: 1\r\n", "f", {})
    assert snapshot.server.port == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml:1: cannot be read: No such file"):
        read(tmp_path / "none.yaml", {})


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read("a\0b", {})


def test_a_file_is_read_with_its_name_and_a_fingerprint(tmp_path: Path) -> None:
    """Two files of the same bytes have one fingerprint, another byte another."""
    first, second, third = (tmp_path / name for name in "abc")
    for path, text in ((first, "server: {port: 1}"), (second, "server: {port: 1}"), (third, "server: {port: 2}")):
        path.write_text(text)
    prints = [read(path, {}).fingerprint for path in (first, second, third)]
    assert (prints[0] == prints[1], prints[0] == prints[2]) == (True, False)
    assert read(first, {}).file == str(first)


def test_a_document_of_two_thousand_routes_is_no_burden() -> None:
    """Not a time limit: the check is that the work is done once per route (it would not end otherwise)."""
    routes = "\n".join(f"  - {{name: r{number}, match: {{model: m{number}}}, use: [l/*]}}" for number in range(2_000))
    started = time.process_time()
    snapshot = loads(f"upstreams: {{l: {{provider: lmstudio}}}}\nroutes:\n{routes}\n".encode(), "f", {})
    assert len(snapshot.routes) == 2_000
    print(f"2,000 routes: {time.process_time() - started:.2f} s CPU")
