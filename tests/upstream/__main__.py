"""`python -m tests.upstream [--port N] [--count-only]`: the fake as a program; it prints its address first."""

from __future__ import annotations

import argparse
import asyncio
import signal

from tests.upstream.server import FakeUpstream


async def serve(port: int, keep: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with FakeUpstream(port, keep=keep) as fake:
        print(f"fake upstream on {fake.url}", flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description="A fake model server.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--count-only", action="store_true", help="keep no record of requests (long runs)")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, keep=not arguments.count_only))


if __name__ == "__main__":
    main()
