"""What is said when no model could be reached: honest, labelled, in the caller's language and form."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.chat import Chat, Message, ResponseFormat, TextPart, ToolChoice
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import Finish, Start, Text, Tokens, fold
from proxy.synth.answer import Occasion, synthesize
from proxy.synth.rules import OfflineConfig

OCCASION = Occasion("req_7", "smart", "code", retry_after=12, created=99)
SPANISH = "¿Puedes explicar cómo funciona esto, por favor?"


def chat(text: str = "Hello there", *before: tuple[str, str], **more: Any) -> Chat:
    said = [*before, ("user", text)]
    messages = tuple(Message(role, (TextPart(words),)) for role, words in said)  # type: ignore[arg-type]
    return Chat("auto", messages, **more)


def config(*rules: dict[str, Any], **more: Any) -> OfflineConfig:
    named = [{"name": f"rule-{number}", "text": f"says {number}"} | rule for number, rule in enumerate(rules)]
    return OfflineConfig.model_validate({"rules": named, **more})


def never(_schema: object, _value: object) -> bool:
    return False


def always(_schema: object, _value: object) -> bool:
    return True


def say(asked: Chat, rules: OfflineConfig | None = None, occasion: Occasion = OCCASION, satisfies: Any = never) -> str:
    return fold(synthesize([asked], "rules", rules or config(), occasion, satisfies)).choice(0).text


def test_the_answer_is_labelled_and_names_itself():
    folded = fold(synthesize([chat()], "rules", config(), OCCASION, never))
    assert (folded.id, folded.model, folded.created) == ("offline-req_7", "offline/rules", 99)
    assert folded.extra == {"system_fingerprint": "fp_offline", "x_failsoft": {"synthesized": True, "level": "rules"}}
    assert folded.choice(0).finish == "stop"


def test_it_says_that_it_is_no_answer_and_when_to_come_back():
    told = say(chat())
    assert "does not answer the question" in told
    assert "in 12 seconds" in told
    assert "req_7" in told


def test_spanish_is_answered_in_spanish():
    told = say(chat(SPANISH))
    assert "no responde a la pregunta" in told
    assert "12 segundos" in told
    assert "req_7" in told


def test_the_last_user_message_tells_the_language():
    assert "proxy itself" in say(chat("And now in the language that I speak", ("user", SPANISH)))
    assert "propio proxy" in say(chat(SPANISH, ("system", "You are a helpful assistant for the user")))


def test_own_words_may_replace_one_language_and_leave_the_other():
    rules = config(default={"es": "Vuelva en {retry_after}."})
    assert say(chat(SPANISH), rules) == "Vuelva en 12."
    assert "proxy itself" in say(chat(), rules)


@pytest.mark.parametrize(
    ("match", "text", "task", "speaks"),
    [
        ({}, "anything", None, True),
        ({"task": "code"}, "anything", "code", True),
        ({"task": "code"}, "anything", "writing", False),
        ({"task": "code"}, "anything", None, False),
        ({"contains": ["refund", "Money Back"]}, "I want my MONEY BACK now", None, True),
        ({"contains": ["refund"]}, "I want it", None, False),
        ({"language": "es"}, SPANISH, None, True),
        ({"language": "es"}, "What is it?", None, False),
        ({"language": "en", "contains": ["it"], "task": "code"}, "What is it?", "code", True),
        ({"language": "en", "contains": ["it"], "task": "code"}, "What is it?", "writing", False),
    ],
)
def test_a_rule_speaks_where_all_that_it_asks_for_holds(match, text, task, speaks):
    occasion = Occasion("req_7", "smart", "code", task=task)
    assert (say(chat(text), config({"match": match}), occasion) == "says 0") is speaks


def test_only_the_last_user_message_is_searched():
    rules = config({"match": {"contains": ["refund"]}})
    assert say(chat("hello", ("user", "refund"), ("system", "refund")), rules) != "says 0"


def test_the_first_rule_that_speaks_answers():
    rules = config({"match": {"task": "code"}}, {"match": {}}, {"match": {}})
    assert say(chat(), rules) == "says 1"


def test_every_placeholder_is_filled_in():
    rules = config({"text": "{request_id} {model} {route} {retry_after} {{braces}}"})
    assert say(chat(), rules) == "req_7 smart code 12 {braces}"


def test_what_a_caller_wrote_is_no_template():
    """A model's name with braces in it is a name."""
    rules = config({"text": "{model}"})
    assert say(chat(), rules, Occasion("r", "{request_id} {0}", "code")) == "{request_id} {0}"


def as_json(schema: dict[str, Any] | None = None) -> Chat:
    form = ResponseFormat("json_object") if schema is None else ResponseFormat("json_schema", "x", schema=schema)
    return chat(response_format=form)


def test_json_is_given_only_if_a_rule_supplies_what_the_schema_wants():
    def has_code(schema: Any, value: Any) -> bool:
        assert schema == {"type": "object", "required": ["code"]}
        return "code" in value

    rules = config({"value": {"a": 1}}, {}, {"value": {"code": "ñ"}})
    asked = as_json({"type": "object", "required": ["code"]})
    assert say(asked, rules, satisfies=has_code) == '{"code": "ñ"}'


def test_a_rule_that_does_not_speak_supplies_no_value():
    rules = config({"match": {"task": "code"}, "value": {"a": 1}})
    with pytest.raises(UpstreamFailure):
        say(as_json(), rules, satisfies=always)


def test_without_a_schema_any_object_will_do():
    seen = []
    say(as_json(), config({"value": {"a": 1}}), satisfies=lambda schema, _value: seen.append(schema) is None)
    assert seen == [{"type": "object"}]


@pytest.mark.parametrize(
    "asked",
    [
        as_json(),
        as_json({"type": "object"}),
        chat(tool_choice=ToolChoice("required")),
        chat(tool_choice=ToolChoice("named", ("look_up",))),
    ],
    ids=["json", "schema", "any tool", "this tool"],
)
def test_where_nothing_true_can_be_said_in_the_form_asked_for_nothing_is(asked):
    with pytest.raises(UpstreamFailure) as caught:
        synthesize([asked], "rules", config({"text": "words"}), OCCASION, always)
    assert caught.value.kind is ErrorKind.OFFLINE_UNAVAILABLE


@pytest.mark.parametrize("choice", [None, ToolChoice("auto"), ToolChoice("none")])
def test_a_tool_that_may_be_called_need_not_be(choice):
    assert "proxy itself" in say(chat(tool_choice=choice, response_format=ResponseFormat("text")))


def test_several_prompts_and_several_choices_each_get_an_answer():
    asked = [chat("hello", n=2), chat(SPANISH, n=2)]
    events = synthesize(asked, "rules", config(), OCCASION, never)
    folded = fold(events)
    assert sorted(folded.choices) == [0, 1, 2, 3]
    assert folded.choice(0).text == folded.choice(1).text != folded.choice(2).text == folded.choice(3).text
    assert isinstance(events[0], Start)
    assert [event.choice for event in events if isinstance(event, Finish)] == [0, 1, 2, 3]
    assert isinstance(events[-1], Tokens)


def test_a_stream_of_it_is_word_by_word_and_loses_nothing():
    text = "  One  two\n\n- three \n"
    events = synthesize([chat()], "rules", config({"text": text}), OCCASION, never)
    pieces = [event.text for event in events if isinstance(event, Text)]
    assert "".join(pieces) == text
    assert len(pieces) == 5


def test_its_usage_is_counted_and_says_so():
    folded = fold(synthesize([chat("x" * 40, n=2)], "rules", config({"text": "y" * 20}), OCCASION, never))
    assert folded.usage is not None
    assert (folded.usage.prompt, folded.usage.completion, folded.usage.source) == (10, 10, "counted")


def test_a_conversation_without_a_user_is_answered_too():
    assert "proxy itself" in say(Chat("auto", (Message("system", (TextPart("Be brief"),)),)))
