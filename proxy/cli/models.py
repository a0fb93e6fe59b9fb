"""`failsoft models`: what local servers have in memory, and loading, unloading and pulling, by way of the proxy.

The list also shows what upstreams say of their models.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from proxy.cli.table import table

_URL = "http://127.0.0.1:8080"
_GB = 1e9
_HEAD = ("MODEL", "STATE", "CONTEXT", "SIZE", "CAN")
_FACTS = ("MODEL", "CONTEXT", "ANSWER", "LACKS", "EFFORTS")


def add_to(commands: Any) -> None:
    """Register the command and its four parts."""
    parts = commands.add_parser("models", help="models of local servers").add_subparsers(
        required=True, metavar="ACTION"
    )
    listing = parts.add_parser("list", help="all of them, and which are in memory")
    listing.add_argument("--json", action="store_true", help="print what the server says")
    listing.set_defaults(run=_list)
    _add_action(parts, "load", "have a model in memory", _load)
    _add_action(parts, "unload", "take a model out of memory", _unload)
    _add_action(parts, "pull", "download a model to the server", _pull)
    for part in parts.choices.values():
        part.add_argument("--url", default=_URL, help=f"where the proxy listens ({_URL})")
        part.add_argument("--key", help="an admin key; not given: the one in the state folder")


def _add_action(parts: Any, name: str, told: str, run: Callable[[argparse.Namespace], int]) -> None:
    part = parts.add_parser(name, help=told)
    part.add_argument("model", metavar="UPSTREAM/MODEL", type=_place, help="such as lmstudio/openai/gpt-oss-20b")
    part.set_defaults(run=run, action=name)


def _place(text: str) -> tuple[str, str]:
    upstream, _, model = text.partition("/")
    if not upstream or not model:
        raise argparse.ArgumentTypeError("expected UPSTREAM/MODEL")
    return upstream, model


def _list(arguments: argparse.Namespace) -> int:
    return _run(_listed(arguments))


def _load(arguments: argparse.Namespace) -> int:
    return _run(_ordered(arguments, lambda answer: f"ready after {answer['seconds']:.1f} s"))


def _unload(arguments: argparse.Namespace) -> int:
    return _run(_ordered(arguments, lambda answer: f"unloaded {answer['unloaded']}"))


def _pull(arguments: argparse.Namespace) -> int:
    return _run(_ordered(arguments, _progress))


def _run(work: Any) -> int:
    import asyncio

    try:
        code: int = asyncio.run(work)
    except _Refused as error:
        print(error, file=sys.stderr)
        return 1
    return code


class _Refused(Exception):
    """The proxy, or the way to it, said no; the message is for people."""


async def _listed(arguments: argparse.Namespace) -> int:
    answer: dict[str, Any] = json.loads(b"".join([line async for line in _ask(arguments, "GET")]))
    if arguments.json:
        print(json.dumps(answer, indent=1))
        return 0
    print(table([_HEAD, *map(_row, answer["models"])]))
    if answer["facts"]:
        print("\nWhat the upstreams say of their models, under what the file says:")
        print(table([_FACTS, *map(_fact, answer["facts"])]))
    for upstream, why in answer["failed"].items():
        print(f"{upstream}: {why}", file=sys.stderr)
    return 1 if answer["failed"] and not answer["models"] else 0


async def _ordered(arguments: argparse.Namespace, tell: Callable[[dict[str, Any]], str]) -> int:
    """Have the action done; each line of the answer is told."""
    upstream, model = arguments.model
    order = {"action": arguments.action, "upstream": upstream, "model": model}
    async for line in _ask(arguments, "POST", json.dumps(order).encode()):
        answer = json.loads(line)
        if "error" in answer:
            raise _Refused(answer["error"])
        print(tell(answer), flush=True)
    return 0


def _progress(answer: dict[str, Any]) -> str:
    done, total = answer["done_bytes"], answer["total_bytes"]
    share = f"  {done / total:.0%} of {total / _GB:.1f} GB" if done is not None and total else ""
    return f"{answer['status']}{share}"


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    contexts = "/".join(str(one["context"] or "?") for one in model["instances"])
    longest = model["longest_context"]
    state = "-"
    if model["loaded"]:
        state = "loaded by the proxy" if model["ours"] else "loaded"
    return (
        f"{model['upstream']}/{model['model']}",
        state,
        f"{contexts or '-'} of {longest or '?'}",
        f"{model['size_bytes'] / _GB:.1f} GB" if model["size_bytes"] else "-",
        " ".join(model["capabilities"]),
    )


def _fact(model: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{model['upstream']}/{model['model']}",
        str(model["context"] or "?"),
        str(model["output"] or "?"),
        " ".join(model["lacks"]) or "-",
        " ".join(model["efforts"] or ()) or "-",
    )


async def _ask(arguments: argparse.Namespace, method: str, body: bytes = b"") -> AsyncIterator[bytes]:
    """The lines of the proxy's answer. Raises _Refused."""
    from proxy.adapters.transport_http import HttpTransport
    from proxy.config.bind import BadSetting, parse_url
    from proxy.core.decision import Timeouts
    from proxy.core.errors import UpstreamFailure
    from proxy.core.ports import WireRequest

    try:
        origin, base = parse_url(arguments.url, insecure=True)
    except BadSetting as error:
        raise _Refused(f"--url: {error}") from None
    head = ((b"authorization", f"Bearer {_key(arguments)}".encode()), (b"content-type", b"application/json"))
    day = 86_400.0
    patience = Timeouts(first_byte=day, idle=day, attempt=day)
    transport = HttpTransport()
    try:
        response = await transport.send(WireRequest(origin, method, f"{base}/admin/models", head, body, patience))
        rest = b""
        while piece := await response.read():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line
        if response.status != 200:
            raise _Refused(_error(rest))
        if rest:
            yield rest
    except UpstreamFailure as failure:
        raise _Refused(f"{arguments.url}: {failure}; is `failsoft serve` running there?") from None
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
        raise _Refused(f"there is no admin key in {file}; give one with --key") from None


def _error(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:500]
