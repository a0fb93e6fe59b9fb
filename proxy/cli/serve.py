"""`failsoft serve`: check the file, say what will run, and run it."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from proxy.cli.file import add_file, find_file

if TYPE_CHECKING:
    from proxy.config.compile import Snapshot

_KEEP_ALIVE = 15  # seconds an idle client connection is kept
_BACKLOG = 2048
_LAST_PORT = 65_535
_SLACK = 5  # seconds; the requests themselves are ended by `engine/drain.py`


def add_to(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("serve", help="serve a routes.yaml")
    add_file(parser)
    parser.add_argument("--host", help="address to listen on, instead of the file's")
    parser.add_argument("--port", type=_port, help="port to listen on, instead of the file's; 0: any that is free")
    parser.add_argument("--workers", type=_count, default=1, help="processes that share the port")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {_LAST_PORT}, found {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; 1 if the file is not fit to be served."""
    from proxy.config.compile import exposure
    from proxy.config.load import read
    from proxy.config.problems import ConfigError

    file = find_file(arguments.file)
    try:
        snapshot = read(file, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    if refusal := exposure(snapshot.server, snapshot.anonymous, arguments.host):
        print(refusal, file=sys.stderr)
        return 1
    try:
        return _serve(file, snapshot, arguments)
    except OSError as error:  # before it serves: from then on nobody needs a file to go on
        print(
            f"failsoft serve: {error}; can the state folder be written? FAILSOFT_STATE names another", file=sys.stderr
        )
        return 1


def _serve(file: Path, snapshot: Snapshot, arguments: argparse.Namespace) -> int:
    import uvicorn

    from proxy import bootstrap
    from proxy.adapters import logs
    from proxy.web.http1 import patient

    logs.configure(snapshot.logging.format, snapshot.logging.level)
    keys, is_new = bootstrap.admin_keys(snapshot, bootstrap.state_folder(os.environ))
    server = snapshot.server
    host = server.host if arguments.host is None else arguments.host
    port = server.port if arguments.port is None else arguments.port
    settings: dict[str, Any] = {
        "host": host,
        "port": port,
        "http": patient(server),
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": _KEEP_ALIVE,
        "timeout_graceful_shutdown": math.ceil(server.drain) + _SLACK,
        "backlog": _BACKLOG,
    }
    snapshot = bootstrap.listening_on(host, snapshot)
    signal.signal(signal.SIGTERM, _leave)  # uvicorn puts it back and repeats the signal when it has shut down
    lines = [*_describe(snapshot), *([f"admin key, shown once: {keys[0].reveal()}"] if is_new else [])]

    def announce(bound: int) -> None:
        print("\n".join([f"failsoft on http://{host}:{bound}", *lines]), flush=True)

    if arguments.workers > 1:
        from proxy.cli.workers import run_workers

        return run_workers(file, arguments.workers, settings, announce)

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce(self.servers[0].sockets[0].getsockname()[1])

    app = bootstrap.assemble(bootstrap.examined(snapshot), keys, bootstrap.source(file))
    listening = Announcing(uvicorn.Config(app, **settings))
    listening.run()
    return 0 if listening.started else 1


def _leave(_number: int, _frame: object) -> NoReturn:
    """A SIGTERM that was obeyed is a good end, not a death by signal."""
    raise SystemExit(0)


def _describe(snapshot: Snapshot) -> list[str]:
    """One line per upstream, and where to look next."""
    lines = [f"serving {snapshot.file}", "status: /admin/status (needs the admin key)"]
    for upstream in snapshot.upstreams.values():
        state = "enabled" if upstream.disabled is None else f"disabled: {upstream.disabled}"
        lines.append(f"  {upstream.name:<12} {upstream.provider:<12} {state}")
    return lines
