"""`failsoft routes diff`: what a new version of a file would change for the requests of a log."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.cli.file import load

if TYPE_CHECKING:
    from proxy.config.replay import Comparison

_SHOWN = 20


def add_to(commands: Any) -> None:
    """Register the command."""
    routes = commands.add_parser("routes", help="compare two versions of a routes.yaml")
    parser = routes.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "diff", help="which recorded requests would go elsewhere"
    )
    parser.add_argument("old", type=Path, help="the file as it is")
    parser.add_argument("new", type=Path, help="the file as it would be")
    parser.add_argument("--replay", type=Path, required=True, metavar="LOG", help="request log, one JSON object a line")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare; 1 if a file has mistakes or the log cannot be read."""
    from proxy.config.replay import compare

    old, new = load(arguments.old), load(arguments.new)
    if old is None or new is None:
        return 1
    try:
        with arguments.replay.open(encoding="utf-8", errors="replace") as lines:
            comparison = compare(old, new, lines)
    except OSError as error:
        print(f"{arguments.replay}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(json.dumps(_as_json(comparison), indent=1) if arguments.json else "\n".join(_lines(comparison)))
    return 0


def _lines(comparison: Comparison) -> list[str]:
    lines = [f"{comparison.replayed} requests replayed, {comparison.skipped.total()} left out"]
    lines += [f"  {count} lines: {why}" for why, count in comparison.skipped.most_common()]
    lines += [f"  {caveat}" for caveat in comparison.caveats]
    lines.append(f"another route:  {_share(comparison.routes_changed, comparison)}")
    lines.append(f"another target: {_share(comparison.targets_changed, comparison)}")
    for (route, first, new_route, new_first), count in comparison.moves.most_common(_SHOWN):
        lines.append(f"  {count:>6}  {route} {first} → {new_route} {new_first}")
    if len(comparison.moves) > _SHOWN:
        lines.append(f"  and {len(comparison.moves) - _SHOWN} kinds of change more")
    old, new = comparison.old_cost, comparison.new_cost
    change = f" ({(new - old) / old:+.1%})" if old else ""
    unpriced = comparison.replayed - comparison.priced
    lines.append(f"estimated cost: {old:.4f} USD → {new:.4f} USD{change}, without {unpriced} requests of unknown price")
    return lines


def _share(count: int, comparison: Comparison) -> str:
    return f"{count} ({count / comparison.replayed:.1%})" if comparison.replayed else "0"


def _as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "replayed": comparison.replayed,
        "left_out": dict(comparison.skipped),
        "caveats": list(comparison.caveats),
        "routes_changed": comparison.routes_changed,
        "targets_changed": comparison.targets_changed,
        "moves": [
            {"count": count, "from": {"route": a, "target": b}, "to": {"route": c, "target": d}}
            for (a, b, c, d), count in comparison.moves.most_common()
        ],
        "cost_usd": {"old": comparison.old_cost, "new": comparison.new_cost, "requests": comparison.priced},
    }
