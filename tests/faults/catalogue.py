"""The 76 faults by number, the tests that show what becomes of each, and the page that lists them.

`python -m tests.faults.catalogue` writes the table into docs/reliability.md.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

TESTS = Path(__file__).parent.parent
FOLDERS = ("faults", "e2e")
PAGE = TESTS.parent / "docs" / "reliability.md"
GENERATED = re.compile(r"(<!-- generated: faults -->\n)(.*?)(<!-- end -->)", re.DOTALL)

TITLES: Mapping[int, str] = dict(
    enumerate(
        """
        a name that does not resolve
        a name that resolves late
        a connection that nobody answers
        a connection that is refused or reset
        certificates and TLS versions that are not good
        a kept connection that is closed just before it is used again
        a reset after the request, before the head of the answer
        a reset within the head
        a head that is too large
        framing that contradicts itself
        a body that ends early
        bytes beyond the announced length
        HTTP/2
        interim answers before the answer
        compression, and bombs in it
        an upstream that stops reading
        500 once
        500 always
        the error page of a network between
        429 for a moment
        429 with a wait in any spelling
        429 because there is no money
        401
        403 for this key
        a prompt that is too long
        a model that is not there
        a spell of overload
        200 with an error inside
        200 with a body that is none
        200 with an answer that is none
        blanks in place of an answer
        redirects
        usage that cannot be
        another model's name in the answer
        fields that nobody knows
        no first word
        nothing but signs of life
        silence after the first word
        a reset after some words
        an end without a finish
        a finish without an end mark
        more after the end mark
        an error inside a stream
        a stream cut at any byte
        events and lines without end
        a flood of events
        tool calls in odd pieces
        a tool call that breaks off
        usage never, always, early, twice
        several choices of which one is cut
        odd deltas
        an answer that its vendor interrupts
        an upstream that goes on after the end
        a client that leaves
        a client that half closes
        a client that reads slowly
        a request that comes slowly
        bodies that are too large, too deep or odd
        pipelines and smuggling
        the same idempotency key twice
        kill -9
        a disk that is full or locked
        Redis in trouble
        an event loop that stands still
        a wall clock that jumps
        no descriptors or no memory left
        ten thousand idle clients, and five times too much work
        reloads that fail, remove or come all the time
        SIGTERM under load
        an outage of ten minutes
        all targets down
        two of three targets failing at once
        a vendor that answers with nothing
        a local server that unloads or crashes
        a model without a price
        a counter of tokens that fails
        """.strip().splitlines(),
        1,
    )
)

OTHERWISE: Mapping[int, str] = {
    13: "upstreams are spoken to by HTTP/1.1 only, and HTTP/2 is never offered",
    55: "it cannot be told from a client that leaves, so it is taken for one",
    60: "an `Idempotency-Key` is not looked at; each request is answered by itself",
    61: "records are in memory, and gone with the process; a start needs nothing of them",
    62: "no disk and no database is written to on behalf of a request",
    63: "there is no Redis; each process counts for itself, and says so at the start",
    73: "an answer without words is an answer, and nobody is alerted",
    75: "there are no prices; every request is served",
    76: "there is no counter that could fail; where a vendor does not count, four bytes are a token",
}
"""Where something else is true than one might expect, most often because the subject is not part of the product."""


def modules() -> Iterator[ModuleType]:
    """All modules of the folders that hold tests with the mark."""
    for folder in FOLDERS:
        for file in sorted((TESTS / folder).glob("test_*.py")):
            yield importlib.import_module(f"tests.{folder}.{file.stem}")


def shown_by() -> Mapping[int, tuple[str, ...]]:
    """For each number the tests that carry it, as `folder/file::function`."""
    found: dict[int, list[str]] = {number: [] for number in TITLES}
    for module in modules():
        for name, test in vars(module).items():
            if name.startswith("test_") and getattr(test, "__module__", None) == module.__name__:
                for number in sorted(set(_numbers(getattr(test, "pytestmark", ())))):
                    found[number].append(f"{module.__name__.removeprefix('tests.').replace('.', '/')}.py::{name}")
    return {number: tuple(tests) for number, tests in found.items()}


def _numbers(marks: Any) -> Iterator[int]:
    """The arguments of `fault` marks, also of those that single parameters carry."""
    for mark in marks:
        if mark.name == "fault":
            yield from mark.args
        elif mark.name == "parametrize":
            for value in mark.args[1]:
                yield from _numbers(getattr(value, "marks", ()))


def table() -> str:
    """The page's table."""
    rows = ["| | fault | shown in `tests/` by |", "|---|---|---|"]
    for number, tests in shown_by().items():
        told = ", ".join(f"`{test}`" for test in tests)
        reason = f" ({OTHERWISE[number]})" if number in OTHERWISE else ""
        rows.append(f"| {number} | {TITLES[number].strip()}{reason} | {told} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(GENERATED.sub(lambda found: found[1] + table() + found[3], PAGE.read_text()))
