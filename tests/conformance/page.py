"""`docs/conformance.md`: its rows are written from runs, and read back to be compared with new ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tests.conformance.columns import COLUMNS
from tests.conformance.features import FEATURES
from tests.conformance.judge import Cell, Feature, cell
from tests.conformance.run import bench

PAGE = Path(__file__).parent.parent.parent / "docs" / "conformance.md"
Row = Mapping[str, Cell]
"""A row's cells by the column's name."""

_HEAD = (Path(__file__).parent / "head.md").read_text()


async def run_row(feature: Feature) -> dict[str, Cell]:
    """Run the feature at every provider, on a bench of its own. Raises AssertionError for what is wrong."""
    async with bench() as fresh:
        cells = await asyncio.gather(*(cell(feature, column, fresh) for column in COLUMNS))
    return {column.name: found for column, found in zip(COLUMNS, cells, strict=True)}


def render(rows: Mapping[str, Row]) -> str:
    """The whole page, from the cells of all rows."""
    lines = [_HEAD, "| column | provider | model |", "|---|---|---|"]
    lines += [f"| {column.name} | `{column.provider}` | `{column.model}` |" for column in COLUMNS]
    for section, features in groupby(FEATURES, lambda feature: feature.section):
        names = [feature.name for feature in features]
        lines += ["", f"## {section}", "", *_table({name: rows[name] for name in names if name in rows})]
    lines += ["", "## Refusals that the fake knows", "", "| provider | answer | how it is known |", "|---|---|---|"]
    lines += [f"| `{c.provider}` | {r.status} {_plain(r.message)} | {r.source} |" for c in COLUMNS for r in c.rules]
    return "\n".join([*lines, ""])


def _table(rows: Mapping[str, Row]) -> list[str]:
    """The words, and below them why they are not `exact`: columns of one row with the same reason share a line."""
    lines = ["| | " + " | ".join(column.name for column in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [_words(name, [row[column.name].word for column in COLUMNS]) for name, row in rows.items()]
    whys = [_why(name, why, sharing) for name, row in rows.items() for why, sharing in _reasons(row).items()]
    return [*lines, *([""] if whys else []), *whys]


def _words(name: str, words: Sequence[str]) -> str:
    return f"| `{name}` | " + " | ".join(word if word == "exact" else f"**{word}**" for word in words) + " |"


def _why(name: str, why: str, columns: Sequence[str]) -> str:
    return f"- `{name}`, {', '.join(columns)}: {_plain(why)}"


def _reasons(row: Row) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for column, found in row.items():
        if found.why:
            reasons.setdefault(found.why, []).append(column)
    return reasons


def _plain(text: str) -> str:
    """As text of a table or a list, where it could be taken for mark-up."""
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")


def lines_of(name: str, page: str) -> list[str]:
    """What the page says in the row and of it."""
    return [line for line in page.splitlines() if line.startswith((f"| `{name}` |", f"- `{name}`, "))]


def lines_for(name: str, row: Row) -> list[str]:
    """What it should say."""
    return lines_of(name, "\n".join(_table({name: row})))


def without_rows(page: str) -> str:
    """The frame of the page: all but words and reasons."""
    rows = re.compile(r"^(\| `.*` \| (?:exact|\*\*)|- `).*\n", re.MULTILINE)
    return re.sub(r"\n{2,}", "\n\n", rows.sub("", page))
