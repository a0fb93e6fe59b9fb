from pathlib import Path

import pytest

from proxy.config.case_file import beside, read_cases
from proxy.config.problems import ConfigError


def test_the_two_files_know_each_other() -> None:
    assert beside(Path("a/routes.yaml")) == Path("a/routes.test.yaml")
    assert beside(Path("a/routes.test.yaml")) == Path("a/routes.yaml")


def test_cases_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "routes.test.yaml"
    file.write_text("tests:\n  - expect: {route: a}\n  - expect: {route: b}\n")

    found = read_cases(file)

    assert [case.expect.route for case in found.cases] == ["a", "b"]
    assert found.line_of(1) == (str(file), 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tests:\n  - expct: {}\n", "1: tests[0].expct: unknown key; did you mean `expect`?"),
        ("routes: []\n", "1: routes: unknown key"),
        ("tests: []\ntests: []\n", "2: tests: this key is written twice"),
        ("tests:\n  - {given: {at: noon}, expect: {}}\n", "expected a time such as 2026-01-02T03:04Z"),
    ],
)
def test_mistakes_are_told_like_those_of_a_configuration(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "x.test.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as refused:
        read_cases(file)

    assert told.removeprefix("1: ") in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_cases(tmp_path / "x.test.yaml")
