"""Any sequence of requests, upstream behaviours, clients that leave, reloads, restarts and hours: the semantics hold.

The product runs as it is assembled, in virtual time; only sockets are missing (`world.py`, `wire.py`). What it may do
is in `model.py`, what each request must come to in `judge.py`. The suite runs a few histories; `scripts/chaos --model
2000` runs as many as you like and makes what it finds small.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.config.problems import ConfigError
from tests.semantics.behaviours import BEHAVIOURS
from tests.semantics.judge import Story, judge
from tests.semantics.model import Ask, Place, Reckoning
from tests.semantics.wire import Wire
from tests.semantics.world import ADMIN, NO_FILE, Client, World

ASKED = os.environ.get("FAILSOFT_HISTORIES")
HISTORIES = int(ASKED or 40)
STEPS = 40
DEADLINES = {"m": 600.0, "solo": 45.0}
"""By route; each has the name of the model that it takes."""
KEYS = {f"KEY_{number}": f"sk-{number}-canary" for number in range(4)}
ENVIRONMENT = {**KEYS, "ADMIN": ADMIN, "NO_AUTH": "none"}
UPSTREAMS = ("alpha", "beta", "gamma")
MANNERS = st.sampled_from([*BEHAVIOURS, *["good"] * 6, *["slow"] * 3])

Configuration = tuple[Mapping[str, Place], Mapping[str, tuple[str, ...]]]
_ONE, _TWO, _THREE, _FOUR = KEYS.values()
CONFIGURATIONS: Mapping[str, Configuration] = {
    "usual": (
        {"alpha": Place((_ONE, _TWO)), "beta": Place((_THREE,)), "gamma": Place(slots=2)},
        {"m": UPSTREAMS, "solo": ("beta",)},
    ),
    "other keys and order": (
        {"alpha": Place((_TWO, _FOUR), slots=3), "beta": Place((_THREE,)), "gamma": Place(slots=1)},
        {"m": ("gamma", "alpha"), "solo": ("alpha",)},
    ),
    "without alpha": (
        {"beta": Place((_THREE, _ONE)), "gamma": Place(slots=4)},
        {"m": ("beta", "gamma"), "solo": ("gamma",)},
    ),
}
BAD = "a bad file"


def read(name: str) -> Snapshot:
    """Raises ConfigError for the bad file."""
    if name == BAD:
        raise refusal()
    return loads(written(name), NO_FILE, ENVIRONMENT)


@functools.cache
def refusal() -> ConfigError:
    """Of the bad file; to find all the names that were meant takes a while."""
    with pytest.raises(ConfigError) as refused:
        loads(written(BAD), NO_FILE, ENVIRONMENT)
    return refused.value


def written(name: str) -> bytes:
    places, routes = CONFIGURATIONS.get(name, CONFIGURATIONS["usual"])
    variables = {key: f"${{{variable}}}" for variable, key in KEYS.items()}
    upstreams = {
        upstream: {
            "provider": "compatible",
            "url": f"https://{upstream}.test/v1",
            "keys": [variables[key] for key in place.keys if key],
            "slots": {"limit": place.slots},
        }
        | ({} if any(place.keys) else {"keys": None, "auth": "${NO_AUTH}"})
        for upstream, place in places.items()
    }
    document: dict[str, Any] = {
        "server": {"port": 0, "admin_keys": ["${ADMIN}"]},
        "upstreams": upstreams,
        "routes": [
            {
                "name": f"route-{model}",
                "match": {"model": model},
                "use": [f"{upstream}/*" for upstream in route],
                "deadline": f"{DEADLINES[model]:g}s",
            }
            for model, route in routes.items()
        ],
    }
    if name == BAD:
        document["rooutes"] = []
    return json.dumps(document).encode()


class Semantics(RuleBasedStateMachine):
    """One history of a proxy."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire(BEHAVIOURS)
        self.file = self.in_force = "usual"
        self.read = functools.cache(read)
        self.world = World(self.wire, lambda: self.read(self.file))
        self.asks: dict[str, Ask] = {}
        self.clients: dict[str, Client] = {}
        """Those whose requests have not ended."""
        self.left: dict[str, float] = {}
        self.judged = 0
        """Requests of the present process that have ended."""
        self.is_sound = False
        """False before the start, and after a judgement that has failed."""

    @initialize(manners=st.tuples(*[MANNERS] * len(UPSTREAMS)))
    def begin(self, manners: tuple[str, ...]) -> None:
        self.wire.manners = dict(zip(UPSTREAMS, manners, strict=True))
        self.start()

    def start(self) -> None:
        self.read.cache_clear()  # a snapshot serves one process
        self.world.start()
        self.known = Reckoning(CONFIGURATIONS[self.in_force][0])
        self.is_sound = True
        self.wire.log.clear()
        self.judged = 0

    @rule(upstream=st.sampled_from(UPSTREAMS), behaviour=MANNERS)
    def behave(self, upstream: str, behaviour: str) -> None:
        """From now on, that upstream."""
        self.wire.manners[upstream] = behaviour

    @rule(
        count=st.sampled_from([1, 2, 5, 9]),
        stream=st.booleans(),
        model=st.sampled_from(["m", "m", "m", "solo"]),
        refuses_offline=st.booleans(),
        is_repeated=st.sampled_from([False, False, True]),
        patience=st.sampled_from([None, None, 20.0]),
    )
    def ask(
        self, count: int, *, stream: bool, model: str, refuses_offline: bool, is_repeated: bool, patience: float | None
    ) -> None:
        """So many clients ask the same at once; `patience` is the seconds that their SDK waits for a first byte."""
        places, routes = CONFIGURATIONS[self.in_force]
        whole = min(DEADLINES[model], 0.95 * patience) if patience and not stream else DEADLINES[model]
        headers = {"content-type": "application/json"}
        if refuses_offline:
            headers["x-failsoft-offline"] = "never"
        if is_repeated:
            headers["x-stainless-retry-count"] = "1"
        if patience:
            headers["x-stainless-read-timeout"] = str(patience)
        for _ in range(count):
            number, now = len(self.asks), self.world.now
            ask = Ask(number, now, stream, routes[model], model, places, now + whole, refuses_offline, is_repeated)
            body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": ask.name}]}
            named = {**headers, "x-correlation-id": ask.name}
            self.asks[ask.name] = ask
            self.clients[ask.name] = self.world.begin(
                Client("POST", "/v1/chat/completions", named, json.dumps(body).encode())
            )
        self.world.settle()

    @rule(seconds=st.sampled_from([0.06, 0.3, 1.1, 4.2, 7.0, 31.0, 61.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """One of the clients hangs up."""
        name = data.draw(st.sampled_from(sorted(self.clients)))
        self.left[name] = self.world.now
        self.clients[name].leave()
        self.world.settle()
        assert self.clients[name].is_over

    @rule(file=st.sampled_from([*CONFIGURATIONS, BAD]))
    def reload(self, file: str) -> None:
        self.follow()
        self.file = file
        answer = self.world.admin("POST", "reload")
        assert answer.status == (409 if file == BAD else 200), answer.body
        self.file = self.in_force = self.in_force if file == BAD else file
        self.known.adopt(CONFIGURATIONS[self.in_force][0], self.world.now)

    @rule(leaving=st.booleans())
    def restart(self, *, leaving: bool) -> None:
        """The process ends, after its clients or with them, and another begins that knows nothing."""
        self.finish(leaving=leaving)
        self.world.stop()
        self.start()

    def finish(self, *, leaving: bool) -> None:
        """Until everybody has an answer, or all have hung up."""
        for name, client in self.clients.items():
            if leaving:
                self.left[name] = self.world.now
                client.leave()
        self.world.pass_time(1.0 if leaving else max(DEADLINES.values()) + 1.0)
        self.tell()
        assert not self.clients, "every request ends"
        self.check_idle()

    def follow(self) -> None:
        sound, self.is_sound = self.is_sound, False
        self.known.follow(self.wire.log, self.asks)
        self.is_sound = sound

    @invariant()
    def tell(self) -> None:
        """Judge what has ended, and count what has not."""
        self.follow()
        over = {name: client for name, client in self.clients.items() if client.is_over}
        if not over:
            return
        self.is_sound = False
        self.judged += len(over)
        records = self.records()
        for name, client in over.items():
            del self.clients[name]
            assert client.task is not None
            client.task.result()
            story = Story(self.asks[name], self.wire.of(name), client.view, client.ended, self.left.get(name))
            judge(story, self.known)
            (record,) = (record for record in records if record["correlation_id"] == name)
            compare(record, story)
        self.is_sound = True

    def records(self) -> list[dict[str, Any]]:
        """What was written down, once for each request that has ended."""
        (told,) = self.world.admin("GET", "requests?limit=1000").data
        records: list[dict[str, Any]] = told["requests"]
        assert len(records) == min(1000, self.judged)
        return records

    def check_idle(self) -> None:
        """Nothing is held when nobody is there."""
        self.world.pass_time(6.0)
        assert not self.wire.open, "an answer of an upstream was not closed"
        (status,) = self.world.admin("GET", "status").data
        assert (status["in_flight"], status["buffered_bytes"]) == (0, 0)
        for upstream in status["upstreams"]:
            assert upstream["in_flight"] == 0
            assert not upstream["slots"] or (upstream["slots"]["in_flight"], upstream["slots"]["queued"]) == (0, 0)
        assert not any(key in json.dumps(status) for key in KEYS.values()), "keys are nobody's business"

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self.finish(leaving=False)
                self.world.stop()
        finally:
            self.world.close()


def compare(record: Mapping[str, Any], story: Story) -> None:
    """The one record of a request says what happened."""
    view = story.view
    made = [(a["upstream"], a["model"]) for a in record["attempts"] if a["outcome"] != "deadline" or a["ms"]]
    assert [place for place in made if place[0] != "offline"] == [sent.place for sent in story.tries]
    if not view.is_whole:
        assert (record["status"], record["ended"]) == (499, "client_gone")
    elif view.status:
        assert record["status"] == view.status
    assert (record["offline"] is not None) == ("x-failsoft-offline" in view.receipt)


TestSemantics = Semantics.TestCase
TestSemantics.settings = settings(
    max_examples=HISTORIES,
    stateful_step_count=STEPS,
    deadline=None,
    phases=[phase for phase in Phase if ASKED or phase is not Phase.shrink],  # which takes longer than the suite may
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    print_blob=True,
)
