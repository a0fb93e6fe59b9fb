"""The latest records of a process, in its memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from proxy.core.usage import UsageRecord

MOST = 1000
"""Records kept; about a kilobyte each."""


class MemoryLedger:
    """A `Ledger` and `Records`: keeps the last `most` records, and forgets the older ones.

    Any thread may write and read; each of the two is a single step of the deque, so nothing is ever half there.
    """

    __slots__ = ("_records",)

    def __init__(self, most: int = MOST) -> None:
        self._records: deque[UsageRecord] = deque(maxlen=most)

    def write(self, record: UsageRecord) -> None:
        self._records.append(record)

    def latest(self, limit: int) -> Sequence[UsageRecord]:
        return tuple(islice(reversed(self._records.copy()), limit))
