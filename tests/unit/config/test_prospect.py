"""What is said of each candidate: how the request gets there, what it loses, what it costs, how it is there now."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.config.load import loads
from proxy.config.prospect import Answer, answer
from proxy.config.question import Question, assume
from proxy.core.errors import ProxyError
from proxy.routing.view import StillView
from proxy.wire.dialects import discover

SNAPSHOT = loads(
    b"""
upstreams:
  home: {provider: lmstudio}
  cloud: {provider: openai, keys: ["${KEY}"], drop: [seed]}
  chat: {provider: deepseek, keys: ["${KEY}"]}
tenants: {public: {anonymous: true, defaults: {max_tokens: 50}}}
routes:
  - {name: all, match: {model: "*"}, use: [home/a, cloud/b, chat/c], params: {temperature: 0}}
prices: {cloud/b: {input: 1, output: 10}}
""",
    "f",
    {"KEY": "k"},
)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def asked(body: dict[str, Any], view: StillView | None = None, **more: Any) -> Answer:
    question = Question(json.dumps(body).encode(), **more)
    seen = assume(view or StillView(), {}, SNAPSHOT.upstreams)
    return answer(question, SNAPSHOT, discover(), seen, lambda: datetime(2026, 1, 5, tzinfo=UTC))


def test_identity_and_price() -> None:
    seen = asked(CHAT | {"max_tokens": 1000}, tokens=2000)

    assert seen.prospects["home/a"].words() == ["identity", "costs nothing"]
    assert seen.prospects["cloud/b"].cost == pytest.approx((2000 * 1 + 1000 * 10) / 1e6)
    assert seen.prospects["chat/c"].words() == ["identity", "price unknown"]
    assert seen.prospects["offline/rules"].crossing == "in the process"


def test_a_field_that_the_upstream_refuses_is_a_loss() -> None:
    seen = asked(CHAT | {"seed": 1})

    assert seen.prospects["cloud/b"].losses == ("seed: the upstream refuses this field",)
    assert seen.prospects["home/a"].losses == ()


def test_a_translation_says_what_it_loses() -> None:
    body = {"model": "m", "prompt": "Once", "echo": False, "logprobs": 3}
    prospect = asked(body, endpoint="/v1/completions").prospects["chat/c"]

    assert (prospect.mode.value, prospect.crossing) == ("translate", "openai_completions → openai_chat")
    assert prospect.refused is not None or prospect.losses


def test_a_request_that_cannot_be_said_elsewhere() -> None:
    prospect = asked({"model": "m", "prompt": [1, 2, 3]}, endpoint="/v1/completions").prospects["chat/c"]

    assert prospect.refused is not None
    assert prospect.words()[0].startswith("cannot be sent: ")


def test_the_present() -> None:
    view = StillView(
        down=frozenset({"home"}), opened=frozenset({"cloud/b"}), first_tokens={"chat/c": 0.412}, busy={"chat": 2}
    )
    seen = asked(CHAT, view)

    assert asked(CHAT, StillView(throttled=frozenset({"cloud/b"}))).prospects["cloud/b"].state == ("throttled",)
    assert seen.prospects["home/a"].state == ("down",)
    assert seen.prospects["cloud/b"].state == ("breaker open",)
    assert seen.prospects["chat/c"].state == ("2 in flight", "first token after 0.41 s")


def test_json_and_text_say_the_same() -> None:
    seen = asked(CHAT)
    data = json.loads(json.dumps(seen.as_json()))

    assert data["text"] == seen.text
    assert [row["target"] for row in data["targets"]][:3] == ["home/a", "cloud/b", "chat/c"]
    assert data["targets"][0] | {"notes": []} == {
        "target": "home/a",
        "params": {"temperature": 0},
        "notes": [],
        "mode": "identity",
        "losses": [],
        "refused": None,
        "cost_usd": 0.0,
        "state": [],
    }


def test_a_request_that_goes_nowhere_is_explained() -> None:
    """The error is the answer."""
    nowhere = loads(b"upstreams: {home: {provider: lmstudio, enabled: false}}\noffline: {levels: []}", "f", {})
    body = json.dumps(CHAT | {"model": "home/x"}).encode()
    seen = answer(Question(body), nowhere, discover(), StillView(), lambda: datetime(2026, 1, 5, tzinfo=UTC))

    assert seen.as_json()["error"]["code"] == "no_upstream"
    assert "error 503 no_upstream" in seen.text


def test_a_body_that_no_rule_is_asked_about() -> None:
    with pytest.raises(ProxyError):
        asked({"model": "m"})
