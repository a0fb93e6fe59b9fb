"""Make a file that only its owner can read, whole from the first moment that others can see it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def make_private(file: Path, fill: Callable[[Path], object]) -> bool:
    """Make `file` by what `fill` writes to the path it is given; False if somebody else was faster.

    The folder is made too where there is none. Raises OSError.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        fill(draft)
        return _publish(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, file: Path) -> bool:
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError:  # some mounts know no links; what they lack is only the certainty of a single winner
        if file.exists():
            return False
        draft.replace(file)
    return True
