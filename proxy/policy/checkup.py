"""One server's checkups: from a row of good and bad checks to up or down.

Rules:
    1. UNKNOWN at first, and treated as up: nobody has looked yet.
    2. `fall` bad checks in a row make it DOWN, `rise` good ones in a row UP again; the first good one ends UNKNOWN.
    3. A check that says nothing of the server leaves everything as it was, and breaks no row.
    4. A server that was never seen to have what is looked for is not judged by the lack of it (`Finding.ABSENT`): it
       may well answer prompts.
    5. While it is down somebody may insist, once in `INSIST_EVERY` seconds, where nothing better is left.

Pure: `now` is monotonic seconds.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import Field

from proxy.core.decision import Checking
from proxy.fields import Count, Duration, Section

INSIST_EVERY = 1.0

_Every = Annotated[Literal["never"] | Annotated[Duration, Field(gt=0)], Field(union_mode="left_to_right")]


class HealthConfig(Section):
    """How a server of one's own is looked after: it is asked for its list of models, which costs nothing."""

    every: _Every = 10.0
    """Time between two checks; `never` looks only at how requests end."""
    timeout: Annotated[Duration, Field(gt=0)] = 2.0
    """How long the whole list may take."""
    fall: Count = 3
    """Bad checks in a row after which it is down: requests pass over it, if there is anything else."""
    rise: Count = 2
    """Good checks in a row after which it is up again."""

    def limits(self) -> Checking | None:
        """As the policy knows it; None: never."""
        return None if self.every == "never" else Checking(self.every, self.timeout, self.fall, self.rise)


class Finding(Enum):
    """What one check came to."""

    GOOD = "good"
    BAD = "bad"
    ABSENT = "absent"  # it answers, but not to what was asked
    NOTHING = "nothing"  # whatever happened says nothing of the server


class Standing(Enum):
    """The word that is shown to people."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Checkup:
    """One server. Its limits come with each finding, so that they may change at any time."""

    __slots__ = ("_insisted_at", "_row", "due", "has_answered", "since", "standing", "why")

    def __init__(self, now: float) -> None:
        self.standing = Standing.UNKNOWN
        self.since = now
        self.due = now
        """When the next check is to be made."""
        self.why = ""
        """What the last bad check said."""
        self.has_answered = False
        self._row = 0  # good checks in a row, or bad ones if negative
        self._insisted_at = float("-inf")

    @property
    def is_down(self) -> bool:
        return self.standing is Standing.DOWN

    @property
    def in_a_row(self) -> int:
        """Good checks in a row; bad ones if negative."""
        return self._row

    def note(self, finding: Finding, why: str, limits: Checking, now: float) -> bool:
        """Take in the result of a check that ended at `now`; true if it changed `is_down`."""
        self.due = now + limits.every
        was_down = self.is_down
        if finding is Finding.GOOD:
            self.has_answered = True
            self._row = max(0, self._row) + 1
            self._settle(Standing.UP, enough=not was_down or self._row >= limits.rise, now=now)
        elif finding is Finding.BAD or (finding is Finding.ABSENT and self.has_answered):
            self.why = why
            self._row = min(0, self._row) - 1
            self._settle(Standing.DOWN, enough=-self._row >= limits.fall, now=now)
        return self.is_down is not was_down

    def may_insist(self, now: float) -> bool:
        """True if it is time to try it although it is down."""
        return now - self._insisted_at >= INSIST_EVERY

    def insist(self, now: float) -> None:
        """A request goes there although it is down."""
        self._insisted_at = now

    def _settle(self, standing: Standing, *, enough: bool, now: float) -> None:
        if enough and self.standing is not standing:
            self.standing = standing
            self.since = now
