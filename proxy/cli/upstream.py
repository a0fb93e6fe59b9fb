"""`failsoft upstream`: take an upstream of a running proxy out of service, and back."""

from __future__ import annotations

import argparse
import json
from typing import Any

from proxy.cli.running import add_flags, ask, run

_PATH = "/admin/provider"


def add_to(commands: Any) -> None:
    """Register the command and its two parts."""
    parts = commands.add_parser("upstream", help="take upstreams out of service, and back").add_subparsers(
        required=True, metavar="ACTION"
    )
    pause = parts.add_parser("pause", help="send it no new request")
    pause.add_argument("--until", metavar="DURATION", help="for so long, such as 30m; not given: until it is resumed")
    pause.set_defaults(state="maintenance")
    resume = parts.add_parser("resume", help="send it requests again")
    resume.set_defaults(state="active", until=None)
    for part in parts.choices.values():
        part.add_argument("name", metavar="NAME", help="as in the file")
        part.add_argument("--reason", required=True, help="why; it stands in the operators' log")
        add_flags(part)
        part.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    return run(_ordered(arguments))


async def _ordered(arguments: argparse.Namespace) -> int:
    order = {"upstream": arguments.name, "state": arguments.state, "reason": arguments.reason}
    if arguments.until is not None:
        order["until"] = arguments.until
    lines = [line async for line in ask(arguments, "POST", _PATH, json.dumps(order).encode())]
    print(_told(json.loads(b"".join(lines))))
    return 0


def _told(answer: dict[str, Any]) -> str:
    name = answer["upstream"]
    if answer["state"] == "active":
        return f"{name} takes requests" + ("" if answer["was_in_maintenance"] else "; it was not in maintenance")
    end = "" if answer["until"] is None else f" until {answer['until']}"
    return f"{name} is in maintenance{end}; {answer['in_flight']} requests are still under way there"
