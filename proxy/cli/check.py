"""`failsoft check`: every mistake of a file, and what in it is probably not meant."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.cli.file import add_file, find_file

if TYPE_CHECKING:
    from proxy.config.check import Finding

_WARNED = 3


def add_to(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("check", help="say what is wrong with a routes.yaml")
    add_file(parser)
    parser.add_argument("--strict", action="store_true", help=f"exit with {_WARNED} if there are warnings")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; 1 if the file cannot be used, 3 if `--strict` and there are warnings, else 0."""
    file = find_file(arguments.file)
    findings = _findings(file)
    levels = [finding.level for finding in findings]
    if arguments.json:
        print(json.dumps({"file": str(file), "findings": [_as_json(f) for f in findings]}, indent=1))
    else:
        for finding in findings:
            print(finding)
        counts = ", ".join(_counted(levels.count(level), level) for level in ("error", "warning", "hint"))
        print(f"{file}: {counts}")
    if "error" in levels:
        return 1
    return _WARNED if arguments.strict and "warning" in levels else 0


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _findings(file: Path) -> Sequence[Finding]:
    """The mistakes if there are any, else what `check` says of the snapshot."""
    from proxy.config.check import Finding, check
    from proxy.config.load import read
    from proxy.config.problems import ConfigError

    try:
        return check(read(file, os.environ))
    except ConfigError as error:
        return [Finding("error", problem) for problem in error.problems]


def _as_json(finding: Finding) -> dict[str, Any]:
    problem = finding.problem
    return {
        "level": finding.level,
        "file": problem.file,
        "line": problem.line,
        "path": problem.path,
        "message": problem.message,
    }
