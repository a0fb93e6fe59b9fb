"""Install llama.cpp's server into the environment that runs the tests: `python -m tests.real.install`.

It comes as a prebuilt wheel without dependencies (34 MB) that holds llama.cpp's own C++ HTTP server. Where there is
no wheel for the machine, or no package index in reach, that is not an error of this project: the command says so,
notes the reason for the tests to print, and succeeds.
"""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGE = "xllamacpp"
VERSION = "2026.10.11549"
PATIENCE = 120.0
"""Seconds after which the download is given up."""


def installed() -> bool:
    """Whether the version that the tests were written for is there."""
    try:
        return metadata.version(PACKAGE) == VERSION
    except metadata.PackageNotFoundError:
        return False


def why_impossible() -> str | None:
    """What the last `main` wrote down when the server could not be installed; None if that never happened."""
    try:
        return _note().read_text()
    except FileNotFoundError:
        return None


def main() -> int:
    """Install the server unless it is there; note why where that cannot be done. Always 0."""
    failure = None if installed() else _install()
    if failure is None:
        _note().unlink(missing_ok=True)
    else:
        _note().write_text(failure)
        print(f"the tests with a real model server will be skipped: {failure}", file=sys.stderr)
    return 0


def _install() -> str | None:
    """Run pip for the wheel, never a build from source; return the reason if it fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    wanted = ["--only-binary", PACKAGE, f"{PACKAGE}=={VERSION}"]
    try:
        done = subprocess.run(command + wanted, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"pip did not install {PACKAGE} {VERSION} within {PATIENCE:.0f} s"
    if done.returncode == 0:
        return None
    words = done.stderr.strip().splitlines() or ["pip said nothing"]
    return f"pip cannot install {PACKAGE} {VERSION}: {words[-1]}"


def _note() -> Path:
    return Path(sys.prefix) / "real-model-server.txt"


if __name__ == "__main__":
    raise SystemExit(main())
