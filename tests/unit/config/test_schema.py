"""The JSON Schema of the file, and the snapshot as the engine uses it."""

import json

import pytest

from proxy.config.load import loads
from proxy.config.locate import known_keys
from proxy.config.schema import json_schema
from proxy.core.clock import FakeClock
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.request import Inbound, Peek
from proxy.routing.contents import read_contents
from proxy.routing.facts import Facts
from proxy.routing.view import StillView
from tests.unit.config import golden


def test_the_schema_describes_every_key_in_words() -> None:
    """An editor shows these words; they are the manual's too."""
    schema = json_schema()
    objects = [schema, *schema["$defs"].values()]
    silent = [
        f"{part.get('title')}.{name}"
        for part in objects
        for name, field in part.get("properties", {}).items()
        if not field.get("description")
    ]
    assert silent == []


def test_the_schema_is_json_and_holds_no_secret() -> None:
    text = json.dumps(json_schema())
    assert golden.CANARY not in text
    assert json.loads(text)["additionalProperties"] is False


def test_known_keys_are_found_at_any_depth() -> None:
    schema = json_schema()
    assert {"first", "every"} == known_keys(schema, ("server", "heartbeat"))
    assert "first_byte" in known_keys(schema, ("upstreams", "any", "timeouts"))
    assert {"hours", "days", "zone"} == known_keys(schema, ("routes", 3, "match", "not", "time"))
    assert set() == known_keys(schema, ("nowhere", 1))


def facts(text: str, model: str) -> tuple[list[str], str]:
    snapshot = loads(text.encode(), "f", golden.ENVIRON)
    assert snapshot.anonymous is not None
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    peek = Peek(model)
    inbound = Inbound("1", "1", "openai_chat", "/v1/chat/completions", {}, body, peek, snapshot.anonymous, 0.0)
    decision = snapshot.table.decide(Facts(inbound, read_contents, FakeClock().wall, snapshot.classifier), StillView())
    return [str(target) for target in decision.candidates], decision.route


def test_a_snapshot_decides() -> None:
    text = """
upstreams: {l: {provider: lmstudio}, o: {provider: openai, keys: ["${KEY}"]}, off: {provider: openai, keys: []}}
models: {fast: [off/x, l/x, o/y]}
offline: {levels: [rules]}
routes: [{name: special, match: {model: "s*"}, use: [o/z, fast]}]
"""
    assert facts(text, "s1") == (["o/z", "l/x", "o/y", "offline/rules"], "special")
    assert facts(text, "fast")[0] == ["l/x", "o/y", "offline/rules"]
    with pytest.raises(ProxyError) as caught:
        facts(text, "unheard-of")
    assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND


def test_a_file_without_routes_uses_every_upstream_in_order() -> None:
    text = "upstreams: {l: {provider: lmstudio, default_model: m}, o: {provider: ollama}}\noffline: {levels: [rules]}"
    assert facts(text, "l/phi")[0][0] == "l/phi"
    assert facts(text, "auto")[1] == "default"
