"""Who speaks when: the system prompt, turns that alternate, results before words, thinking where it stood."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.family import Family
from tests.unit.wire.anthropic_messages.asking import ask, assistant, call, result, system, text, tool, user

OLD = Family(mid_system=False)


def turns(*messages, **fields):
    sent, losses = ask(*messages, **fields)
    return [(turn["role"], turn["content"]) for turn in sent["messages"]], losses


def test_leading_system_messages_are_the_system_prompt():
    sent, losses = ask(system("a"), {"role": "developer", "content": [text("b"), text("c")]}, user("hi"))
    assert sent["system"] == [text("a"), text("b"), text("c")]
    assert sent["messages"] == [{"role": "user", "content": [text("hi")]}]
    assert not losses


def test_turns_of_one_speaker_become_one():
    found, _ = turns(user("a"), user([text("b"), text("c")]), assistant("d"), assistant("e"), user("f"))
    assert found == [
        ("user", [text("a"), text("b"), text("c")]),
        ("assistant", [text("d"), text("e")]),
        ("user", [text("f")]),
    ]


def test_a_conversation_that_the_assistant_begins_is_given_a_beginning():
    assert turns(assistant("welcome"), user("hi"))[0][0] == ("user", [text(".")])
    assert turns(system("only this"))[0] == [("user", [text(".")])]


@pytest.mark.parametrize("blank", ["", " \n", []])
def test_nothing_blank_is_sent(blank):
    assert turns(user(blank)) == ([("user", [text(".")])], [])
    assert turns(user("a"), assistant(blank), user("b"))[0] == [("user", [text("a"), text("b")])]
    assert turns(user("a"), assistant(None, "f"), result("f", blank))[0][2] == (
        "user",
        [{"type": "tool_result", "tool_use_id": "id_f"}],
    )


def test_all_results_of_a_turn_stand_first_in_one_user_turn():
    found, losses = turns(
        user("go"), assistant("so", "f", "g"), result("g"), user("hurry"), result("f", [text("a"), text("b")])
    )
    assert found[1] == (
        "assistant",
        [
            text("so"),
            {"type": "tool_use", "id": "id_f", "name": "f", "input": {}},
            {"type": "tool_use", "id": "id_g", "name": "g", "input": {}},
        ],
    )
    assert found[2] == (
        "user",
        [
            {"type": "tool_result", "tool_use_id": "id_g", "content": "done"},
            {"type": "tool_result", "tool_use_id": "id_f", "content": [text("a"), text("b")]},
            text("hurry"),
        ],
    )
    assert not losses


def test_a_result_may_hold_a_picture_and_be_an_error():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    [_, _, (_, [sent])], _ = turns(user("a"), assistant(None, "f"), result("f", [picture]) | {"is_error": True})
    assert (sent["content"][0]["type"], sent["is_error"]) == ("image", True)


@pytest.mark.parametrize(
    ("arguments", "given", "is_lost"),
    [
        ("", {}, False),
        ('{"a": [1]}', {"a": [1]}, False),
        ('{"a": ', {"arguments": '{"a": '}, True),
        ("[1]", {"arguments": "[1]"}, True),
        ('{"a": "\\ud800"}', {"arguments": '{"a": "\\ud800"}'}, True),
        ("[" * 5000, {"arguments": "[" * 5000}, True),
    ],
)
def test_arguments_are_objects(arguments, given, is_lost):
    """What the model once wrote badly is its own history, and no reason to end the conversation."""
    found, losses = turns(user("a"), assistant(tool_calls=[call("f", arguments)]), result("f"))
    assert found[1][1][0]["input"] == given
    assert bool(losses) is is_lost


def test_ids_of_other_vendors_are_spelt_in_the_letters_allowed_on_both_sides():
    foreign = "functions.f:0"
    calls = assistant(tool_calls=[call("f", identity=foreign)])
    found, _ = turns(user("a"), calls, result("f") | {"tool_call_id": foreign})
    assert found[1][1][0]["id"] == found[2][1][0]["tool_use_id"] == "functions_f_0"


def test_a_late_system_message_stands_behind_the_user_turn():
    found, losses = turns(user("a"), system("x"), user("b"), system("y"), assistant("c"), user("d"))
    assert found == [
        ("user", [text("a"), text("b")]),
        ("system", [text("x"), text("y")]),
        ("assistant", [text("c")]),
        ("user", [text("d")]),
    ]
    assert not losses


def test_behind_the_assistant_it_waits_for_the_user_or_speaks_as_one():
    found, _ = turns(user("a"), assistant("b"), system("x"), user("c"))
    assert found[2:] == [("user", [text("c")]), ("system", [text("x")])]
    found, _ = turns(user("a"), assistant("b"), system("x"))
    assert found[2:] == [("user", [text("x")])]


def test_a_turn_without_words_ends_nothing():
    found, _ = turns(user("a"), system("x"), assistant(""), user("b"))
    assert found == [("user", [text("a"), text("b")]), ("system", [text("x")])]


def test_it_never_parts_a_call_from_its_result():
    found, _ = turns(user("a"), assistant(None, "f"), system("x"), result("f"))
    assert [role for role, _ in found] == ["user", "assistant", "user", "system"]
    found, losses = turns(user("a"), assistant(None, "f"), system("x"), result("f"), of=OLD)
    assert [one["type"] for one in found[2][1]] == ["tool_result", "text"]
    assert losses == ["messages[2]: the model knows no system message here; it is put to it as the user's words"]


SIGNED = {"type": "thinking", "thinking": "hm", "signature": "s1"}
HIDDEN = {"type": "redacted_thinking", "data": "d1"}


def test_thinking_returns_unchanged_to_where_it_stood():
    blocks = [SIGNED | {"index": 0}, HIDDEN | {"index": 3}]
    found, losses = turns(user("a"), assistant("b", "f", "g", thinking_blocks=blocks), result("f"), result("g"))
    assert [one["type"] for one in found[1][1]] == ["thinking", "text", "tool_use", "redacted_thinking", "tool_use"]
    assert (found[1][1][0], found[1][1][3]) == (SIGNED, HIDDEN)
    assert not losses


def test_without_places_thinking_stands_first_and_in_order():
    found, _ = turns(user("a"), assistant("b", thinking_blocks=[HIDDEN, SIGNED]), user("c"))
    assert found[1][1] == [HIDDEN, SIGNED, text("b")]


def test_thinking_that_nobody_signed_stays_away():
    odd = [{"type": "thinking", "thinking": "x"}, {"type": "other", "signature": "s"}, {}]
    found, losses = turns(user("a"), assistant("b", thinking_blocks=odd), user("c"))
    assert found[1][1] == [text("b")]
    _, losses = turns(user("a"), assistant("b", reasoning_content="because"), user("c"))
    assert losses == ["messages[1].reasoning_content: only signed thinking can be given back"]


def test_a_begun_answer_is_gone_on_with_where_the_model_can():
    found, _ = turns(user("a"), assistant("The best is  \n"))
    assert found[1] == ("assistant", [text("The best is")])
    with pytest.raises(ProxyError) as caught:
        ask(user("a"), assistant("The best is"), of=Family(prefill=False))
    assert (caught.value.kind, caught.value.param) == (ErrorKind.BAD_REQUEST, "messages[1]")


def test_refusals_are_words_and_names_are_lost():
    found, losses = turns(user("a") | {"name": "ann"}, assistant(None, refusal="no"), user("b"))
    assert found[1] == ("assistant", [text("no")])
    assert losses == ["messages[0].name: there is no equivalent"]


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
CUSTOM = {"id": "id_c", "type": "custom", "custom": {"name": "c", "input": "x"}}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([system([PICTURE]), user("a")], "messages[0]"),
        ([user("a"), assistant([PICTURE]), user("b")], "messages[1]"),
        ([user("a"), assistant(None, tool_calls=[CUSTOM])], "messages[1].tool_calls[0]"),
        ([user("a"), {"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(messages, param):
    with pytest.raises(ProxyError) as caught:
        ask(*messages)
    assert (caught.value.kind, caught.value.param) == (ErrorKind.BAD_REQUEST, param)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
CALLS = st.lists(st.sampled_from("fgh"), unique=True, max_size=3)
MESSAGES = st.one_of(
    WORDS.map(system), WORDS.map(user), st.tuples(WORDS, CALLS).map(lambda made: assistant(made[0], *made[1]))
)  # fmt: skip


@given(st.lists(MESSAGES, max_size=8), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_conversation_becomes_turns_that_the_vendor_takes(messages, mid_system):
    """Turns alternate, begin with the user, are never empty or blank; every call has its result in the next turn."""
    told = []
    for message in messages:
        told += [message, *(result(one["function"]["name"]) for one in message.get("tool_calls", ()))]
    sent, _ = ask(*told, user("end"), of=Family(mid_system=mid_system), tools=[tool(name) for name in "fgh"])
    roles = [turn["role"] for turn in sent["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in pairwise(roles))
    assert all(roles[place - 1] == "user" for place, role in enumerate(roles) if role == "system")
    assert all(
        place + 1 == len(roles) or roles[place + 1] == "assistant" for place, r in enumerate(roles) if r == "system"
    )
    for turn, following in zip(sent["messages"], [*sent["messages"][1:], {"content": []}], strict=True):
        assert turn["content"]
        assert all(one["text"].strip() for one in turn["content"] if one["type"] == "text")
        if turn["role"] == "assistant":
            made = [one["id"] for one in turn["content"] if one["type"] == "tool_use"]
            answered = [one["tool_use_id"] for one in following["content"] if one["type"] == "tool_result"]
            assert answered == made
            assert [one["type"] for one in following["content"][: len(made)]] == ["tool_result"] * len(made)
    words = [word for message in messages if (word := message["content"].strip())]
    said = [one["text"].strip() for turn in sent["messages"] for one in turn["content"] if one["type"] == "text"]
    said += [one["text"].strip() for one in sent.get("system", ())]
    assert sorted(said) == sorted([*words, "end", *["."] * (len(said) - len(words) - 1)])
