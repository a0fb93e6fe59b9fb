"""The documents say what the program does: every flag, header, error kind and configuration key has its place."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from proxy.cli.main import build_parser
from proxy.core.errors import ErrorKind

ROOT = Path(__file__).parent.parent
HTTP = ROOT / "docs" / "http.md"
CLI = ROOT / "docs" / "cli.md"
_GENERATED = re.compile(r"(<!-- generated: errors -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def errors_table() -> str:
    """The error table as Markdown; `python -m tests.test_docs` writes it into the page."""
    lines = [
        "| kind | status | type | code | blame | next target | hurts health | offline answer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in ErrorKind:
        facts = kind.facts
        cells = (kind.name, facts.status, facts.type, facts.code or "", facts.blame)
        marks = (facts.next_target, facts.health, facts.offline)
        shown = ["yes" if mark is True else "" if not mark else f"{mark:g}" for mark in marks]
        lines.append("| " + " | ".join([*(f"`{cell}`" if cell else "" for cell in map(str, cells)), *shown]) + " |")
    return "\n".join(lines) + "\n"


def test_the_error_table_is_the_programs() -> None:
    found = _GENERATED.search(HTTP.read_text())

    assert found is not None
    assert errors_table() == found[2]


def headers_sent() -> set[str]:
    """Every header name that the code of the web and engine layers writes."""
    names = set()
    for folder in ("web", "engine"):
        for path in (ROOT / "proxy" / folder).rglob("*.py"):
            names |= set(re.findall(r'\(b"(x-[a-z-]+|server-timing|retry-after[a-z-]*)"', path.read_text()))
    return names - {"x-content-type-options", "x-frame-options", "x-accel-buffering", "x-client-request-id"}


@pytest.mark.parametrize("name", sorted(headers_sent()))
def test_every_header_has_a_heading(name: str) -> None:
    assert re.search(rf"^### .*`{name}`", HTTP.read_text(), re.MULTILINE), name


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command by its full name, nested ones too."""
    found: dict[str, argparse.ArgumentParser] = {}

    def walk(prefix: str, parser: argparse.ArgumentParser) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, sub in action.choices.items():
                    walk(f"{prefix} {name}", sub)
                return
        found[prefix] = parser

    walk("failsoft", build_parser())
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_and_flag_is_documented(name: str) -> None:
    section = re.search(rf"^## `{name}[ `](.*?)(?=^## |\Z)", CLI.read_text(), re.MULTILINE | re.DOTALL)

    assert section, name
    for action in commands()[name]._actions:
        for flag in action.option_strings:
            if flag.startswith("--") and flag != "--help":
                assert f"`{flag}`" in section[1], f"{name} {flag}"


def test_every_path_is_documented() -> None:
    source = (ROOT / "proxy" / "web" / "app.py").read_text()
    for path in re.findall(r'Route\("([^"]+)"', source):
        shown = path.replace("{id:path}", "{id}")
        assert shown in HTTP.read_text(), shown


def promises() -> list[tuple[str, str]]:
    """The headings of the page on reliability that promise something, and what stands under them."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    return re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("title", "told"), promises(), ids=lambda part: part if len(part) < 80 else "")
def test_every_promise_names_its_tests(title: str, told: str) -> None:
    """`folder/test_one.py`, `test_two.py`: a bare name is in the folder of the last one."""
    named = re.findall(r"`((?:tests/[\w/]+/)?)(test_\w+\.py)`", told.partition("*Tested in*")[2])
    assert named, title
    folder = ""
    for own, name in named:
        folder = own or folder
        assert (ROOT / folder / name).is_file(), f"{title}: {folder}{name}"


def test_references_within_the_documents_lead_somewhere() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for file, place in re.findall(r"\]\(([\w.-]*\.md)?#([\w-]+)\)", page.read_text()):
            headings = re.findall(r"^#+ (.+)$", (page.parent / (file or page.name)).read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert place in slugs, f"{page.name}: {file}#{place}"


if __name__ == "__main__":
    HTTP.write_text(_GENERATED.sub(lambda found: found[1] + errors_table() + found[3], HTTP.read_text()))
