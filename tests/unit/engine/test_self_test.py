"""The offline path is run now and then, and somebody hears of it when it is broken."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial

import pytest

from proxy.adapters.local_models import LocalModels
from proxy.adapters.schemas import compile_schema
from proxy.adapters.transport_http import HttpTransport
from proxy.adapters.transport_offline import OfflineTransport
from proxy.config.load import loads
from proxy.core.clock import FakeClock
from proxy.core.decision import Target, Upstream
from proxy.core.ports import WireRequest, WireResponse
from proxy.core.secret import Secret
from proxy.engine.attempt import Attempts
from proxy.engine.live import Live
from proxy.engine.readiness import Readiness
from proxy.engine.self_test import Result, SelfTest
from proxy.synth.rules import OfflineConfig
from proxy.wire import dialects as wire_dialects

DIALECTS = wire_dialects.discover()
CHAT = wire_dialects.heard(DIALECTS)["openai_chat"]


class Ears:
    """Nobody learns from a self-test."""

    def heard(self, target: Target, _key: Secret, _headers: Mapping[str, str]) -> None:
        raise AssertionError(target)

    def began(self, upstream: Upstream, _prompt: int, _seconds: float) -> None:
        raise AssertionError(upstream)


class Moody:
    """Offline answers that break on some days."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None

    def __call__(self, config: OfflineConfig) -> Moody:
        self._real = OfflineTransport({"/chat/completions": CHAT}, lambda _schema, _value: False, config)
        return self

    async def send(self, request: WireRequest) -> WireResponse:
        if self.trouble is not None:
            raise self.trouble
        return await self._real.send(request)

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.fixture
def moody() -> Moody:
    return Moody()


@pytest.fixture
def live() -> Live:
    return made({})


def made(offline: Mapping[str, object]) -> Live:
    return Live(loads(json.dumps({"offline": offline}).encode(), "routes.yaml", {}), FakeClock())


def self_test(live: Live, moody: Moody) -> SelfTest:
    nobody = HttpTransport()
    ready = Readiness(live, LocalModels(nobody))
    make = partial(Attempts, nobody, moody, DIALECTS, ready, live.clock, compile_schema)
    return SelfTest(live, make(Ears()), CHAT)


async def run(tested: SelfTest) -> Result:
    await tested.run()
    assert tested.last is not None
    return tested.last


async def test_every_level_that_is_built_in_is_asked(live, moody):
    live.clock.advance(60)
    result = await run(self_test(live, moody))
    assert result.ok
    assert result.levels["rules"] == "ok"
    assert "stale" not in result.levels
    assert result.describe()["at"] == "2026-01-01T00:01:00+00:00"


@pytest.mark.parametrize(
    "text", ["Nothing can be reached: {request_id}", "¡Ay! {{}} {model} {route} {retry_after}\n\n"]
)
async def test_the_rules_of_the_file_are_run(moody, text):
    live = made({"levels": ["rules"], "rules": [{"name": "r", "text": text}]})
    assert (await run(self_test(live, moody))).ok


async def test_a_failure_is_an_error_in_the_log_each_time(live, moody, caplog):
    tested = self_test(live, moody)
    moody.trouble = ZeroDivisionError("a bug")
    with caplog.at_level(logging.ERROR, "failsoft"):
        for _ in range(2):
            result = await run(tested)
            assert not result.ok
            assert "ZeroDivisionError" in result.levels["rules"]
    assert [r.getMessage() for r in caplog.records].count(
        f"the self-test of offline answers failed: {result.levels}"
    ) == 2
    moody.trouble = None
    with caplog.at_level(logging.INFO, "failsoft"):
        assert (await run(tested)).ok
    assert "well again" in caplog.text


async def test_nothing_is_asked_where_no_level_is_on(moody):
    tested = self_test(made({"levels": []}), moody)
    await tested.run()
    assert tested.last is None
