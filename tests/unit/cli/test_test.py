"""`failsoft test`."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from proxy.cli.main import main

ROUTES = "upstreams: {home: {provider: lmstudio}}\nroutes: [{name: rest, use: [home/*]}]\n"
PASSES = "tests:\n  - {name: good, expect: {route: rest}}\n"
FAILS = "tests:\n  - {name: good, expect: {route: rest}}\n  - {name: 'bad \x1b[1m', expect: {task: code}}\n".replace(
    "\x1b", "\\x1b"
).replace("'", '"')


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "routes.yaml"


def test_all_is_well(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(ROUTES + PASSES)

    assert main(["test", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == ["ok    good", "1 tests, 0 failed"]


def test_a_failure_is_told_with_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(ROUTES + FAILS)

    assert main(["test", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"{file}:5: task: expected code, found general" in out
    assert "2 tests, 1 failed" in out


def test_the_cases_beside_the_file_run_too(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(ROUTES + PASSES)
    beside = file.with_name("routes.test.yaml")
    beside.write_text(FAILS)

    assert main(["test", str(file)]) == 1
    out = capsys.readouterr().out
    assert "3 tests, 1 failed" in out
    assert f"{beside}:3: task" in out


def test_the_file_of_cases_can_be_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(ROUTES + FAILS)
    beside = file.with_name("routes.test.yaml")
    beside.write_text(PASSES)

    assert main(["test", str(beside)]) == 0
    assert "1 tests, 0 failed" in capsys.readouterr().out


def test_junit(file: Path, tmp_path: Path) -> None:
    file.write_text(ROUTES + FAILS)
    report = tmp_path / "report.xml"
    main(["test", str(file), "--junit", str(report)])
    suite = ElementTree.parse(report).getroot()[0]

    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    good, bad = suite
    assert (good.get("name"), good.get("line"), len(good)) == ("good", "4", 0)
    assert (bad.get("name"), bad[0].tag) == ("bad \ufffd[1m", "failure")
    assert "expected code" in (bad[0].get("message") or "")


def test_no_test_is_no_success(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(ROUTES)

    assert main(["test", str(file)]) == 1
    assert "write `tests:`" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["routes.yaml", "routes.test.yaml"])
def test_a_file_with_mistakes(file: Path, broken: str, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(ROUTES + PASSES)
    file.with_name(broken).write_text("testts: []\n")

    assert main(["test", str(file)]) == 1
    assert "testts: unknown key" in capsys.readouterr().err
