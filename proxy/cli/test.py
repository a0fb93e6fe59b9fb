"""`failsoft test`: run the `tests:` of a file and of the `*.test.yaml` beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.cli.file import add_file, find_file, load

if TYPE_CHECKING:
    from proxy.config.cases import Outcome


def add_to(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("test", help="run the tests of a routes.yaml")
    add_file(parser)
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the outcomes as JUnit XML too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the cases and print how each came out; 1 if one failed, there is none, or a file has mistakes."""
    outcomes = _outcomes(find_file(arguments.file))
    if outcomes is None:
        return 1
    for outcome in outcomes:
        print(f"{'FAIL' if outcome.wrong else 'ok':<5} {outcome.name}")
        for wrong in outcome.wrong:
            print(f"      {outcome.file}:{outcome.line}: {wrong}")
    failed = sum(bool(outcome.wrong) for outcome in outcomes)
    print(f"{len(outcomes)} tests, {failed} failed")
    if arguments.junit is not None:
        arguments.junit.write_bytes(_junit(outcomes))
    if not outcomes:
        print("there is nothing to run: write `tests:`", file=sys.stderr)
    return 1 if failed or not outcomes else 0


def _outcomes(file: Path) -> list[Outcome] | None:
    """The outcomes of the file's own cases and of those beside it; of a `*.test.yaml` alone, only its own."""
    from proxy.config.case_file import beside, is_case_file, read_cases
    from proxy.config.cases import run as run_cases
    from proxy.config.problems import ConfigError
    from proxy.wire.dialects import discover

    routes, cases = (beside(file), file) if is_case_file(file) else (file, beside(file))
    snapshot = load(routes)
    if snapshot is None:
        return None
    dialects = discover()
    outcomes = [] if is_case_file(file) else run_cases(snapshot, dialects)
    if is_case_file(file) or cases.exists():
        try:
            more = read_cases(cases)
        except ConfigError as error:
            print(error, file=sys.stderr)
            return None
        outcomes += run_cases(snapshot, dialects, more.cases, more.line_of)
    return outcomes


def _junit(outcomes: Sequence[Outcome]) -> bytes:
    """The report that build servers read."""
    from xml.etree import ElementTree as Xml

    failures = str(sum(bool(outcome.wrong) for outcome in outcomes))
    suite = Xml.Element("testsuite", name="failsoft test", tests=str(len(outcomes)), failures=failures, errors="0")
    for outcome in outcomes:
        place = {"classname": outcome.file, "file": outcome.file, "line": str(outcome.line)}
        case = Xml.SubElement(suite, "testcase", {"name": _printable(outcome.name), **place})
        if outcome.wrong:
            told = _printable("\n".join(outcome.wrong))
            Xml.SubElement(case, "failure", message=_printable(outcome.wrong[0])).text = told
    root = Xml.Element("testsuites")
    root.append(suite)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _printable(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
