"""Limits, efforts, budgets and sampling, by the families of the shipped table."""

from __future__ import annotations

import pytest

from proxy.core.family import Family
from tests.unit.wire.anthropic_messages.asking import ask, assistant, family, result, tool, user

ADAPTIVE = {"type": "adaptive", "display": "summarized"}
BUDGET, EFFORT, LATER, NEWER, ALWAYS = (
    "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8", "claude-sonnet-5", "claude-opus-5-5",
)  # fmt: skip


def asked(model, **fields):
    """`thinking` and the effort that are sent, and the losses."""
    sent, losses = ask(of=model, **fields)
    return sent.get("thinking"), sent.get("output_config", {}).get("effort"), losses


@pytest.mark.parametrize(
    ("of", "given", "sent", "losses"),
    [
        (NEWER, None, 128_000, []),
        (BUDGET, None, 64_000, []),
        (Family(), None, 8192, []),
        (NEWER, 100, 100, []),
        (NEWER, 0, 0, []),
        (BUDGET, 70_000, 64_000, ["max_tokens: the model writes 64000 tokens at most"]),
        (Family(), 70_000, 70_000, []),
    ],
)
def test_the_limit_is_always_sent(of, given, sent, losses):
    found, lost = ask(of=of, max_completion_tokens=given)
    assert (found["max_tokens"], lost) == (sent, losses)
    assert found.get("stream", False) is (sent > 21_333)


@pytest.mark.parametrize("model", [EFFORT, LATER, NEWER, ALWAYS])
@pytest.mark.parametrize("effort", ["low", "medium", "high", "max"])
def test_efforts_that_all_know(model, effort):
    assert asked(model, reasoning_effort=effort) == (ADAPTIVE, effort, [])


@pytest.mark.parametrize(
    ("model", "effort", "sent"), [(NEWER, "xhigh", "xhigh"), (EFFORT, "xhigh", "high"), (NEWER, "minimal", "low")]
)
def test_the_nearest_effort(model, effort, sent):
    told = [] if effort == sent else [f"reasoning_effort: {effort} is not known to the model, {sent} is sent"]
    assert asked(model, reasoning_effort=effort) == (ADAPTIVE, sent, told)


@pytest.mark.parametrize("model", [BUDGET, EFFORT, LATER, NEWER, ALWAYS])
def test_who_is_silent_gets_what_the_model_does(model):
    assert asked(model) == (None, None, [])


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        (BUDGET, (None, None)),
        (EFFORT, (None, None)),
        (LATER, (None, None)),
        (NEWER, (None, "low")),
        (ALWAYS, (None, "low")),
    ],
)
def test_not_at_all(model, sent):
    """Where nothing lists that thinking can be switched off, it is asked to be short."""
    thinking, effort, losses = asked(model, reasoning_effort="none")
    assert (thinking, effort) == sent
    assert bool(losses) is (effort is not None)


def test_a_model_known_to_be_switched_off_is():
    off = Family(thinking="adaptive", default_effort="high", efforts=("none", "low", "high"))
    assert asked(off, reasoning_effort="none") == ({"type": "disabled"}, None, [])


@pytest.mark.parametrize("model", [NEWER, BUDGET])
def test_an_effort_that_nobody_knows(model):
    assert asked(model, reasoning_effort="ultra") == (None, None, ["reasoning_effort: the model does not know it"])


@pytest.mark.parametrize(
    ("effort", "most", "budget"),
    [
        ("minimal", None, 1024),
        ("low", None, 2048),
        ("high", None, 16384),
        ("max", None, 32000),
        ("high", 8000, 4000),
        ("low", 1025, 1024),
    ],
)
def test_budgets_leave_half_for_the_answer(effort, most, budget):
    """Never less than the vendor's least, always less than max_tokens."""
    found = asked(BUDGET, reasoning_effort=effort, max_tokens=most)
    assert found == ({"type": "enabled", "budget_tokens": budget}, None, [])


CALLED = (user("a"), assistant(None, "f"), result("f"))


@pytest.mark.parametrize(
    ("messages", "fields", "why"),
    [
        ((), {"max_tokens": 1024}, "reasoning needs max_tokens of more than 1024"),
        ((), {"tools": [tool()], "tool_choice": "required"}, "the model cannot reason where a tool is forced"),
        (CALLED, {"tools": [tool()]}, "the turn to go on with has lost its thinking blocks"),
    ],
)
def test_no_budget_where_the_vendor_would_refuse_it(messages, fields, why):
    sent, losses = ask(*messages, of=BUDGET, reasoning_effort="high", **fields)
    assert "thinking" not in sent
    assert losses == [f"reasoning_effort: {why}"]


def test_a_tool_loop_with_its_thinking_goes_on_thinking():
    blocks = [{"type": "thinking", "thinking": "x", "signature": "s"}]
    loop = (user("a"), assistant(None, "f", thinking_blocks=blocks), result("f"))
    assert "thinking" in ask(*loop, of=BUDGET, reasoning_effort="high")[0]
    assert "thinking" in ask(*CALLED, assistant("b"), user("c"), of=BUDGET, reasoning_effort="high")[0]


def test_the_caller_s_own_thinking_passes():
    own = {"type": "enabled", "budget_tokens": 2000}
    assert asked(BUDGET, thinking=own, reasoning_effort="low") == (own, None, [])


def test_models_that_do_not_think():
    plain = Family(thinking="none")
    assert asked(plain, reasoning_effort="low")[2] == ["reasoning_effort: the model does not know it"]
    assert asked(plain, reasoning_effort="none") == (None, None, [])


def sampled(of, **fields):
    sent, losses = ask(of=of, **fields)
    return {name: sent[name] for name in ("temperature", "top_p", "top_k") if name in sent}, losses


@pytest.mark.parametrize(
    ("of", "fields", "sent", "lost"),
    [
        (EFFORT, {"temperature": 0.5}, {"temperature": 0.5}, []),
        (EFFORT, {"temperature": 0}, {"temperature": 0}, []),
        (BUDGET, {"top_p": 0.9, "top_k": 5}, {"top_p": 0.9, "top_k": 5}, []),
        (BUDGET, {"temperature": 1.7}, {"temperature": 1}, ["temperature"]),
        (BUDGET, {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}, ["top_p"]),
        (BUDGET, {"temperature": 0.2, "top_p": 1}, {"temperature": 0.2}, []),
        (BUDGET, {"temperature": 0.2, "reasoning_effort": "low"}, {}, ["temperature"]),
        (LATER, {"temperature": 0.2, "top_p": 0.5, "top_k": 1}, {}, ["temperature", "top_p", "top_k"]),
        (ALWAYS, {"temperature": 1, "top_p": 1}, {}, []),
    ],
)
def test_sampling(of, fields, sent, lost):
    found, losses = sampled(of, **fields)
    assert found == sent
    assert [loss.partition(":")[0] for loss in losses] == lost


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        ("claude-opus-4-5-20251101", ("without_reasoning", "budget", True, True, False, 64_000)),
        ("claude-sonnet-4-6", ("without_reasoning", "adaptive", False, True, False, 128_000)),
        ("claude-opus-4-7", ("never", "adaptive", False, True, False, 128_000)),
        ("claude-opus-4-8", ("never", "adaptive", False, True, True, 128_000)),
        ("claude-opus-5", ("never", "adaptive", False, True, True, 128_000)),
        ("claude-sonnet-5", ("never", "adaptive", False, True, True, 128_000)),
        ("claude-haiku-5-5", ("never", "adaptive", False, True, True, 128_000)),
        ("claude-opus-5-5", ("never", "always", False, False, True, 128_000)),
        ("claude-sonnet-5-5", ("never", "always", False, False, True, 128_000)),
        ("claude-fable-5", ("never", "always", False, True, True, 128_000)),
        ("claude-mythos-5-1", ("never", "always", False, False, True, 128_000)),
        ("claude-mythos-preview", ("never", "always", False, True, False, 128_000)),
        ("claude-of-next-year", ("never", "adaptive", False, True, True, 128_000)),
    ],
)
def test_the_shipped_table(model, facts):
    """wire-facts 3.2: sampling, thinking, prefill, forced tools, system messages in the middle, longest answer."""
    found = family(model)
    assert facts == (
        found.sampling, found.thinking, found.prefill, found.forced_tools, found.mid_system, found.output,
    )  # fmt: skip
