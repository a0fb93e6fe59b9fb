"""`failsoft models`: what local servers have in memory, and loading, unloading and pulling, by way of the proxy.

The list also shows what upstreams say of their models.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from proxy.cli.running import Refused, add_flags, ask, run
from proxy.cli.table import table

_PATH = "/admin/models"
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
        add_flags(part)


def _add_action(parts: Any, name: str, told: str, act: Callable[[argparse.Namespace], int]) -> None:
    part = parts.add_parser(name, help=told)
    part.add_argument("model", metavar="UPSTREAM/MODEL", type=_place, help="such as lmstudio/openai/gpt-oss-20b")
    part.set_defaults(run=act, action=name)


def _place(text: str) -> tuple[str, str]:
    upstream, _, model = text.partition("/")
    if not upstream or not model:
        raise argparse.ArgumentTypeError("expected UPSTREAM/MODEL")
    return upstream, model


def _list(arguments: argparse.Namespace) -> int:
    return run(_listed(arguments))


def _load(arguments: argparse.Namespace) -> int:
    return run(_ordered(arguments, lambda answer: f"ready after {answer['seconds']:.1f} s"))


def _unload(arguments: argparse.Namespace) -> int:
    return run(_ordered(arguments, lambda answer: f"unloaded {answer['unloaded']}"))


def _pull(arguments: argparse.Namespace) -> int:
    return run(_ordered(arguments, _progress))


async def _listed(arguments: argparse.Namespace) -> int:
    answer: dict[str, Any] = json.loads(b"".join([line async for line in ask(arguments, "GET", _PATH)]))
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
    async for line in ask(arguments, "POST", _PATH, json.dumps(order).encode()):
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
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
