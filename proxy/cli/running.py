"""How commands talk to a proxy that is running."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any

_URL = "http://127.0.0.1:8080"


class Refused(Exception):
    """The proxy, or the way to it, said no; the message is for people."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Where it is, and by which key."""
    parser.add_argument("--url", default=_URL, help=f"where the proxy listens ({_URL})")
    parser.add_argument("--key", help="an admin key; not given: $FAILSOFT_ADMIN_KEY, else the one in the state folder")


def run(work: Coroutine[Any, Any, int]) -> int:
    """The exit code of a command that asks a proxy."""
    import asyncio

    try:
        return asyncio.run(work)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1


async def ask(arguments: argparse.Namespace, method: str, path: str, body: bytes = b"") -> AsyncIterator[bytes]:
    """The lines of the proxy's answer; `arguments` have the flags. Raises Refused."""
    from proxy.adapters.transport_http import HttpTransport
    from proxy.config.bind import BadSetting, parse_url
    from proxy.core.decision import Timeouts
    from proxy.core.errors import UpstreamFailure
    from proxy.core.ports import WireRequest

    try:
        origin, base = parse_url(arguments.url, insecure=True)
    except BadSetting as error:
        raise Refused(f"--url: {error}") from None
    head = ((b"authorization", f"Bearer {_key(arguments)}".encode()), (b"content-type", b"application/json"))
    day = 86_400.0
    patience = Timeouts(first_byte=day, idle=day, attempt=day)
    transport = HttpTransport()
    try:
        response = await transport.send(WireRequest(origin, method, f"{base}{path}", head, body, patience))
        rest = b""
        while piece := await response.read():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line
        if response.status != 200:
            raise Refused(_error(rest))
        if rest:
            yield rest
    except UpstreamFailure as failure:
        raise Refused(f"{arguments.url}: {failure.detail or failure}; is `failsoft serve` running there?") from None
    finally:
        await transport.aclose()


def _key(arguments: argparse.Namespace) -> str:
    from proxy import bootstrap

    if arguments.key:
        return str(arguments.key)
    if configured := os.environ.get("FAILSOFT_ADMIN_KEY"):
        return configured
    file = bootstrap.state_folder(os.environ) / bootstrap.ADMIN_KEY_FILE
    try:
        return file.read_text().strip()
    except OSError:
        raise Refused(f"there is no admin key in {file}; give one with --key") from None


def _error(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:500]
