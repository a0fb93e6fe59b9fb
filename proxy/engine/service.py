"""Which upstreams take requests: those that an operator has taken out of service do not, nor those whose checks fail.

Known by the upstreams' names, so that it outlives snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from proxy.core.clock import Clock
from proxy.core.decision import Checking, Upstream
from proxy.core.ports import Pause
from proxy.policy.checkup import Checkup, Finding


@dataclass(frozen=True, slots=True)
class _Paused:
    """`ends` is in monotonic seconds."""

    pause: Pause
    ends: float


@dataclass(slots=True)
class _Checked:
    """`url`: a name that stands for another place now begins anew."""

    url: str
    checkup: Checkup


class Service:
    """One per process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pauses: dict[str, _Paused] = {}
        self._checked: dict[str, _Checked] = {}
        self._down: set[str] = set()
        self._changes = 0

    @property
    def version(self) -> int:
        """Changes whenever `is_down` or `pause_of` would answer otherwise than before."""
        if self._pauses:
            self._wake()
        return self._changes

    # Maintenance

    def set_pause(self, upstream: str, pause: Pause | None) -> bool:
        """No new request goes there from now on, or it takes them again; false if it was so before.

        Only how far off the end is matters, so that a wall clock that is put right later changes nothing.
        """
        if pause == self.pause_of(upstream):
            return False
        self._changes += 1
        if pause is None:
            del self._pauses[upstream]
            return True
        left = inf if pause.until is None else (pause.until - self._clock.wall()).total_seconds()
        self._pauses[upstream] = _Paused(pause, self._clock.monotonic() + left)
        return True

    def pause_of(self, upstream: str) -> Pause | None:
        """None for an upstream that is not in maintenance."""
        if not self._pauses:
            return None
        self._wake()
        paused = self._pauses.get(upstream)
        return None if paused is None else paused.pause

    def _wake(self) -> None:
        now = self._clock.monotonic()
        over = [name for name, paused in self._pauses.items() if now >= paused.ends]
        for name in over:
            del self._pauses[name]
            self._changes += 1

    # Checks

    def is_down(self, upstream: str) -> bool:
        return upstream in self._down

    def why_down(self, upstream: str) -> str:
        """For operators; empty for an upstream that is not down."""
        if upstream not in self._down:
            return ""
        checkup = self._checked[upstream].checkup
        return f"{-checkup.in_a_row} checks failed in a row ({checkup.why})" if checkup.in_a_row < 0 else checkup.why

    def down_since(self, upstream: str) -> float:
        """Monotonic seconds; minus infinity if it is not down."""
        return self._checked[upstream].checkup.since if upstream in self._down else -inf

    def may_insist(self, upstream: str) -> bool:
        """True but for an upstream that is down and was tried nevertheless a moment ago."""
        return upstream not in self._down or self._checked[upstream].checkup.may_insist(self._clock.monotonic())

    def enter(self, upstream: str) -> None:
        """A request goes there, whatever its checks say."""
        if upstream in self._down:
            self._checked[upstream].checkup.insist(self._clock.monotonic())

    def checkup(self, upstream: Upstream) -> Checkup:
        """What is known of the upstream's checks."""
        known = self._checked.get(upstream.name)
        if known is None or known.url != upstream.url:
            self._forget(upstream.name)
            known = self._checked[upstream.name] = _Checked(upstream.url, Checkup(self._clock.monotonic()))
        return known.checkup

    def note(self, upstream: Upstream, finding: Finding, why: str, limits: Checking) -> bool:
        """A check has ended; true if the upstream went down or came up by it."""
        checkup = self.checkup(upstream)
        has_changed = checkup.note(finding, why, limits, self._clock.monotonic())
        if has_changed:
            (self._down.add if checkup.is_down else self._down.discard)(upstream.name)
            self._changes += 1
        return has_changed

    def adopt(self, upstreams: Mapping[str, Upstream]) -> None:
        """There are other upstreams now: who is not checked any more is not down. Pauses stay, by name."""
        for name, known in list(self._checked.items()):
            upstream = upstreams.get(name)
            if upstream is None or upstream.checking is None or upstream.url != known.url:
                self._forget(name)

    def _forget(self, upstream: str) -> None:
        self._checked.pop(upstream, None)
        if upstream in self._down:
            self._down.discard(upstream)
            self._changes += 1

    # For people

    def describe(self, upstream: Upstream) -> dict[str, Any]:
        """The form shown under `/admin/status` and `/admin/health`."""
        pause = self.pause_of(upstream.name)
        return {
            "maintenance": None if pause is None else describe_pause(pause),
            "checks": None if upstream.checking is None else self._describe_checks(upstream),
        }

    def _describe_checks(self, upstream: Upstream) -> dict[str, Any]:
        checkup, now = self.checkup(upstream), self._clock.monotonic()
        return {
            "state": checkup.standing.value,
            "seconds": round(now - checkup.since, 3),
            "in_a_row": checkup.in_a_row,
            "last_failure": checkup.why or None,
        }


def describe_pause(pause: Pause) -> dict[str, Any]:
    return {
        "reason": pause.reason,
        "by": pause.by,
        "since": pause.since.isoformat(timespec="seconds"),
        "until": None if pause.until is None else pause.until.isoformat(timespec="seconds"),
    }
