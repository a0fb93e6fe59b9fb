"""What the vendor's errors mean."""

from __future__ import annotations

import json

import pytest

from proxy.core.errors import ErrorKind
from proxy.wire.dialects.anthropic_messages.errors import classify, classify_inband


def body(kind, message="x", code=None):
    details = {"details": {"error_code": code}} if code else {}
    return json.dumps(
        {"type": "error", "error": {"type": kind, "message": message} | details, "request_id": "r"}
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, body("invalid_request_error", "messages: at least one"), ErrorKind.REJECTED),
        (400, body("invalid_request_error", "prompt is too long: 5 tokens > 4 maximum"), ErrorKind.CONTEXT),
        (
            400,
            body("invalid_request_error", "input length and `max_tokens` exceed context limit: 5"),
            ErrorKind.CONTEXT,
        ),
        (400, body("invalid_request_error", "Your credit balance is too low"), ErrorKind.MONEY),
        (400, body("invalid_request_error", "You have reached your specified API usage limits."), ErrorKind.MONEY),
        (401, body("authentication_error"), ErrorKind.AUTH),
        (402, body("billing_error"), ErrorKind.MONEY),
        (403, body("permission_error"), ErrorKind.AUTH),
        (403, body("permission_error", "Your key has no access to this model."), ErrorKind.FORBIDDEN),
        (404, body("not_found_error", "model: claude-x"), ErrorKind.MODEL_ABSENT),
        (409, body("conflict_error"), ErrorKind.FAULT),
        (413, body("request_too_large"), ErrorKind.REJECTED),
        (422, body("invalid_request_error"), ErrorKind.REJECTED),
        (429, body("rate_limit_error"), ErrorKind.THROTTLE),
        (429, body("rate_limit_error", code="ramp_limit_exceeded"), ErrorKind.THROTTLE),
        (429, body("rate_limit_error", code="enforced_spend_limit_reached"), ErrorKind.MONEY),
        (429, body("rate_limit_error", code="contract_spend_limit_reached"), ErrorKind.MONEY),
        (500, body("api_error"), ErrorKind.FAULT),
        (503, body("api_error"), ErrorKind.OVERLOAD),
        (504, body("timeout_error"), ErrorKind.FAULT),
        (529, body("overloaded_error"), ErrorKind.OVERLOAD),
        (502, b"<html>Bad gateway</html>", ErrorKind.FAULT),
        (404, b"", ErrorKind.NOT_AN_ANSWER),
        (401, b'{"error": {"message": "x"}}', ErrorKind.AUTH),
        (200, body("api_error"), ErrorKind.NOT_AN_ANSWER),
        (400, b'{"type": "error", "error": {"type": 3}}', ErrorKind.REJECTED),
    ],
)
def test_kinds(status, body, kind):
    failure = classify(status, {}, body)
    assert (failure.kind, failure.status) == (kind, status)


def test_only_what_is_about_his_own_request_is_told_to_the_client():
    words = "messages.0: bad, see https://vendor/account/acct_1234567"
    told = classify(400, {}, body("invalid_request_error", words))
    assert told.client_message == "messages.0: bad, see [url]"
    assert classify(403, {}, body("permission_error", words)).client_message is None
    assert classify(400, {}, body("invalid_request_error", "credit balance too low")).client_message is None


NOW, LATER = "Fri, 20 Nov 2026 12:00:00 GMT", "2026-11-20T12:00:30Z"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"date": NOW, "anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": LATER}, 30),
        ({"date": NOW, "anthropic-ratelimit-tokens-remaining": "9", "anthropic-ratelimit-tokens-reset": LATER}, None),
        ({"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_waits(headers, seconds):
    assert classify(429, headers, body("rate_limit_error")).retry_after == seconds


def test_an_empty_account_is_not_waited_for():
    spent = body("rate_limit_error", code="enforced_spend_limit_reached")
    assert classify(429, {"retry-after": "7"}, spent).retry_after is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "x"}, ErrorKind.OVERLOAD),
        ({"type": "rate_limit_error"}, ErrorKind.THROTTLE),
        ({"type": "invalid_request_error", "message": "x"}, ErrorKind.FAULT),
        ({"type": "brand_new_error", "message": "x"}, ErrorKind.FAULT),
        ("plain", ErrorKind.FAULT),
    ],
)
def test_inside_a_stream_nothing_is_the_client_s_fault(error, kind):
    assert classify_inband({"type": "error", "error": error}).kind is kind
