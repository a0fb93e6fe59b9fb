"""What holds for every test: no connection leaves this machine, and which event loop it runs on.

In production the proxy runs on uvloop. Tests run on asyncio's own loop, those with the mark `both_loops` on either, and
with `--loop uvloop` all of them on production's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import uvloop

_LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loop", choices=tuple(_LOOPS), help="run all tests on this event loop")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    asked = config.getoption("--loop")
    if asked is None and item.get_closest_marker("both_loops"):
        return _LOOPS
    name = asked or "asyncio"
    return {name: _LOOPS[name]}


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
