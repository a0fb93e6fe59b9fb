"""What an error answer means decides who is blamed, what is retried, and what the client may read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.wire.openai_errors import classify, classify_inband


def openai_error(message: str = "no", kind: str | None = "invalid_request_error", code: object = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": "messages", "code": code}}).encode()


K = ErrorKind
CASES: list[tuple[int, bytes, ErrorKind]] = [
    (400, openai_error(), K.REJECTED),
    (400, openai_error(code="context_length_exceeded"), K.CONTEXT),
    (400, openai_error("This model's maximum context length is 8192 tokens."), K.CONTEXT),
    (400, openai_error("prompt is too long: 210000 tokens > 200000 maximum"), K.CONTEXT),
    (413, openai_error("the request exceeds the available context size"), K.CONTEXT),
    (400, openai_error("No models loaded. Please load a model in the developer page"), K.MODEL_ABSENT),
    (404, openai_error("No models loaded. Please load a model in the developer page"), K.MODEL_ABSENT),
    (404, openai_error("The model `x` does not exist", code="model_not_found"), K.MODEL_ABSENT),
    (404, openai_error('model "x" not found, try pulling it first', "not_found_error"), K.MODEL_ABSENT),
    (404, openai_error("Invalid URL (POST /v1/x)"), K.REJECTED),
    (404, b'{"detail":"Not Found"}', K.NOT_AN_ANSWER),
    (404, b"<html>nginx</html>", K.NOT_AN_ANSWER),
    (404, b"", K.NOT_AN_ANSWER),
    (400, openai_error("Model is unloaded."), K.FAULT),
    (500, openai_error("The model has crashed without additional information. (Exit code: 6)"), K.FAULT),
    (400, openai_error("API key not valid. Please pass a valid API key."), K.AUTH),
    (401, openai_error(code="invalid_api_key"), K.AUTH),
    (401, b"", K.AUTH),
    (403, openai_error(code="unsupported_country_region_territory"), K.AUTH),
    (403, openai_error("Project `p` does not have access to model `m`", code="model_not_found"), K.FORBIDDEN),
    (403, openai_error("blocked", "permissions_error", code="model_permission_blocked_org"), K.FORBIDDEN),
    (403, openai_error("This key may not use the model m."), K.FORBIDDEN),
    (403, openai_error("a spend limit of this model", code="billing_hard_limit_reached"), K.MONEY),
    (401, openai_error("No model for this key"), K.AUTH),
    (402, b'{"error":"Insufficient Balance"}', K.MONEY),
    (429, openai_error(kind="insufficient_quota", code="insufficient_quota"), K.MONEY),
    (429, openai_error(kind="insufficient_quota"), K.MONEY),
    (429, openai_error(code="credit_balance_exhausted"), K.MONEY),
    (429, openai_error(code="project_spend_limit_exceeded"), K.MONEY),
    (400, openai_error("You have reached your specified workspace spend limit"), K.MONEY),
    (429, openai_error(kind="rate_limit_error", code="slow_down"), K.THROTTLE),
    (429, openai_error(kind="tokens", code="rate_limit_exceeded"), K.THROTTLE),
    (429, b"slow down", K.THROTTLE),
    (405, b"", K.REJECTED),
    (413, b"request too large", K.REJECTED),
    (415, b"", K.REJECTED),
    (422, openai_error(), K.REJECTED),
    (451, b"", K.REJECTED),
    (418, b"", K.REJECTED),
    (408, b"", K.FAULT),
    (409, b"", K.FAULT),
    (500, b"[1", K.FAULT),
    (502, b"<html>Bad Gateway</html>", K.FAULT),
    (504, b"", K.FAULT),
    (524, b"", K.FAULT),
    (503, b"", K.OVERLOAD),
    (503, openai_error(kind="service_unavailable_error", code="server_is_overloaded"), K.OVERLOAD),
    (529, b"", K.OVERLOAD),
    (500, openai_error(kind="overloaded_error"), K.OVERLOAD),
    (301, b"", K.FAULT),
    (307, b"", K.FAULT),
    (200, b'{"error":"Unexpected endpoint or method. (POST /x)"}', K.NOT_AN_ANSWER),
    (200, b"<html>", K.NOT_AN_ANSWER),
    # The error in other clothes: an array, a number for a code, fields on the top level.
    (429, b'[{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}]', K.THROTTLE),
    (400, b'[{"error":{"code":400,"message":"Unknown name"}}]', K.REJECTED),
    (404, b'{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError"}', K.MODEL_ABSENT),
    (400, b"[]", K.REJECTED),
]


@pytest.mark.parametrize(("status", "body", "kind"), CASES)
def test_classes(status: int, body: bytes, kind: ErrorKind) -> None:
    failure = classify(status, {}, body)
    assert (kind, status) == (failure.kind, failure.status)


def test_the_wait_comes_from_the_headers() -> None:
    assert classify(429, {"retry-after": "2.5"}, b"").retry_after == 2.5
    assert classify(429, {"retry-after": "1e999"}, b"").retry_after is None


def test_a_clients_own_mistake_is_told_in_the_vendors_words_but_redacted() -> None:
    failure = classify(400, {}, openai_error("Bad value in org-AbC123xyz789 for sk-abcdef123456", code="bad_value"))
    assert failure.client_message == "Bad value in [id] for [key]"
    assert (failure.param, failure.code) == ("messages", "bad_value")


@pytest.mark.parametrize(("status", "body", "kind"), [case for case in CASES if case[2] not in (K.REJECTED, K.CONTEXT)])
def test_no_other_class_tells_the_client_anything(status: int, body: bytes, kind: ErrorKind) -> None:
    failure = classify(status, {}, body)
    assert (failure.client_message, failure.param, failure.code) == (None, None, None)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "type": "overloaded_error"}, K.OVERLOAD),
        ({"message": "x", "code": 503}, K.OVERLOAD),
        ({"message": "x", "code": 429}, K.THROTTLE),
        ({"message": "x", "code": "rate_limit_exceeded"}, K.THROTTLE),
        ({"message": "x", "type": "insufficient_quota"}, K.MONEY),
        ({"message": "x", "code": 400}, K.FAULT),
        ({"message": "No models loaded. Please load"}, K.MODEL_ABSENT),
        ({"message": "Model is unloaded."}, K.FAULT),
        ({"message": "The model has crashed without additional information. (Exit code: 1)"}, K.FAULT),
        ({"message": "Reached context length of 4096 tokens"}, K.CONTEXT),
        ("something broke", K.FAULT),
        (17, K.FAULT),
        ({}, K.FAULT),
        ([], K.FAULT),
    ],
)
def test_errors_inside_an_answer(error: object, kind: ErrorKind) -> None:
    assert kind is classify_inband(error).kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "param", "detail"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.integers(100, 999), JSON, st.binary(max_size=20))
@settings(max_examples=150, deadline=None)
def test_any_body_has_a_class(status: int, error: Any, junk: bytes) -> None:
    assert isinstance(classify_inband(error), UpstreamFailure)
    for body in (json.dumps(error).encode(), junk):
        assert len(classify(status, {}, body).detail) < 400
