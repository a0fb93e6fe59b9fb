from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from proxy.routing.globs import MAX_LENGTH, MAX_STARS, Glob, compile_glob, compile_globs

TEXT = st.text(alphabet="ab*?.\n", max_size=12)


@settings(deadline=None, max_examples=300)
@given(pattern=TEXT.filter(bool), text=st.text(alphabet="ab.\n", max_size=16))
def test_a_glob_means_what_a_shell_means(pattern: str, text: str) -> None:
    """Never giving back what an inner piece took changes no answer."""
    assert fnmatchcase(text, pattern) == compile_glob(pattern)(text)


@settings(deadline=None, max_examples=100)
@given(patterns=st.lists(TEXT.filter(bool), min_size=1, max_size=4), text=TEXT)
def test_several_globs_are_any_of_them(patterns: list[str], text: str) -> None:
    assert any(compile_glob(pattern)(text) for pattern in patterns) == compile_globs(patterns)(text)


def test_letters_of_regular_expressions_are_themselves() -> None:
    fits = compile_glob("a.b+[c]*")

    assert fits("a.b+[c]d")
    assert not fits("axb+[c]d")


def test_the_worst_glob_ends() -> None:
    """Backtracking over ten stars in a million letters would take longer than the universe has been there."""
    fits = compile_glob("*a" * MAX_STARS + "b")

    assert not fits("a" * 100_000)


@pytest.mark.parametrize("pattern", ["", "x" * (MAX_LENGTH + 1), "*a" * (MAX_STARS + 1)])
def test_what_could_run_away_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Glob).validate_python(pattern)
