"""`failsoft explain` without a server; with one: tests/e2e/test_explain.py."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.main import main

ROUTES = """
upstreams: {home: {provider: lmstudio}, away: {provider: ollama}}
plans: {gold: {}}
tenants: {acme: {plan: gold}, public: {anonymous: true}}
routes:
  - {name: team, match: {header: {x-team: labs}}, use: [away/t]}
  - {name: night, match: {time: {hours: "22:00-06:00"}}, use: [away/n]}
  - {name: legacy, match: {endpoint: /v1/completions}, use: [home/l]}
  - {name: gold, match: {plan: gold}, use: [home/g, away/g]}
  - {name: rest, use: [home/*]}
"""
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    (tmp_path / "request.json").write_text(json.dumps(CHAT))
    return [str(tmp_path / "request.json"), "--file", str(tmp_path / "routes.yaml"), "--at", "2026-01-05T12:00Z"]


def explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["explain", *arguments, "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


@pytest.mark.parametrize(
    ("flags", "route", "first"),
    [
        ([], "rest", "home/auto"),
        (["--header", "X-Team=labs"], "team", "away/t"),
        (["--at", "2026-01-05T23:00Z"], "night", "away/n"),
        (["--at", "2026-01-05T23:00+05:00"], "rest", "home/auto"),
        (["--plan", "gold"], "gold", "home/g"),
        (["--tenant", "acme"], "gold", "home/g"),
        (["--tenant", "acme", "--assume", "home=down"], "gold", "away/g"),
        (["--tenant", "acme", "--assume", "home/g=open"], "gold", "away/g"),
        (["--assume", "home=lists:b,a"], "rest", "home/a"),
        (["--assume", "home=lists:a", "--assume", "home=down"], "rest", "offline/rules"),
    ],
)
def test_what_can_be_said(
    files: list[str], flags: list[str], route: str, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = explained([*files, *flags], capsys)

    assert (said["route"], said["first"]) == (route, first)


def test_another_endpoint(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_text('{"model": "auto", "prompt": "Once"}')

    assert explained([*files, "--endpoint", "/v1/completions"], capsys)["route"] == "legacy"


def test_sentences(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *files, "--tenant", "acme"]) == 0
    out = capsys.readouterr().out

    assert "route gold   matched 4th of 5: plan gold in [gold] ✓" in out
    assert "1 home/g             identity   costs nothing" in out
    assert "not taken: 1 team (header x-team (absent) not in [labs])" in out


def test_a_request_from_standard_input(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Input:
        buffer = io.BytesIO(json.dumps(CHAT).encode())

    monkeypatch.setattr("sys.stdin", Input)

    assert explained(["-", *files[1:]], capsys)["route"] == "rest"


def test_an_error_is_an_explanation(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_text(json.dumps(CHAT | {"model": "nobody-has-it"}))

    said = explained([*files, "--assume", "home=lists:others"], capsys)
    assert said["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--assume", "hom=down"], "no upstream `hom`"),
        (["--plan", "silver"], "400 invalid_request_error: The file has no plan `silver`"),
        (["--at", "noon"], "expected a time such as"),
        (["--endpoint", "/v1/nothing"], "404 unknown_url"),
        (["--url", "ftp://127.0.0.1"], "expected http:// or https://"),
        (["--url", "http://127.0.0.1:9"], "Connection refused"),
    ],
)
def test_what_cannot_be_asked(
    files: list[str], flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *files, *flags]) == 1
    assert told in capsys.readouterr().err


def test_a_request_that_is_not_there(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nowhere.json", *files[1:]]) == 1
    assert "nowhere.json" in capsys.readouterr().err


def test_a_file_with_mistakes(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[2]).write_text("rutes: []")

    assert main(["explain", *files]) == 1
    assert "did you mean `routes`?" in capsys.readouterr().err


def test_a_header_without_a_value_is_wrong_usage(files: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", *files, "--header", "x-team"])
