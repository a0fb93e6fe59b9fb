"""What the commands share: the file they are about, and reading it the way `serve` does."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config.compile import Snapshot

_DEFAULT = "default: routes.yaml here, else the packaged one"


def add_file(parser: argparse.ArgumentParser) -> None:
    """The argument that names the file."""
    parser.add_argument("file", nargs="?", type=Path, help=_DEFAULT)


def add_file_flag(parser: argparse.ArgumentParser) -> None:
    """The same as a flag, for commands whose argument is something else."""
    parser.add_argument("--file", type=Path, help=_DEFAULT)


def find_file(given: Path | None) -> Path:
    """The file that was named, else `routes.yaml` in the working folder, else the one that came with the package."""
    if given is not None:
        return given
    here = Path("routes.yaml")
    if here.exists():
        return here
    packaged = Path(__file__).parent.parent / "routes.yaml"
    return packaged if packaged.exists() else Path(__file__).parent.parent.parent / "routes.yaml"


def load(file: Path) -> Snapshot | None:
    """Its snapshot, None if it has mistakes; they were printed."""
    from proxy.config.load import read
    from proxy.config.problems import ConfigError

    try:
        return read(file, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None
