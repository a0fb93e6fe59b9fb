"""What is left of a vendor's limits, as the headers of its answers say.

Source: OpenAI's "Rate limits" (`x-ratelimit-remaining-requests: 59`, `x-ratelimit-reset-tokens: 6m0s`), spoken by most
who speak its protocol. Providers name others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.core.decision import Meter
from proxy.wire.retry_after import seconds_until

USUAL_METERS = (
    Meter("requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    Meter("tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """`left` of what `meter` counts; `reset` and `date` are the headers' texts, understood only when it matters."""

    meter: Meter
    left: int
    reset: str
    date: str

    def seconds(self) -> float | None:
        """From the answer to the reset; None if the vendor did not say: then its numbers mean nothing."""
        return seconds_until(self.reset, self.date)


def read(meters: Sequence[Meter], headers: Mapping[str, str]) -> Sequence[Reading]:
    """The readings in an answer's (lower-cased) headers; what is no count, such as -1 for unknown, is left out."""
    return [
        Reading(meter, int(left), headers.get(meter.reset, ""), headers.get("date", ""))
        for meter in meters
        if (left := headers.get(meter.remaining)) is not None and len(left) <= 18 and left.isascii() and left.isdigit()
    ]
