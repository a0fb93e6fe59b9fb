"""What routing and translation go by for models of which the upstream itself has told something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.core.family import Family, Told
from proxy.engine.live import Live


def rows(live: Live) -> Iterator[dict[str, Any]]:
    """One per model; the file's word goes before the upstream's (`told`), and that before the shipped table's."""
    snapshot = live.snapshot
    for upstream in snapshot.upstreams.values():
        if upstream.disabled is None:
            for model, told in live.told_by(upstream.name).items():
                yield _row(upstream.name, model, snapshot.table.families.of(upstream.name, model, told), told)


def _row(upstream: str, model: str, family: Family, told: Told) -> dict[str, Any]:
    return {
        "upstream": upstream,
        "model": model,
        "context": family.context,
        "output": family.output,
        "lacks": sorted(family.lacks | family.no_forms),
        "efforts": family.efforts,
        "told": told.facts(),
    }
