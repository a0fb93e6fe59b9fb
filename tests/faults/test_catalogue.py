"""The catalogue is whole: each of its 76 faults has a test, and the page names it."""

from __future__ import annotations

import pytest

from tests.faults import catalogue


def test_there_are_76_faults() -> None:
    assert list(catalogue.TITLES) == list(range(1, 77))


@pytest.mark.parametrize("number", catalogue.TITLES)
def test_each_has_a_test(number: int) -> None:
    assert catalogue.shown_by()[number], catalogue.TITLES[number]


def test_the_page_lists_them() -> None:
    found = catalogue.GENERATED.search(catalogue.PAGE.read_text())
    assert found is not None
    assert found[2] == catalogue.table()
