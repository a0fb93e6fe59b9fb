"""Faults 70 to 72 in virtual time: hours of outages with steady traffic, on the product without its sockets."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from proxy.config.load import loads
from tests.semantics.behaviours import BEHAVIOURS
from tests.semantics.wire import OK, Wire
from tests.semantics.world import ADMIN, NO_FILE, Client, View, World

NAMES = ("alpha", "beta", "gamma")
PERIOD = 0.5
"""Seconds between two requests."""


class Traffic:
    """A proxy before three upstreams, and a request every PERIOD; `views` is what the clients saw."""

    def __init__(self, **upstream: Any) -> None:
        entries = {
            name: {"provider": "compatible", "url": f"https://{name}.test/v1", "keys": ["${KEY}"], **upstream}
            for name in NAMES
        }
        routes = [{"name": "all", "match": {"model": "*"}, "use": [f"{name}/*" for name in NAMES]}]
        document = {"server": {"port": 0, "admin_keys": ["${ADMIN}"]}, "upstreams": entries, "routes": routes}
        environment = {"KEY": "sk-canary", "ADMIN": ADMIN}
        snapshot = loads(json.dumps(document).encode(), NO_FILE, environment)
        self.wire = Wire(BEHAVIOURS)
        self.wire.manners = dict.fromkeys(NAMES, "good")
        self.world = World(self.wire, lambda: snapshot)
        self.world.start()

    def flow(self, seconds: float) -> list[View]:
        """So much time with traffic; the answers of that time."""
        clients = []
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
        for _ in range(int(seconds / PERIOD)):
            client = Client("POST", "/v1/chat/completions", {"content-type": "application/json"}, body)
            clients.append(self.world.begin(client))
            self.world.pass_time(PERIOD)
        self.world.pass_time(10.0)
        assert all(client.is_over for client in clients)
        return [client.view for client in clients]

    def sent(self, since: float, until: float = math.inf) -> Counter[str]:
        """How many requests each upstream saw."""
        return Counter(sent.upstream for sent in self.wire.sent if since <= sent.at < until)


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    made = Traffic()
    yield made
    made.world.stop()
    made.world.close()


@pytest.fixture
def patient() -> Iterator[Traffic]:
    """With breakers that look again later."""
    made = Traffic(breaker={"longest": "5m"})
    yield made
    made.world.stop()
    made.world.close()


def by(views: list[View]) -> Mapping[str, int]:
    """Who answered."""
    assert {view.status for view in views} == {200}
    return Counter(view.receipt["x-failsoft-upstream"] for view in views)


@pytest.mark.fault(70)
def test_70_ten_minutes_without_the_first(traffic: Traffic) -> None:
    """Everybody is served by the next; the first sees probes and, once it is back, no more than its usual traffic."""
    began = traffic.world.now
    traffic.wire.manners["alpha"] = "fails"
    assert by(traffic.flow(600)) == {"beta": 1200}
    assert traffic.sent(began)["alpha"] <= 40, "a failure or two each time, and ever longer pauses"
    traffic.wire.manners["alpha"] = "good"
    back = traffic.world.now
    traffic.flow(90)
    probed = next(sent.at for sent in traffic.wire.sent if sent.upstream == "alpha" and sent.at >= back)
    assert probed - back <= 60.0
    early = traffic.sent(probed, probed + 12)
    assert early["alpha"] < early["beta"], "it warms up"
    settled = traffic.world.now
    assert by(traffic.flow(60)) == {"alpha": 120}
    assert traffic.sent(settled) == {"alpha": 120}


@pytest.mark.fault(70)
def test_70_the_longest_pause_is_the_longest_wait_for_a_recovery(patient: Traffic) -> None:
    """And a fifth of it, for an upstream that was away for long."""
    patient.wire.manners["alpha"] = "is not there"
    assert by(patient.flow(900)) == {"beta": 1800}
    patient.wire.manners["alpha"] = "good"
    assert by(patient.flow(360 + 60))["alpha"] > 0
    assert by(patient.flow(60)) == {"alpha": 120}


@pytest.mark.fault(71)
def test_71_nobody_is_left(traffic: Traffic) -> None:
    """Each request gets an offline answer that says so; upstreams see a request a second at most."""
    traffic.wire.manners = dict.fromkeys(NAMES, "fails")
    traffic.flow(30)
    down = traffic.world.now
    views = traffic.flow(300)
    assert by(views) == {"offline": 600}
    assert all(view.receipt["x-failsoft-offline"] == "rules" for view in views)
    assert traffic.sent(down).total() <= 300 * 1.1


@pytest.mark.fault(72)
def test_72_two_of_three_fail_every_other_time(traffic: Traffic) -> None:
    """The third takes what they drop; no request is lost, and none of the three is left alone for good."""
    views = []
    for number in range(120):
        failing = "fails" if number % 2 else "good"
        traffic.wire.manners |= {"alpha": failing, "beta": failing}
        views += traffic.flow(1)
    served = by(views)
    assert served["offline"] == 0
    assert sum(served.values()) == 240
    assert all(any(sent.upstream == name and sent.fate == OK for sent in traffic.wire.sent) for name in NAMES)
