"""What `explain` says, by the file alone and by the running server, is what then happens."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from proxy.cli.main import main
from proxy.config.load import loads
from proxy.config.prospect import answer
from proxy.config.question import Question, assume
from proxy.core.clock import FakeClock
from proxy.routing.view import StillView
from proxy.wire.dialects import discover
from tests.e2e.conftest import Serve, running
from tests.e2e.harness import ADMIN, CHAT, ENVIRONMENT, Answer, Proxy, document, upstream, write
from tests.upstream import FakeUpstream, Script
from tests.upstream.dialects.openai_models import MODELS

OPERATOR = {"authorization": f"Bearer {ADMIN}"}
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
KEYS = {name: f"key-of-{name}" for name in ("golden", "poor", "strict", "fond")}
TENANTS: dict[str, Any] = {
    "golden": {"plan": "gold"},
    "poor": {"plan": "free"},
    "strict": {"flags": {"offline": "never"}},
    "fond": {"defaults": {"model": "nice", "max_tokens": 9}},
}
NAMES = ("a", "b", "c")
LONG = 400.0
"""Seconds after which every breaker lets something through."""


def config(urls: Mapping[str, str]) -> dict[str, Any]:
    """A bit of everything; `c` speaks chat only, so that legacy completions are translated."""
    ways: dict[str, dict[str, Any]] = {
        "security": {"match": {"task": "security"}, "use": ["a/safe", "offline/rules"], "params": {"temperature": 0}},
        "free": {"match": {"plan": "free"}, "use": ["a/cheap", "b/cheap", "c/cheap"], "order": "cheapest"},
        "tools": {"match": {"has": ["tools"]}, "use": ["b/tools", "c/tools"]},
        "team": {"match": {"header": {"x-team": "l*"}, "metadata": {"job": "1"}}, "use": ["c/t"], "offline": "never"},
        "long": {"match": {"tokens": "> 200"}, "use": ["b/long", "a/long"]},
        "drawn": {"match": {"stream": True, "not": {"plan": "gold"}}, "use": ["c/s", "a/s"], "order": "weighted"},
        "legacy": {"match": {"endpoint": "/v1/completions"}, "use": ["c/old", "a/*"]},
        "code": {"match": {"model": ["auto", "nice"], "task": "code"}, "use": ["nice"]},
        "rest": {"use": ["a/*", "b/*", "c/*"]},
    }
    retry = {"attempts": 10, "base": "1ms", "max": "1ms"}
    upstreams = {name: upstream(url, breaker={"slow_start": "0s"}) for name, url in urls.items()}
    upstreams["a"]["default_model"] = "own"
    upstreams["c"]["provider"] = "deepseek"
    hashes = {name: "sha256:" + hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
    return document(
        upstreams,
        models={"nice": ["c/nice", "b/nice"]},
        plans={"gold": {}, "free": {"models": ["a/*", "nice"]}},
        tenants={
            "public": {"anonymous": True},
            **{name: facts | {"keys": [hashes[name]]} for name, facts in TENANTS.items()},
        },
        routes=[{"name": name, "retry": retry} | way for name, way in ways.items()],
        prices={"a/cheap": {"input": 3, "output": 3}, "b/cheap": {"input": 1, "output": 1}},
    )


@dataclass(frozen=True)
class Asked:
    """One request, who sends it, which upstreams fail meanwhile, and which targets have done so before."""

    body: Mapping[str, Any]
    endpoint: str
    tenant: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    down: frozenset[str] = frozenset()
    opened: frozenset[str] = frozenset()


PROMPTS = (
    "Hello",
    "Fix this traceback: TypeError in app.py line 3",
    "Is this phishing? The mail has malware attached.",
    "word " * 400,
)
TARGETS = ("a/safe", "a/cheap", "b/cheap", "c/nice", "b/nice", "c/t", "a/long", "a/x", "b/x", "c/x", "a/own", "c/s")
ASKED_FOR = ("auto", "nice", "a/x", "c/x", "own", "safe", "t", "nicer", "fake-small", "offline/rules")


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    body: dict[str, Any] = {"model": draw(st.sampled_from(ASKED_FOR)), "user": draw(st.sampled_from("xyz"))}
    endpoint = draw(st.sampled_from(("/v1/chat/completions",) * 3 + ("/v1/completions",)))
    prompt = draw(st.sampled_from(PROMPTS))
    if endpoint == "/v1/completions":
        body["prompt"] = prompt
    else:
        body["messages"] = [{"role": "user", "content": prompt}]
        if draw(st.booleans()):
            body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    body |= draw(st.sampled_from(({}, {"stream": True}, {"stream": False}, {"metadata": {"job": "1"}})))
    headers = draw(
        st.sampled_from(({}, {"x-team": "labs"}, {"x-failsoft-offline": "never"}, {"x-failsoft-task": "security"}))
    )
    if headers.get("x-team"):
        body["metadata"] = {"job": "1"}
    return Asked(
        body,
        endpoint,
        draw(st.sampled_from((None, *KEYS))),
        headers,
        frozenset(draw(st.sets(st.sampled_from(NAMES)))),
        frozenset(draw(st.one_of(st.just(set()), st.sets(st.sampled_from(TARGETS), max_size=4)))),
    )


def _bare(said: Mapping[str, Any]) -> dict[str, Any]:
    """An explanation without what only a server can know: how its upstreams did so far."""
    targets = [{**target, "notes": [], "state": []} for target in said["targets"]]
    return {**said, "targets": targets, "text": ""}


class World:
    """A running proxy, three upstreams, and the same file without a server."""

    def __init__(
        self, proxy: Proxy, fakes: Mapping[str, FakeUpstream], written: Mapping[str, Any], clock: FakeClock
    ) -> None:
        self.proxy = proxy
        self.clock = clock
        self.fakes = fakes
        self.snapshot = loads(json.dumps(written).encode(), "routes.yaml", ENVIRONMENT)
        self.lists = {name: "lists:" + ",".join(MODELS) for name in NAMES}
        self.dialects = discover()

    async def check(self, asked: Asked) -> None:
        """The law, for one request."""
        self.clock.advance(LONG)
        for fake in self.fakes.values():
            fake.reset()
            fake.default = Script()
        for target in sorted(asked.opened):
            await self.open(target)
        for name, fake in self.fakes.items():
            fake.default = Script(status=503) if name in asked.down else Script()
        told, foretold = await self.by_the_server(asked), self.by_the_file(asked)
        happened = await self.happened(asked)
        event(f"{told['route']} → {happened.headers.get('x-failsoft-upstream', happened.status)}")
        self.compare(told, happened)
        assert _bare(foretold) == _bare(told)

    async def open(self, target: str) -> None:
        """Ask for a target that fails, now and later, until it is not asked any more."""
        name, _, model = target.partition("/")
        self.fakes[name].script(Script(status=500), model=model, times=None)
        asked = -1
        while asked < len(self.fakes[name].seen):
            asked = len(self.fakes[name].seen)
            await self.proxy.chat(model=target)

    async def by_the_server(self, asked: Asked) -> dict[str, Any]:
        question = {
            "request": asked.body,
            "endpoint": asked.endpoint,
            "headers": dict(asked.headers),
            "assume": dict.fromkeys(asked.down, "down"),
        }
        if asked.tenant is not None:
            question["tenant"] = asked.tenant
        answered = await self.proxy.post("/admin/explain", question, OPERATOR)
        assert answered.status == 200, answered.body
        said: dict[str, Any] = answered.json
        return said

    def by_the_file(self, asked: Asked) -> dict[str, Any]:
        states = {name: f"{lists} down" if name in asked.down else lists for name, lists in self.lists.items()}
        states |= dict.fromkeys(asked.opened, "open")
        question = Question(json.dumps(asked.body).encode(), asked.endpoint, asked.headers, asked.tenant)
        view = assume(StillView(), states, self.snapshot.upstreams)
        return answer(question, self.snapshot, self.dialects, view, lambda: NOW).as_json()

    async def happened(self, asked: Asked) -> Answer:
        key = {} if asked.tenant is None else {"authorization": f"Bearer {KEYS[asked.tenant]}"}
        return await self.proxy.post(asked.endpoint, asked.body, {**asked.headers, **key})

    def compare(self, said: Mapping[str, Any], happened: Answer) -> None:
        """The receipt of what happened is the first candidate of what was said."""
        if said["error"] is not None:
            assert (happened.status, happened.error["code"]) == (said["error"]["status"], said["error"]["code"])
            return
        assert happened.headers["x-failsoft-route"] == said["route"]
        if said["first"] is None:
            assert happened.status >= 500
            return
        (row,) = (row for row in said["targets"] if row["target"] == said["first"])
        assert happened.status == 200, happened.body
        got = happened.headers
        assert f"{got['x-failsoft-upstream']}/{got['x-failsoft-model']}" == said["first"]
        assert got["x-failsoft-mode"] == row["mode"]


def test_explanations_foretell_what_happens() -> None:
    """Random requests, tenants, failures and open breakers; the file alone and the running server foretell the same."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def start() -> World:
            fakes = {name: await stack.enter_async_context(FakeUpstream()) for name in NAMES}
            written = config({name: fake.url for name, fake in fakes.items()})
            clock = FakeClock()
            return World(await stack.enter_async_context(running(written, clock=clock)), fakes, written, clock)

        world = runner.run(start())

        @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(requests())
        def law(asked: Asked) -> None:
            runner.run(world.check(asked))

        try:
            law()
        finally:
            runner.run(stack.aclose())


async def test_a_forced_route_is_forced_for_the_operator(serve: Serve, one: FakeUpstream) -> None:
    routes = [{"name": "first", "use": ["one/a"]}, {"name": "second", "match": {"stream": True}, "use": ["one/b"]}]
    proxy = await serve(document({"one": upstream(one)}, routes=routes))
    force = {"x-failsoft-route": "second"}
    told = await proxy.post("/admin/explain", {"request": CHAT | {"model": "auto"}, "headers": force}, OPERATOR)
    happened = await proxy.chat({**OPERATOR, **force}, model="auto")

    assert (told.json["forced"], told.json["first"]) == (True, "one/b")
    assert (happened.headers["x-failsoft-route"], happened.headers["x-failsoft-model"]) == ("second", "b")


async def test_a_route_that_there_is_not_cannot_be_forced(proxy: Proxy) -> None:
    answered = await proxy.post(
        "/admin/explain", {"request": CHAT, "headers": {"X-Failsoft-Route": "nowhere"}}, OPERATOR
    )

    assert answered.json["error"]["message"] == "x-failsoft-route: there is no route 'nowhere'."


@pytest.mark.parametrize(
    ("question", "status", "told"),
    [
        ({}, 400, "missing required field `request`"),
        ({"request": CHAT, "when": "now"}, 400, "unknown field `when`"),
        ({"request": CHAT, "at": "noon"}, 400, "expected a time such as"),
        ({"request": CHAT, "assume": {"two": "down"}}, 400, "no upstream `two`"),
        ({"request": CHAT, "plan": "gold"}, 400, "no plan `gold`"),
        ({"request": {"model": "m"}}, 400, "messages"),
        ({"request": CHAT, "endpoint": "/v1/nothing"}, 404, ""),
    ],
)
async def test_what_cannot_be_explained(proxy: Proxy, question: Any, status: int, told: str) -> None:
    answered = await proxy.post("/admin/explain", question, OPERATOR)

    assert answered.status == status
    assert told in answered.error["message"]


async def test_nothing_is_sent(proxy: Proxy, one: FakeUpstream) -> None:
    answered = await proxy.post("/admin/explain", {"request": CHAT}, OPERATOR)

    assert answered.json["first"] == "one/m"
    assert one.seen == []


async def test_the_command_asks_a_running_server(
    proxy: Proxy, one: FakeUpstream, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows what its upstreams list; the file alone does not."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    file = write(document({"one": upstream(one)}), tmp_path)
    request = tmp_path / "request.json"
    request.write_text(json.dumps(CHAT | {"model": "auto"}))

    async def explain(*flags: str) -> int:
        return await asyncio.to_thread(main, ["explain", str(request), *flags])

    assert await explain("--file", str(file), "--json") == 0
    alone = json.loads(capsys.readouterr().out)
    assert await explain("--url", proxy.url, "--key", ADMIN, "--json") == 0
    asked = json.loads(capsys.readouterr().out)
    assert await explain("--url", proxy.url, "--key", ADMIN, "--assume", "one=down") == 0
    text = capsys.readouterr().out
    assert await explain("--url", proxy.url, "--key", "wrong") == 1
    refused = capsys.readouterr().err

    assert (alone["route"], alone["first"]) == ("all", "offline/rules")
    assert (asked["route"], asked["first"]) == ("all", f"one/{min(MODELS)}")
    assert "route all   matched 1st of 1: model auto in [*] ✓" in text
    assert "401: This path needs an admin key." in refused
