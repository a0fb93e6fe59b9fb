"""`failsoft schema`: the JSON Schema of routes.yaml, so that editors complete and check it."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_to(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("schema", help="print the JSON Schema of routes.yaml")
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Print it."""
    from proxy.config.editor import editor_schema

    print(json.dumps(editor_schema(), indent=1, ensure_ascii=False))
    return 0
