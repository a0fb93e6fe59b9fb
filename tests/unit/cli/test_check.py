import json
from pathlib import Path

import pytest

from proxy.cli.main import main

GOOD = "upstreams: {home: {provider: lmstudio}}\n"
WARNED = GOOD + "routes: [{name: a, use: [home/x]}, {name: b, match: {model: m}, use: [home/y]}]\n"
HINTED = GOOD + "alerts: [{name: a, when: error_rate > 1% over 5m}]\n"
BAD = "upstreams: {home: {provider: lmstudo}}\nserver: {prot: 1}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "routes.yaml"


@pytest.mark.parametrize(
    ("text", "flags", "code"),
    [
        (GOOD, [], 0),
        (GOOD, ["--strict"], 0),
        (HINTED, ["--strict"], 0),
        (WARNED, [], 0),
        (WARNED, ["--strict"], 3),
        (BAD, [], 1),
        (BAD, ["--strict"], 1),
    ],
)
def test_exit_codes(file: Path, text: str, flags: list[str], code: int) -> None:
    file.write_text(text)

    assert main(["check", str(file), *flags]) == code


def test_every_finding_has_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(BAD)
    main(["check", str(file)])
    *findings, summary = capsys.readouterr().out.splitlines()

    assert findings == [
        f"{file}:1: error: upstreams.home.provider: unknown provider `lmstudo`; did you mean `lmstudio`?",
        f"{file}:2: error: server.prot: unknown key; did you mean `port`?",
    ]
    assert summary == f"{file}: 2 errors, 0 warnings, 0 hints"


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(WARNED)
    main(["check", str(file), "--json"])
    said = json.loads(capsys.readouterr().out)

    assert said["file"] == str(file)
    assert [(f["level"], f["line"], f["path"]) for f in said["findings"]] == [("warning", 2, "routes[1]")]


def test_a_file_that_is_not_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_the_file_of_the_folder_is_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(GOOD)
    monkeypatch.chdir(file.parent)
    main(["check"])

    assert capsys.readouterr().out == "routes.yaml: 0 errors, 0 warnings, 0 hints\n"


def test_without_one_it_is_the_packaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["check"]) == 0
    assert str(Path(__file__).parents[3] / "routes.yaml") in capsys.readouterr().out
