"""What is left of a vendor's limits, as the headers of its answers say.

Source: OpenAI's "Rate limits" (`x-ratelimit-remaining-requests: 59`, `x-ratelimit-reset-tokens: 6m0s`), spoken by most
who speak its protocol. Providers name others. The reset is the moment when the limit is whole again; until then it
fills up evenly, so that some of it is there long before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.core.decision import Meter
from proxy.wire.retry_after import seconds_until

USUAL_METERS = (
    Meter("requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-limit-requests"),
    Meter("tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "x-ratelimit-limit-tokens"),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """`left` of what `meter` counts, of `limit` in all, None if that is unknown.

    `reset` and `date` are the headers' texts, understood only when it matters.
    """

    meter: Meter
    left: int
    limit: int | None
    reset: str
    date: str

    def wait(self, need: int) -> float | None:
        """Seconds from the answer until so many are left; None if the vendor named no reset: then `left` means nothing.

        Without a limit, as if all came back at once.
        """
        whole = seconds_until(self.reset, self.date)
        if whole is None or self.limit is None or need >= self.limit:
            return whole
        return whole * (need - self.left) / (self.limit - self.left) if need > self.left else 0.0


def read(meters: Sequence[Meter], headers: Mapping[str, str]) -> Sequence[Reading]:
    """The readings in an answer's (lower-cased) headers; what is no count, such as -1 for unknown, is left out."""
    return [
        Reading(meter, left, _count(headers.get(meter.limit)), headers.get(meter.reset, ""), headers.get("date", ""))
        for meter in meters
        if (left := _count(headers.get(meter.remaining))) is not None
    ]


def _count(text: str | None) -> int | None:
    if text is None or len(text) > 18 or not (text.isascii() and text.isdigit()):
        return None
    return int(text)
