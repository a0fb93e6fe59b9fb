"""Failsoft as a user starts it, in front of the real model server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.harness import ENVIRONMENT, document, write
from tests.real.llama import Llama, wait_until

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@contextmanager
def proxied(llama: Llama, provider: str, folder: Path) -> Iterator[str]:
    """The base URL of `failsoft serve` with the server as its only upstream, called `llama`."""
    file = write(document({"llama": {"provider": provider, "url": llama.base_url}}), folder)
    log = folder / "proxy.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", str(file), "--port", "0"],
            stdout=sink,
            stderr=sink,
            env={**os.environ, **ENVIRONMENT, "FAILSOFT_STATE": str(folder)},
        )

    def printed() -> list[str]:
        assert process.poll() is None, log.read_text()
        return _ADDRESS.findall(log.read_text())

    try:
        wait_until(lambda: bool(printed()), "the line with the proxy's address")
        yield f"{printed()[0]}/v1"
    finally:
        process.terminate()
        process.wait()
