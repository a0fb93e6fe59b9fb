"""When and where a request that waits for its first word is put to a second target; the rules are `policy/hedge.py`."""

from __future__ import annotations

from proxy.core.decision import Decision, Target, Upstream
from proxy.engine.admission import Admission
from proxy.engine.delivery import Delivery
from proxy.engine.live import Live
from proxy.policy.breaker import Admission as Admitted
from proxy.policy.breaker import State
from proxy.policy.hedge import HedgeBudget, is_full, may_be_doubled, wait
from proxy.wire.peek import top_level


class Hedging:
    """One per process. Budgets are known by their routes' names, so that they outlive snapshots."""

    def __init__(self, live: Live, admission: Admission) -> None:
        self._live = live
        self._admission = admission
        self._budgets: dict[str, HedgeBudget] = {}

    def note(self, decision: Decision) -> None:
        """A request of a route with hedges begins."""
        self._budget(decision).earn()

    def patience(self, delivery: Delivery, target: Target) -> float | None:
        """Seconds that the target has for itself, None if nobody is asked beside it."""
        decision, upstream = delivery.journey.decision, target.upstream
        assert decision is not None
        if decision.hedge is None or not _is_elsewhere(upstream):
            return None
        if any(made.is_hedge for made in delivery.journey.attempts):
            return None
        now, streamed = self._live.clock.monotonic(), delivery.inbound.peek.stream
        usual = self._live.first_tokens.usual(upstream.name, target.model, delivery.size, now, streamed=streamed)
        return wait(decision.hedge, usual)

    def choose(self, delivery: Delivery, slow: Target) -> Target | None:
        """Who is asked beside `slow`, as of now, and paid for; None if nobody is."""
        journey, live = delivery.journey, self._live
        decision = journey.decision
        assert decision is not None
        if is_full(live.under_way, live.server.max_in_flight) or not self._is_at_ease(slow):
            return None
        asked = {str(slow), *(name for name, _ in journey.failures)}
        others = (one for one in decision.candidates if str(one) not in asked and _is_elsewhere(one.upstream))
        chosen = next((one for one in others if live.health.rest(one) is None and self._is_at_ease(one)), None)
        if chosen is None or not _may_be_doubled(delivery, decision, slow, chosen):
            return None
        is_warm = live.health.admission(chosen) is Admitted.PASS
        return chosen if is_warm and self._budget(decision).take() else None

    def _is_at_ease(self, target: Target) -> bool:
        crowd = self._admission.crowd(target.upstream)
        is_crowded = is_full(crowd.in_flight + crowd.queued, crowd.limit)
        return not is_crowded and self._live.health.state(target) is State.CLOSED

    def _budget(self, decision: Decision) -> HedgeBudget:
        return self._budgets.setdefault(decision.route, HedgeBudget())


def _is_elsewhere(upstream: Upstream) -> bool:
    """On nobody's own machine, and nothing has to be loaded for it."""
    return not (upstream.local or upstream.offline or upstream.keep is not None)


def _may_be_doubled(delivery: Delivery, decision: Decision, *targets: Target) -> bool:
    said = {**decision.defaults, **top_level(delivery.inbound.body)}
    return all(may_be_doubled({**said, **target.params}) for target in targets)
