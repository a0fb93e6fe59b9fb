"""The manual of the configuration file says what the code says."""

from pathlib import Path

from proxy.config.reference import render

MANUAL = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_manual_is_up_to_date() -> None:
    """If not: `python -m proxy.config.reference > docs/configuration.md`."""
    assert render() == MANUAL.read_text()


def test_every_row_says_what_its_key_means() -> None:
    rows = [line for line in render().splitlines() if line.startswith("| `") and "." in line.split("|")[1]]
    assert [row for row in rows if not row.split("|")[-2].strip()] == []
    assert len(rows) == len({row.split("|")[1] for row in rows}) > 150
