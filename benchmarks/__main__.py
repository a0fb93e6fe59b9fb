"""`scripts/bench`: choose what is measured, measure it, print it, keep it."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import proxy, report
from benchmarks.machine import allow_many_files, choose_cores, processor, share_a_core
from benchmarks.rivals import RIVALS, Rival

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
OTHERS = ("wire", "routing", "tasks", "resilience")
"""Benchmarks that are programs of their own: `benchmarks/<name>.py`."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    names = ["proxy", *proxy.PARTS, *OTHERS]
    parser.add_argument("names", nargs="*", default=["proxy"], metavar="name", help=f"what: {', '.join(names)}")
    parser.add_argument("--rivals", help=f"comma-separated, instead of {','.join(rival.name for rival in RIVALS)}")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (5; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="less of everything: a look, not a result")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{DOCUMENT.name}")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    return arguments


def choose_rivals(wanted: str | None) -> tuple[list[Rival], list[str]]:
    """The rivals that can take part, and why the others cannot."""
    known = {rival.name: rival for rival in RIVALS}
    names = wanted.split(",") if wanted else list(known)
    if unknown := set(names) - set(known):
        sys.exit(f"unknown rivals: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    ready, absent = [], []
    for name in names:
        reason = known[name].prepare()
        if reason is None:
            ready.append(known[name])
        else:
            absent.append(f"{name}: {reason}")
            print(f"without {absent[-1]}", flush=True)
    return ready, absent


def conditions(rivals: list[Rival], rounds: int, amount: proxy.Amount) -> str:
    """Where, when and how the numbers were taken."""
    cores = choose_cores()
    apart = (
        f"everything measured on core {cores.proxy}, mock and load generator on core {cores.tools}"
        if cores.proxy != cores.tools
        else "one core for everything, so requests/s and latencies say little"
    )
    if share_a_core(cores):
        apart += "; both are threads of one physical core, which makes every number higher"
    seconds = amount.milliseconds / 1000
    pace = f"{proxy.INTERVAL / 1000:g} ms apart"
    lines = [
        f"Measured {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; rounds: {rounds}.",
        "",
        f"- machine: {processor()}, Linux {platform.release()}, Python {platform.python_version()}; {apart}.",
        f"- request: closed loop, {proxy.CONNECTIONS} connections, {seconds:g} s, 2 KB body, 1.2 KB answer.",
        f"- chunk: {proxy.STREAMS} streams of {proxy.EVENTS} events of 200 bytes, one write each, {pace}.",
        f"- unpaced: up to {amount.flooded} such streams at once, sent as fast as they are taken.",
        f"- latency: open loop, {proxy.RATE} requests/s, {2 * seconds:g} s, timed from when each was due.",
        "- every answer and every streamed character is compared with what the mock sent.",
        "",
        *(f"- {rival.name} ({rival.version()}): {rival.about}." for rival in rivals),
    ]
    return "\n".join(lines)


def main_comparison(arguments: argparse.Namespace) -> None:
    """Measure the rivals and show the tables."""
    parts = list(proxy.PARTS) if "proxy" in arguments.names else [n for n in arguments.names if n in proxy.PARTS]
    amount = proxy.QUICK if arguments.quick else proxy.WHOLE
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    if allow_many_files() < 2 * proxy.MANY_STREAMS + 500:
        print("the limit of open files is too low to hold 5,000 streams; expect a fault", flush=True)
    rivals, absent = choose_rivals(arguments.rivals)
    where = conditions(rivals, rounds, amount)
    results = proxy.run(rivals, parts, rounds, amount, choose_cores())
    sections = [
        where,
        report.main_table(results.values),
        report.ratio_table(results.values),
        report.verdict_table(results.values),
    ]
    if (seconds := proxy.import_seconds()) is not None:
        sections.append(f"All imports of `failsoft serve` (`python -X importtime`): {seconds:.2f} s.")
    noticed = [*(f"not measured: {why}" for why in absent), *sorted(set(results.faults))]
    if noticed:
        sections.append("Noticed:\n\n" + "\n".join(f"- {line}" for line in noticed))
    text = "\n\n".join(sections)
    print(f"\n{text}")
    if arguments.json:
        kept = {"conditions": where, "values": results.values, "noticed": noticed}
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")
    if arguments.write:
        write(text)


def write(text: str) -> None:
    """Replace what stands between the marks in the document."""
    before, begin, rest = DOCUMENT.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{DOCUMENT} has no {BEGIN} … {END}")
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(argv: Sequence[str]) -> int:
    """Run what was asked for; the exit code of the first benchmark that failed, else 0."""
    arguments = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    if {"proxy", *proxy.PARTS} & set(arguments.names):
        main_comparison(arguments)
    for name in OTHERS:
        if name in arguments.names:
            if importlib.util.find_spec(f"benchmarks.{name}") is None:
                sys.exit(f"benchmarks/{name}.py does not exist")
            code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
            if code:
                return code
    return 0


sys.exit(main(sys.argv[1:]))
