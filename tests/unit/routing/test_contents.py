import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.routing.contents import MOST_TOKENS_PER_BYTE, WORDS_LIMIT, read_contents


def chat(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 40_000}}


def test_the_last_users_words_and_the_instructions() -> None:
    body = chat(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        user("first"),
        {"role": "assistant", "content": None, "tool_calls": []},
        user([{"type": "text", "text": "what is "}, IMAGE, {"type": "text", "text": "this?"}]),
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    )
    contents = read_contents(body)

    assert contents.system == "Be brief.\nBe kind."
    assert contents.last_user == "what is \nthis?"
    assert contents.turns == 3


@pytest.mark.parametrize(
    ("body", "features"),
    [
        (chat(user("x")), set()),
        (chat(user("x"), tools=[{"type": "function"}]), {"tools"}),
        (chat(user("x"), tools=[]), set()),
        (chat(user("x"), functions=[{"name": "f"}]), {"tools"}),
        (chat(user([IMAGE])), {"images"}),
        (chat(user("x"), user([{"type": "input_audio", "input_audio": {"data": "AA"}}])), {"audio"}),
        (chat(user("x"), modalities=["text", "audio"]), {"audio"}),
        (chat(user([{"type": "file", "file": {"file_id": "f"}}])), {"files"}),
        (chat(user("x"), response_format={"type": "json_schema", "json_schema": {}}), {"json_schema"}),
        (chat(user("x"), response_format={"type": "json_object"}), set()),
        (chat(user("x"), logprobs=True), {"logprobs"}),
        (chat(user("x"), logprobs=False), set()),
        (b'{"prompt": "x", "logprobs": 3}', {"logprobs"}),
        (b'{"system": "s", "messages": [{"role": "user", "content": [{"type": "document"}]}]}', {"files"}),
    ],
)
def test_features(body: bytes, features: set[str]) -> None:
    assert features == read_contents(body).features


@pytest.mark.parametrize(
    ("prompt", "words"), [("x y", "x y"), (["a", "b"], "a\nb"), ([1, 2, 3], ""), ([[1], [2]], ""), (None, "")]
)
def test_legacy_prompts(prompt: Any, words: str) -> None:
    assert words == read_contents(json.dumps({"prompt": prompt}).encode()).last_user


def test_embedded_data_is_not_text() -> None:
    """A picture counts as a picture, not as the tokens its base64 would be."""
    contents = read_contents(chat(user([{"type": "text", "text": "word " * 400}, IMAGE])))

    assert 1500 <= contents.tokens <= 1600
    assert 2000 <= contents.chars <= 2200


def test_long_texts_keep_head_and_tail() -> None:
    contents = read_contents(chat(user("HEAD" + "x" * 1_000_000 + "TAIL")))

    assert len(contents.last_user) == WORDS_LIMIT
    assert contents.last_user.startswith("HEAD")
    assert contents.last_user.endswith("TAIL")
    assert 250_000 <= contents.tokens <= 250_100


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"nonsense", b'{"messages": 3}', b'{"messages": [{"content": ["x"]}]}', b"\xff"]
)
def test_what_is_no_request_holds_nothing(body: bytes) -> None:
    contents = read_contents(body)

    assert ("", "", frozenset()) == (contents.system, contents.last_user, contents.features)
    assert len(body) // 4 == contents.tokens


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "file"]), inner),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(
    fields=st.dictionaries(
        st.sampled_from(["messages", "prompt", "system", "tools", "modalities", "response_format", "logprobs"]), JSON
    ),
    contents=st.lists(JSON, max_size=3),
)
def test_never_raises_and_bounds_its_estimate(fields: dict[str, Any], contents: list[Any]) -> None:
    """Any JSON is read; no body is taken for more tokens than the bound by which its reading is skipped."""
    messages = {"messages": [{"role": "user", "content": content} for content in contents]}
    body = json.dumps({**messages, **fields}).encode()

    assert 0 <= read_contents(body).tokens <= len(body) * MOST_TOKENS_PER_BYTE


def test_the_bound_holds_for_the_smallest_images() -> None:
    body = b'{"messages":[{"content":[' + b",".join([b'{"type":"image"}'] * 1000) + b"]}]}"

    assert 900_000 < read_contents(body).tokens <= len(body) * MOST_TOKENS_PER_BYTE
