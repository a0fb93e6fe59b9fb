"""What holds for every test: no connection leaves this machine."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: sockets of this process connect to loopback and to local files only."""
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not _is_here(address[0]):
            raise PermissionError(f"a test tried to connect to {address[0]}")


sys.addaudithook(_stay_here)
