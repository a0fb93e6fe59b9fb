"""The latest records, and no more of them than there is room for."""

from __future__ import annotations

from dataclasses import replace

from proxy.adapters.ledger_memory import MemoryLedger
from tests.unit.adapters.test_logs import record


def kept(ledger: MemoryLedger, limit: int) -> list[str]:
    return [one.id for one in ledger.latest(limit)]


def test_the_newest_come_first_and_the_oldest_go():
    ledger = MemoryLedger(3)
    assert kept(ledger, 3) == []
    for number in range(5):
        ledger.write(replace(record(), id=f"r{number}"))
    assert kept(ledger, 100) == ["r4", "r3", "r2"]
    assert kept(ledger, 2) == ["r4", "r3"]
    assert kept(ledger, 0) == []
