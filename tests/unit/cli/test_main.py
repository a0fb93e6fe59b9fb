"""The command line as a whole."""

import subprocess
import sys

import pytest

from proxy import __version__
from proxy.cli.main import main

LATE = ("proxy.config", "proxy.routing", "proxy.wire", "xml", "urllib.request", "uvicorn", "pydantic", "asyncio")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"failsoft {__version__}\n"


def test_wrong_usage_is_told() -> None:
    with pytest.raises(SystemExit) as left:
        main(["explain"])

    assert left.value.code == 2


def test_the_commands_load_what_they_need_when_they_run() -> None:
    """`serve` starts, and `--help` answers, without what other commands need."""
    program = "import sys; from proxy.cli.main import build_parser; build_parser(); print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert [name for name in loaded if name.startswith(LATE)] == []
