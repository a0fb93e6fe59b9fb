"""The rest of a request: formats, stops, names, tiers, extensions, and what has no equivalent."""

from __future__ import annotations

import pytest

from proxy.core.decision import Quirks
from proxy.core.errors import ProxyError
from tests.unit.wire.anthropic_messages.asking import ask

SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]}


def form(kind="json_schema", **fields):
    return {"type": kind} | ({"json_schema": {"name": "x", **fields}} if kind == "json_schema" else {})


def test_a_schema_is_enforced_by_the_vendor():
    sent, losses = ask(response_format=form(schema=SCHEMA, strict=True))
    told = sent["output_config"]["format"]
    assert (told["type"], told["schema"]["additionalProperties"]) == ("json_schema", False)
    assert losses == ["response_format.json_schema.schema: maxLength is told to the model, not enforced"]


def test_text_is_what_it_answers_anyway():
    assert ask(response_format=form("text")) == ask()


def test_stops():
    assert ask(stop="END")[0]["stop_sequences"] == ["END"]
    sent, losses = ask(stop=["a", "\n", ""])
    assert (sent["stop_sequences"], losses) == (["a"], ["stop: the model does not stop at blanks alone"])


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"user": "u-1"}, "u-1"),
        ({"user": "u-1", "safety_identifier": "s-1"}, "s-1"),
        ({"user": "ann@example.org"}, None),
        ({"user": "+49 (30) 1234567"}, None),
        ({"user": "ann@home"}, "ann@home"),
    ],
)
def test_names_of_users_are_opaque(fields, sent):
    found, losses = ask(**fields)
    assert found.get("metadata") == ({"user_id": sent} if sent else None)
    assert bool(losses) is (sent is None)


@pytest.mark.parametrize(
    ("tier", "sent"),
    [("auto", "auto"), ("priority", "auto"), ("default", "standard_only"), ("flex", None), ("fast", None)],
)
def test_tiers(tier, sent):
    found, losses = ask(service_tier=tier)
    assert found.get("service_tier") == sent
    assert losses == ([] if sent else [f"service_tier: the vendor has no {tier} tier"])


def test_extensions_of_the_vendor_pass():
    own = {"inference_geo": "us", "speed": "fast", "container": "c_1", "cache_control": {"type": "ephemeral"}}
    sent, losses = ask(**own)
    assert (own.items() <= sent.items(), losses) == (True, [])


LOST = {
    "n": 2, "seed": 0, "logprobs": True, "top_logprobs": 3, "frequency_penalty": 0.5, "presence_penalty": -1,
    "logit_bias": {"1": 2}, "metadata": {"a": "b"}, "prediction": {"type": "content", "content": "x"},
    "modalities": ["text"], "verbosity": "low", "store": True, "web_search_options": {}, "prompt_cache_key": "k",
    "moderation": {"model": "x"}, "prompt_cache_options": {"mode": "implicit"},
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_what_has_no_equivalent_is_lost_and_said_so(name):
    sent, losses = ask(**{name: LOST[name]})
    assert (sent, losses) == (ask()[0], [f"{name}: there is no equivalent"])


def test_values_that_change_nothing_are_no_loss():
    idle = {"n": 1, "logprobs": False, "top_logprobs": 0, "frequency_penalty": 0, "presence_penalty": 0.0}
    assert ask(**idle) == ask()


def test_the_upstream_s_own_quirks():
    sent, losses = ask(user="u-1", quirks=Quirks(drop=("metadata",)))
    assert (sent, losses) == (ask()[0], ["metadata: the upstream refuses this field"])


@pytest.mark.parametrize("fields", [{"suffix": "x"}, {"best_of": 2}])
def test_what_only_completions_can_say_is_refused(fields):
    with pytest.raises(ProxyError) as caught:
        ask(**fields)
    assert caught.value.param in fields
