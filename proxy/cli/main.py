"""The command line: one sub-command per file of this package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from proxy import __version__


def build_parser() -> argparse.ArgumentParser:
    """All commands and their flags; each sets `run`, a function of the parsed arguments that returns the exit code."""
    from proxy.cli import check, doctor, explain, key, models, routes, schema, serve, test, upstream

    parser = argparse.ArgumentParser(prog="failsoft", description="A proxy for language models that always answers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve.add_to(commands)
    for command in (check, explain, test, routes, schema):
        command.add_to(commands)
    key.add_to(commands)
    models.add_to(commands)
    upstream.add_to(commands)
    doctor.add_to(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


def _version(_arguments: argparse.Namespace) -> int:
    print(f"failsoft {__version__}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 good, 1 an error that was explained, 2 wrong usage."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    return code
