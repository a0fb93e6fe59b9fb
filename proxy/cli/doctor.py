"""`failsoft doctor`: try every upstream of a file for real, and say what to do about those that do not work."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from proxy.cli.file import add_file, find_file, load
from proxy.cli.table import table

if TYPE_CHECKING:
    from proxy.config.compile import Snapshot
    from proxy.engine.examine import Examination, Trial

_HEAD = ("UPSTREAM", "KEY", "MODELS", "PROMPT", "RESULT")


def add_to(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("doctor", help="try every upstream for real")
    add_file(parser)
    parser.add_argument("--prompt", action="store_true", help="have each write one token, too; that may cost money")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Examine; 1 if no upstream works or the file has mistakes."""
    import asyncio

    snapshot = load(find_file(arguments.file))
    if snapshot is None:
        return 1
    found = asyncio.run(_examine(snapshot, prompt=arguments.prompt))
    print(table([_HEAD, *map(_row, found)]))
    for upstream in snapshot.upstreams.values():
        if upstream.disabled is not None:
            print(f"{upstream.name}: not tried, it is disabled: {upstream.disabled}")
    for one in found:
        if one.failure is not None:
            print(f"{one.upstream.name}: {_advice(one)} ({one.failure})")
    if any(one.works for one in found):
        return 0
    print("no upstream works: requests get offline answers", file=sys.stderr)
    return 1


async def _examine(snapshot: Snapshot, *, prompt: bool) -> list[Examination]:
    """All upstreams side by side, told in the file's order."""
    import asyncio

    from proxy import bootstrap

    async with bootstrap.examiner(snapshot) as examiner:

        async def all_keys(upstream: Any) -> list[Examination]:
            return [one async for one in examiner.examine(upstream, prompt=prompt)]

        enabled = [u for u in snapshot.upstreams.values() if u.disabled is None and not u.offline]
        return [one for some in await asyncio.gather(*map(all_keys, enabled)) for one in some]


def _row(one: Examination) -> tuple[str, ...]:
    result = "works" if one.works else one.failure.kind.label if one.failure else ""
    return (one.upstream.name, one.key or "-", _told(one.listing), _told(one.prompt), result)


def _told(trial: Trial | None) -> str:
    if trial is None:
        return "-"
    what = trial.failure.kind.label if trial.failure else trial.found
    return f"{what}, {trial.seconds * 1000:.0f} ms"


def _advice(one: Examination) -> str:
    assert one.failure is not None
    told = _ADVICE.get(one.failure.kind.label, "see its own log")
    return told.format(url=one.upstream.url)


_ADVICE = {
    "connect": "nothing answers at {url}; is it running there, and is the `url` right?",
    "tls": "its certificate is not trusted, or it speaks no TLS; look at `ca_file` and at the host in {url}",
    "auth": "the key was refused; look at `keys` or `auth`, and whether the account may do this",
    "money": "the account is exhausted; top it up",
    "throttle": "it is throttling; wait, or use another key",
    "overload": "it is overloaded; try again later",
    "not_an_answer": "this is no model server's answer; does {url} lack a /v1, or lead to something else?",
    "model_absent": "it does not have the model; load or pull it, or write another `default_model`",
    "first_byte_timeout": "it took too long; is it busy, or loading a model?",
    "rejected": "it refused the request; write a `default_model` that can chat",
}
"""By the kind of failure."""
