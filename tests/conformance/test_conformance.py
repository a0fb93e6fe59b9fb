"""The committed table is what the program does today, and its judge can tell right from wrong."""

from __future__ import annotations

import dataclasses

import pytest

from tests.conformance.columns import COLUMNS
from tests.conformance.features import FEATURES, PARAMETER_ROWS, TOOL_ROWS
from tests.conformance.judge import Cell, cell
from tests.conformance.page import PAGE, lines_for, lines_of, render, run_row, without_rows
from tests.conformance.run import bench
from tests.upstream import Script

ROWS = {feature.name: feature for feature in FEATURES}
BY_NAME = {column.name: column for column in COLUMNS}


@pytest.mark.parametrize("name", ROWS)
async def test_row(name):
    """If this fails and the new cells are right, write the page anew: `python -m tests.conformance`."""
    assert lines_for(name, await run_row(ROWS[name])) == lines_of(name, PAGE.read_text())


def test_the_page_has_these_rows_and_no_others():
    assert len(ROWS) == len(FEATURES), "names of rows are unique"
    rows = {name: dict.fromkeys(BY_NAME, Cell("exact")) for name in ROWS}
    page = PAGE.read_text()
    assert without_rows(page) == without_rows(render(rows))
    told = [line for name in ROWS for line in lines_of(name, page)]
    assert len(told) == sum(line.startswith(("| `", "- `")) for line in page.splitlines()) - sum(
        len(column.rules) for column in COLUMNS
    )


async def judged(feature, column):
    async with bench() as fresh:
        return await cell(feature, BY_NAME[column], fresh)


SEED = ROWS["seed"]
CALLS = TOOL_ROWS[0]


@pytest.mark.parametrize(
    ("feature", "column", "says"),
    [
        (dataclasses.replace(SEED, lands={}), "compatible", "lost in silence"),
        (dataclasses.replace(SEED, lands={"openai_chat": {"seed": 8}}), "compatible", "seed"),
        (dataclasses.replace(SEED, tells=lambda run: False), "compatible", "not told"),
        (dataclasses.replace(SEED, path="nothing"), "anthropic", "lost in silence"),
        (dataclasses.replace(CALLS, says=Script()), "gemini", "not told"),
        (dataclasses.replace(SEED, says=Script(status=422)), "compatible", "for no known reason"),
        (dataclasses.replace(SEED, says=Script(status=500)), "compatible", "upstream_fault"),
        (dataclasses.replace(ROWS["error: throttled"], fails=(429, "slow_down")), "xai", "rate_limit_exceeded"),
    ],
)
async def test_what_is_wrong_is_no_cell(feature, column, says):
    with pytest.raises((AssertionError, KeyError), match=says):
        await judged(feature, column)


async def test_words_follow_the_evidence():
    assert (await judged(SEED, "anthropic")).word == "dropped"
    assert (await judged(SEED, "gemini")) == Cell("exact")
    assert (await judged(dataclasses.replace(SEED, stands_in=lambda run: True), "anthropic")).word == "emulated"
    assert (await judged(ROWS["custom tools"], "anthropic")).word == "refused"
    assert {feature.section for feature in PARAMETER_ROWS} == {"Parameters"}
