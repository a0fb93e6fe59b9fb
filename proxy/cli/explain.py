"""`failsoft explain`: where a request would go and why, by the file alone or by a running server and its health."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy.cli.file import add_file_flag, find_file, load

_PATIENCE = 30.0  # seconds
_KEY_VARIABLE = "FAILSOFT_ADMIN_KEY"


def add_to(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("explain", help="say where a request would go, and why")
    parser.add_argument("request", help="a file with the request's JSON body, or - for standard input")
    add_file_flag(parser)
    parser.add_argument("--plan", help="the plan, instead of the tenant's own")
    parser.add_argument("--tenant", help="on whose behalf; default: the anonymous tenant")
    parser.add_argument("--header", action="append", default=[], type=_pair, metavar="K=V", help="a request header")
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=STATE",
        help="UPSTREAM=down, =up or =lists:MODEL,…; UPSTREAM/MODEL=open, =throttled or =closed",
    )
    parser.add_argument("--at", metavar="TIME", help="as if it were 2026-01-02T03:04Z; default: now")
    parser.add_argument("--endpoint", default="/v1/chat/completions", help="the path that is called")
    parser.add_argument("--url", help="ask this running server, http://127.0.0.1:8080, instead of reading a file")
    parser.add_argument("--key", help=f"its admin key; default: ${_KEY_VARIABLE}")
    parser.add_argument("--json", action="store_true", help="print the explanation as JSON")
    parser.set_defaults(run=run)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    return name, value


def run(arguments: argparse.Namespace) -> int:
    """Explain; 1 if the question could not be put, 0 otherwise, even if the answer is an error."""
    try:
        body = sys.stdin.buffer.read() if arguments.request == "-" else Path(arguments.request).read_bytes()
        explained = _ask(arguments, body) if arguments.url else _decide(arguments, body)
    except (OSError, ValueError) as error:
        print(f"failsoft explain: {_why(error)}", file=sys.stderr)
        return 1
    if explained is None:
        return 1
    print(json.dumps(explained, indent=1, ensure_ascii=False) if arguments.json else explained["text"])
    return 0


def _why(error: OSError | ValueError) -> str:
    """For people; of a file that cannot be read, which."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _assumed(arguments: argparse.Namespace) -> dict[str, str]:
    """The states of each name, with spaces between them."""
    said: dict[str, str] = {}
    for name, state in arguments.assume:
        said[name] = f"{said[name]} {state}" if name in said else state
    return said


def _decide(arguments: argparse.Namespace, body: bytes) -> Mapping[str, Any] | None:
    """By the file alone. Raises ValueError for what cannot be asked."""
    from proxy.config.prospect import answer
    from proxy.config.question import Question, assume
    from proxy.core.clock import SystemClock
    from proxy.core.errors import ProxyError
    from proxy.core.quantities import parse_moment
    from proxy.routing.view import StillView
    from proxy.wire.dialects import discover

    snapshot = load(find_file(arguments.file))
    if snapshot is None:
        return None
    headers = {name.lower(): value for name, value in arguments.header}
    moment = SystemClock().wall() if arguments.at is None else parse_moment(arguments.at)
    view = assume(StillView(), _assumed(arguments), snapshot.upstreams)
    question = Question(body, arguments.endpoint, headers, arguments.tenant, arguments.plan)
    try:
        return answer(question, snapshot, discover(), view, lambda: moment).as_json()
    except ProxyError as error:
        raise ValueError(f"{error.status} {error.code or error.kind.facts.type}: {error.message}") from None


def _ask(arguments: argparse.Namespace, body: bytes) -> Mapping[str, Any]:
    """By a running server. Raises OSError or ValueError if it cannot be asked or does not answer so."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if not arguments.url.startswith(("http://", "https://")):
        raise ValueError("--url: expected http:// or https://")
    question = {
        "request": json.loads(body),
        "endpoint": arguments.endpoint,
        "headers": dict(arguments.header),
        "assume": _assumed(arguments),
        **{name: value for name in ("plan", "tenant", "at") if (value := getattr(arguments, name)) is not None},
    }
    request = Request(  # noqa: S310 — the scheme was looked at
        arguments.url.rstrip("/") + "/admin/explain",
        json.dumps(question).encode(),
        {
            "authorization": f"Bearer {arguments.key or os.environ.get(_KEY_VARIABLE, '')}",
            "content-type": "application/json",
        },
    )
    try:
        with urlopen(request, timeout=_PATIENCE) as answered:  # noqa: S310
            explained: Mapping[str, Any] = json.load(answered)
    except HTTPError as refused:
        raise ValueError(f"{refused.code}: {_message(refused.read())}") from None
    return explained


def _message(body: bytes) -> str:
    """What an error answer says, in the server's own words where they are ours."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return body[:200].decode("utf-8", "replace")
