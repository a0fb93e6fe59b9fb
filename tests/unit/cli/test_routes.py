"""`failsoft routes diff`."""

import json
from pathlib import Path

import pytest

from proxy.cli.main import main
from tests.unit.config.test_replay import BIG, HEAD, SMALL, line


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    for name, route in (("old", BIG), ("new", SMALL)):
        (tmp_path / f"{name}.yaml").write_text(f"{HEAD}  - {route}\n")
    (tmp_path / "log.jsonl").write_text("\n".join([line(), line(), "something else"]))
    return [
        "routes",
        "diff",
        str(tmp_path / "old.yaml"),
        str(tmp_path / "new.yaml"),
        "--replay",
        str(tmp_path / "log.jsonl"),
    ]


def test_sentences(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0

    assert capsys.readouterr().out.splitlines() == [
        "2 requests replayed, 1 left out",
        "  1 lines: no request, or one refused before routing",
        "another route:  0 (0.0%)",
        "another target: 2 (100.0%)",
        "       2  all cloud/big → all cloud/small",
        "estimated cost: 0.0040 USD → 0.0004 USD (-90.0%), without 0 requests of unknown price",
    ]


def test_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main([*arguments, "--json"])
    said = json.loads(capsys.readouterr().out)

    assert (said["replayed"], said["routes_changed"], said["targets_changed"]) == (2, 0, 2)
    assert said["moves"] == [
        {"count": 2, "from": {"route": "all", "target": "cloud/big"}, "to": {"route": "all", "target": "cloud/small"}}
    ]


def test_an_empty_log(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(arguments[-1]).write_text("")

    assert main(arguments) == 0
    assert "another route:  0\n" in capsys.readouterr().out


@pytest.mark.parametrize("index", [2, 3, 5])
def test_a_file_that_is_not_there(arguments: list[str], index: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments[index] = "nowhere"

    assert main(arguments) == 1
    assert "nowhere" in capsys.readouterr().err
