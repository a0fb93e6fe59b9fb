"""`failsoft key`: make, list, revoke and rotate callers' keys; a running server knows within a second."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.core.quantities import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.adapters.keys_sqlite import IssuedKeys
    from proxy.core.ports import IssuedKey


def add_to(commands: Any) -> None:
    """Register the command and its four parts."""
    parts = commands.add_parser("key", help="callers' keys").add_subparsers(required=True, metavar="ACTION")
    create = parts.add_parser("create", help="make a key; it is shown once")
    create.add_argument("--tenant", required=True, help="on whose behalf the key's holder calls")
    create.add_argument("--plan", help="the plan, for a tenant that the file does not name")
    create.add_argument("--label", default="", help="a note for people")
    create.add_argument("--expires", type=_duration, help="after how long it ends, such as 90d")
    create.add_argument("--file", type=Path, help="the routes.yaml with the plans and tenants")
    create.set_defaults(run=partial(_run, _create))
    parts.add_parser("list", help="all keys, without the keys themselves").set_defaults(run=partial(_run, _list))
    revoke = parts.add_parser("revoke", help="make a key useless at once")
    revoke.add_argument("id", help="as `failsoft key list` shows it")
    revoke.set_defaults(run=partial(_run, _revoke))
    rotate = parts.add_parser("rotate", help="a new key in place of an old one")
    rotate.add_argument("id", help="as `failsoft key list` shows it")
    rotate.add_argument("--overlap", type=_duration, default="24h", help="how long the old one stays good (24h)")
    rotate.set_defaults(run=partial(_run, _rotate))


def _duration(text: str) -> timedelta:
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(act: Callable[[IssuedKeys, argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Do one thing with the keys of this state folder; 1 if its file is of no use."""
    import sqlite3

    from proxy import bootstrap
    from proxy.adapters.keys_sqlite import IssuedKeys

    file = bootstrap.state_folder(os.environ) / bootstrap.KEYS_FILE
    try:
        return act(IssuedKeys(file), arguments)
    except (sqlite3.Error, OSError) as error:
        print(f"the keys in {file} cannot be used: {error}", file=sys.stderr)
        return 1


def _create(keys: IssuedKeys, arguments: argparse.Namespace) -> int:
    from proxy.cli.file import find_file
    from proxy.config.load import read
    from proxy.config.problems import ConfigError, suggest

    try:
        snapshot = read(find_file(arguments.file), os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.plan is not None and arguments.plan not in snapshot.plans:
        print(f"unknown plan `{arguments.plan}`{suggest(arguments.plan, snapshot.plans)}", file=sys.stderr)
        return 1
    if arguments.plan is None and arguments.tenant not in snapshot.tenants:
        hint = suggest(arguments.tenant, snapshot.tenants)
        print(f"the file has no tenant `{arguments.tenant}`{hint}; a new one needs --plan", file=sys.stderr)
        return 1
    expires = None if arguments.expires is None else datetime.now(UTC) + arguments.expires
    _show(*keys.create(arguments.tenant, arguments.plan, arguments.label, expires))
    return 0


def _show(key: str, kept: IssuedKey) -> None:
    print(f"{key}\n{kept.id} for {kept.tenant}; the key is shown only now, and only its hash is kept")


def _list(keys: IssuedKeys, _arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    known = keys.list()
    if not known:
        print("no key has been made yet; `failsoft key create` makes one", file=sys.stderr)
    for key in known:
        state = "revoked" if key.revoked else "good" if key.is_good(now) else "expired"
        until = f" until {key.expires:%Y-%m-%d %H:%M}Z" if key.expires else ""
        print(f"{key.id}  {key.tenant:<16} {key.plan or '-':<12} {state}{until}  {key.label}".rstrip())
    return 0


def _revoke(keys: IssuedKeys, arguments: argparse.Namespace) -> int:
    if keys.revoke(arguments.id):
        print(f"{arguments.id} is revoked")
        return 0
    print(f"there is no good key {arguments.id}; see `failsoft key list`", file=sys.stderr)
    return 1


def _rotate(keys: IssuedKeys, arguments: argparse.Namespace) -> int:
    made = keys.rotate(arguments.id, arguments.overlap)
    if made is None:
        print(f"there is no good key {arguments.id}; see `failsoft key list`", file=sys.stderr)
        return 1
    _show(*made)
    return 0
