"""Every request body is either understood or refused with a path; and only what must change is changed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.request import Peek
from proxy.wire.dialects import Dialect
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.dialects.openai_completions import DIALECT as COMPLETIONS

PLAIN = Quirks()
DIALECTS: list[Dialect] = [CHAT, COMPLETIONS]
GOOD = b'{"model":"fast","messages":[{"role":"user","content":"hi"}]%s}'


def chat(extra: bytes = b"") -> bytes:
    return GOOD % extra


def deep(levels: int) -> bytes:
    return chat(b',"x":' + b'[{"a":' * (levels // 2) + b"1" + b"}]" * (levels // 2))


def prepare(body: bytes, model: str = "gpt-x", quirks: Quirks = PLAIN, **overrides: object) -> bytes:
    return CHAT.prepare(body, CHAT.peek(body), model, quirks, overrides)


def test_reads_what_routing_needs() -> None:
    body = chat(
        b',"stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"max_completion_tokens":7,"user":"u",'
        b'"metadata":{"team":"a"},"new_field":[1,{"x":null}]'
    )
    assert CHAT.peek(body) == Peek("fast", True, True, 7, "u", {"team": "a"})
    assert CHAT.peek(chat(b',"stream":null,"stream_options":null,"metadata":null')) == Peek("fast")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None), (b"  \n", None), (b"nonsense", None), (b"[]", None), (b"null", None), (b'"x"', None), (b"{", None),
        (b"{}", "model"), (b'{"model":null}', "model"), (b'{"model":7}', "model"), (b'{"model":["a"]}', "model"),
        (b'{"model":"a"}', "messages"),
        (b'{"model":"a","messages":null}', "messages"),
        (b'{"model":"a","messages":"hi"}', "messages"),
        (b'{"model":"a","messages":[]}', "messages"),
        (b'{"model":"a","messages":["hi"]}', "messages[0]"),
        (b'{"model":"a","messages":[{"role":"user"},{}]}', "messages[1].role"),
        (b'{"model":"a","messages":[{"role":1}]}', "messages[0].role"),
        (GOOD.replace(b"fast", b"") % b"", "model"),
        (GOOD.replace(b"fast", b" ") % b"", "model"),
        (GOOD.replace(b"fast", b"x" * 257) % b"", "model"),
        (GOOD.replace(b"fast", b"a\\u0000b") % b"", "model"),
        (GOOD.replace(b"fast", b"a\\nb") % b"", "model"),
        (GOOD.replace(b"fast", b"a\\u2028") % b"", "model"),
        (GOOD.replace(b"fast", b"a\\ud800") % b"", None),
        (GOOD.replace(b"hi", b"\\ud83d") % b"", None),
        (GOOD.replace(b"hi", b"\\ude00\\ud83d") % b"", None),
        (GOOD.replace(b"hi", b"\0") % b"", None),
        (GOOD.replace(b"hi", b"\xff\xfe") % b"", None),
        (GOOD.replace(b"hi", b"\xed\xa0\x80") % b"", None),
        (b"\xef\xbb\xbf" + chat(), None),
        (chat() + b"x", None),
        (chat(b',"temperature":NaN'), None),
        (chat(b',"temperature":Infinity'), None),
        (chat(b',"stream":"yes"'), "stream"),
        (chat(b',"stream_options":{"include_usage":1}'), "stream_options.include_usage"),
        (chat(b',"max_tokens":"5"'), "max_tokens"),
        (chat(b',"max_tokens":1' + b"0" * 400), "max_tokens"),
        (chat(b',"max_completion_tokens":1.5'), "max_completion_tokens"),
        (deep(66), None), (deep(400), None), (deep(100_000), None), (b"[" * 100_000, None),
        (b'{"model":"a","messages":[' + b",".join([b'{"role":"user"}'] * 10_001) + b"]}", "messages"),
    ],
)  # fmt: skip
def test_refuses_with_a_path(body: bytes, param: str | None) -> None:
    with pytest.raises(ProxyError) as caught:
        CHAT.peek(body)
    assert (ErrorKind.BAD_REQUEST, param) == (caught.value.kind, caught.value.param)
    assert len(caught.value.message) < 300
    if param is not None:
        assert f"`{param}`" in caught.value.message
    assert any(word in caught.value.message for word in ("Send", "send", "not valid"))


@pytest.mark.parametrize(
    "body",
    [
        GOOD.replace(b"hi", b"\\ud83d\\ude00") % b"",
        GOOD.replace(b"hi", b"\\\\ud83d") % b"",  # an escaped backslash, not an escape
        GOOD.replace(b"hi", b"\\u0000") % b"",
        GOOD.replace(b"hi", "\u2028😀".encode()) % b"",
        GOOD.replace(b"hi", b"[" * 200) % b"",  # brackets in a string nest nothing
        GOOD.replace(b"user", b"narrator") % b"",
        chat(b',"seed":1' + b"0" * 5000),
        chat(b',"x":[' + b"[]," * 500 + b"{}]"),
        deep(62),
        b" \n" + chat() + b"\n",
    ],
)
def test_accepts(body: bytes) -> None:
    assert CHAT.peek(body).model == "fast"


@pytest.mark.parametrize("prompt", [b'"a"', b'["a","b"]', b"[1,2]", b"[[1,2],[3]]", b"null"])
def test_completions_take_every_form_of_prompt(prompt: bytes) -> None:
    assert COMPLETIONS.peek(b'{"model":"m","prompt":%s}' % prompt).model == "m"
    assert COMPLETIONS.peek(b'{"model":"m"}').model == "m"


@pytest.mark.parametrize("prompt", [b"1", b"{}", b"[]", b"[1.5]", b"[[[1]]]", b'[["a"]]', b"true"])
def test_completions_refuse_other_prompts(prompt: bytes) -> None:
    with pytest.raises(ProxyError) as caught:
        COMPLETIONS.peek(b'{"model":"m","prompt":%s}' % prompt)
    assert (caught.value.param or "").startswith("prompt")


SEEDS = [
    GOOD.replace(b"hi", b'\\ud83d\\ude00 \\"model\\": ') % b',"stream":true,"stream_options":{}',
    b'{"model":"m","prompt":["a",[1]],"n":2,"stop":["x"],"metadata":{"a":"b"}}',
    GOOD % b',"tools":[{"type":"function","function":{"name":"f","parameters":{"model":{"type":"string"}}}}]',
]


@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_no_mutation_raises_anything_but_a_refusal(seed: bytes, chance: random.Random) -> None:
    body = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(body))
        piece = chance.choice(
            [b"", b'"', b"\\", b"\\u", b"{", b"[", b"]}", b"null", b"1e9", b"\xff", b"\0", b",", b":"]
        )
        body[place : place + chance.randint(0, 6)] = piece
    survives(bytes(body))


@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    survives(body)


def survives(body: bytes) -> None:
    """Whatever is accepted can also be prepared and decoded, or is refused in our own words."""
    for dialect in DIALECTS:
        try:
            peek = dialect.peek(body)
            prepared = dialect.prepare(body, peek, "new", PLAIN, {})
            assert json.loads(prepared)["model"] == "new"
            dialect.decode_request(body)
        except ProxyError as error:
            assert error.kind is ErrorKind.BAD_REQUEST  # noqa: PT017


# --- prepare ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"fast","messages":[{"role":"user","content":"say \\"model\\": now"}],"seed":1.0}',
        b'{ "messages" : [ {"role":"user"} ],\n\t"model"\t:  "fast" , "x" : 1e2 }',
        b'{"messages":[{"role":"user","content":"\\ud83d\\ude00 \\u00e9 \xc3\xa9 \xe2\x80\xa8"}] , "model":"fast"}',
        b'{"unknown":[1,  2],"model":"fast","messages":[{"role":"user"}],"z":{"b":1,"a":2}}',
    ],
)
def test_only_the_models_name_changes(body: bytes) -> None:
    """All other bytes stay: spaces, order of keys, spelling of numbers and characters."""
    assert body.replace(b'"fast"', b'"gpt-x"') == prepare(body)
    assert body == prepare(body, model="fast")


@pytest.mark.parametrize(
    "body",
    [
        b'{"mod\\u0065l":"fast","messages":[{"role":"user","content":"a  b"}]}',
        b'{"\\u006dodel": "fast", "messages":[{"role":"user","content":"a  b"}]}',
        b'{"model":"evil","messages":[{"role":"user","content":"a  b"}],"model":"fast"}',
        b'{"model":"evil", "messages":[{"role":"user","content":"a  b"}], "m\\u006fdel":"fast"}',
        b'{"model":"fast", "messages":[{"role":"user","content":"a  b"}], "x":{"model":"inner"}}',
    ],
)
def test_a_model_that_may_be_read_twice_is_written_once(body: bytes) -> None:
    """Policy and upstream read the same model, also where the name does not change."""
    assert CHAT.peek(body).model == "fast"
    for name in ("gpt-x", "fast"):
        pairs = json.loads(prepare(body, model=name), object_pairs_hook=list)
        assert [name] == [value for key, value in pairs if key == "model"]
        assert b"a  b" in prepare(body, model=name)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"evil"}],"messages":[{"role":"user"}]}',
        b'{"model":"m", "messages":[{"role":"user","content":"evil"}],"m\\u0065ssages":[{"role":"user"}]}',
    ],
)
def test_messages_that_may_be_read_twice_are_written_once(body: bytes) -> None:
    assert b"evil" not in prepare(body)


def test_usage_is_asked_for_in_streams_only() -> None:
    assert json.loads(prepare(chat(b',"stream":true')))["stream_options"] == {"include_usage": True}
    assert json.loads(prepare(chat(b', "stream": true')))["stream_options"] == {"include_usage": True}
    assert "stream_options" not in json.loads(prepare(chat(b',"stream":false')))
    assert "stream_options" not in json.loads(prepare(chat(b',"stream":true'), quirks=Quirks(asks_usage=False)))


@pytest.mark.parametrize("space", [b"", b" "])
def test_usage_is_merged_into_the_callers_options(space: bytes) -> None:
    asked = prepare(chat(b',%s"stream":true,"stream_options":{"include_usage":false,"x":[1,  2]}' % space))
    assert json.loads(asked)["stream_options"] == {"include_usage": True, "x": [1, 2]}
    assert b"[1,  2]" in asked
    nulled = prepare(chat(b',%s"stream":true,"stream_options":null' % space))
    assert json.loads(nulled)["stream_options"] == {"include_usage": True}
    willing = chat(b',%s"stream":true,"stream_options":{ "include_usage":true}' % space)
    assert willing == prepare(willing, model="fast")


@pytest.mark.parametrize("space", [b"", b" "])
def test_quirks_and_overrides(space: bytes) -> None:
    body = chat(b',%s"logprobs":true,"max_completion_tokens":9,"temperature":1,"keep":[1,  2]' % space)
    quirks = Quirks(drop=("logprobs",), rename={"max_completion_tokens": "max_tokens"})
    out = prepare(body, quirks=quirks, temperature=0.1, stop=["x"])
    expected: dict[str, Any] = {"model": "gpt-x", "max_tokens": 9, "temperature": 0.1, "keep": [1, 2], "stop": ["x"]}
    told = json.loads(out)
    assert expected == {name: value for name, value in told.items() if name != "messages"}
    assert b"[1,  2]" in out


def test_an_override_of_a_length_replaces_its_other_name() -> None:
    told = json.loads(prepare(chat(b',"max_completion_tokens":9'), max_tokens=5))
    assert (told["max_tokens"], "max_completion_tokens" in told) == (5, False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=5),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", "\n:")]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_unknown_fields_reach_the_upstream(
    extra: dict[str, Any], ascii_only: bool, separators: tuple[str, str], streams: bool
) -> None:
    """However it was written, the upstream reads the same, but for the model and the question for usage."""
    request = {"stream": streams, **extra, "model": "fast", "messages": [{"role": "user", "content": "model"}]}
    body = json.dumps(request, ensure_ascii=ascii_only, separators=separators).encode()
    try:
        peek = CHAT.peek(body)
    except ProxyError:
        return
    expected = {**request, "model": "gpt-x"} | ({"stream_options": {"include_usage": True}} if peek.stream else {})
    assert expected == json.loads(CHAT.prepare(body, peek, "gpt-x", PLAIN, {}))


@pytest.mark.parametrize(
    ("tier", "is_batch"),
    [("", False), ('"default"', False), ('"flex"', True), ('"batch"', True), ("null", False), ('["flex"]', False)],
)
def test_who_can_wait_says_so_by_the_tier(tier: str, is_batch: bool) -> None:
    """Whatever else stands there is the upstream's to judge."""
    field = f', "service_tier": {tier}'.encode() if tier else b""
    assert CHAT.peek(chat(field)).is_batch is is_batch
