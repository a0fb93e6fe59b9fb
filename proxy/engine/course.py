"""In which order the candidates of a decision are asked, given who rests at the moment.

Rules, for the models among the candidates (offline answers that follow them come after all of this):
    1. Whoever is well is asked in the decision's order; whoever warms up may have to wait until the others were asked.
    2. Whoever rests is passed over. But at most half of the models are: those beyond are the last resort, the one that
       failed longest ago first.
    3. If all of several rest, the one that failed longest ago is asked, once a second; all other requests move on at
       once.
    4. The models of a server that is down rest, too.
    5. Whose upstream is in maintenance, whose keys all rest, or who said a moment ago that it does not have the model,
       cannot be asked, and does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from proxy.core.decision import Target
from proxy.core.errors import UpstreamFailure
from proxy.engine.health import Health
from proxy.policy.breaker import Admission

Skip = Callable[[Target, UpstreamFailure], None]


def course(candidates: Sequence[Target], health: Health, skip: Skip) -> Iterator[Target]:
    """The targets to ask, one by one; each is judged when its turn has come. `skip` hears of those passed over."""
    last = max((number for number, target in enumerate(candidates, 1) if not target.upstream.offline), default=0)
    models = 0
    later: list[Target] = []
    resting: list[Target] = []
    for target in candidates[:last]:
        if target.upstream.offline:
            yield target
            continue
        if (failure := health.obstacle(target)) is not None:
            skip(target, failure)
            continue
        models += 1
        match health.admission(target):
            case Admission.PASS:
                yield target
            case Admission.LATER:
                later.append(target)
            case Admission.REST:
                resting.append(target)
    yield from later
    for target in _spared(resting, models, health):
        resting.remove(target)
        yield target
    for target in resting:
        skip(target, health.refusal(target))
    yield from candidates[last:]


def _spared(resting: Sequence[Target], models: int, health: Health) -> Sequence[Target]:
    """Who is asked although it rests."""
    oldest = sorted(resting, key=health.failed_at)
    if len(resting) == models:
        return oldest[:1] if models > 1 and all(map(health.may_insist, resting)) else ()
    return oldest[: max(0, len(resting) - models // 2)]
