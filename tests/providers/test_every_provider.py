"""Laws that every file in `proxy/providers/` keeps, and what each vendor's documented errors mean."""

from __future__ import annotations

import importlib
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.config.bind import parse_url
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.secret import Secret
from proxy.providers import Provider, basic, discover
from proxy.wire import dialects as wire_dialects

PROVIDERS = discover()
DIALECTS = wire_dialects.discover()
NOT_BUILT_IN = {"openai_embeddings"}
"""Dialects that a provider may name already; they are skipped until there is one."""

KEY = "sk-proj-0123456789abcdefghijABCDEFGHIJ"


@pytest.fixture(params=sorted(PROVIDERS))
def provider(request: pytest.FixtureRequest) -> Provider:
    return PROVIDERS[request.param]


def test_its_name_is_that_of_its_file(provider: Provider) -> None:
    assert importlib.import_module(f"proxy.providers.{provider.name}").PROVIDER.name == provider.name


def test_its_address_is_one_that_a_configuration_might_hold(provider: Provider) -> None:
    """https, or plain http on this machine, and no slash at the end: paths are appended."""
    if provider.base_url is None:
        return
    origin, base = parse_url(provider.base_url)
    assert provider.base_url == f"{origin.scheme}://{origin.authority}{base}"
    assert origin.scheme == "https" or provider.local


def test_it_speaks_what_there_is(provider: Provider) -> None:
    """Known dialects, at least one that is built in, each at a path that can be called for any model."""
    assert provider.speaks.keys() <= DIALECTS.keys() | NOT_BUILT_IN
    built_in = [name for name in provider.speaks if name in DIALECTS]
    assert built_in
    for name in built_in:
        for stream in (False, True):
            path = DIALECTS[name].path(provider.speaks[name], "vendor/a model?#", stream)
            assert path.startswith("/")
            assert not set(path) & set(" {}#")
    assert provider.models_path is None or provider.models_path.startswith("/")


def test_no_key_means_no_credential(provider: Provider) -> None:
    """An empty bearer token is an error with some servers and a login with others."""
    credentials = {name for name, value in provider.auth(Secret(KEY)) if KEY.encode() in value}
    assert not credentials & {name for name, _ in provider.auth(Secret(""))}


def test_a_key_is_shown_once_and_verbatim(provider: Provider) -> None:
    headers = provider.auth(Secret(KEY))
    shown = [name for name, value in headers if KEY.encode() in value]
    assert len(shown) == (0 if provider.offline else 1)
    assert all(name == name.lower() for name, _ in headers)


def test_whoever_needs_a_key_names_its_variable(provider: Provider) -> None:
    assert not provider.needs_key or provider.key_env


def test_no_field_is_dropped_and_renamed(provider: Provider) -> None:
    quirks = provider.quirks
    assert not set(quirks.drop) & (quirks.rename.keys() | set(quirks.rename.values()))
    assert len(set(quirks.drop)) == len(quirks.drop)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
WORDS = st.sampled_from(
    ["error", "message", "type", "code", "status", "details", "param", "reason", "error_code", "violations"]
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)
BODIES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
STATUSES = st.sampled_from([200, 204, 301, 400, 401, 404, 413, 418, 429, 498, 500, 503, 529, 599]) | st.integers(
    200, 999
)
WAITS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-requests"]), st.text(max_size=12), max_size=2
)
TELLS_THE_CLIENT = {ErrorKind.REJECTED, ErrorKind.CONTEXT}


@given(status=STATUSES, headers=WAITS, body=BODIES)
@example(status=400, headers={}, body=b'{"error":' * 5000)
@example(status=400, headers={}, body=b"[" * 5000 + b"]" * 5000)
@example(status=429, headers={"retry-after": "inf"}, body=b'{"error":{"code":1e400}}')
@settings(max_examples=150, deadline=None)
def test_any_answer_is_judged(status: int, headers: dict[str, str], body: bytes) -> None:
    """By every provider alike: no answer is too strange, and a client hears only of its own request."""
    for provider in PROVIDERS.values():
        failure = provider.classify(status, headers, body)
        assert isinstance(failure, UpstreamFailure)
        assert isinstance(failure.kind, ErrorKind)
        assert failure.client_message is None or failure.kind in TELLS_THE_CLIENT
        assert failure.retry_after is None or 0 <= failure.retry_after < float("inf")
        assert status >= 300 or failure.kind not in TELLS_THE_CLIENT


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_key_in_an_error_is_told_to_nobody(provider: Provider, status: int) -> None:
    for body in (f'{{"error":{{"message":"bad key {KEY}","code":"{KEY}","param":"{KEY}"}}}}', f"<p>{KEY}</p>"):
        failure = provider.classify(status, {}, body.encode())
        told = (str(failure), failure.client_message, failure.param, failure.code)
        assert KEY not in " ".join(filter(None, told))


def openai(message: str = "x", kind: str | None = None, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def anthropic(kind: str, message: str = "x", code: str | None = None) -> bytes:
    details = {"details": {"error_code": code}} if code else {}
    return json.dumps({"type": "error", "error": {"type": kind, "message": message} | details}).encode()


def google(status: str, message: str = "x", *details: object) -> bytes:
    return json.dumps({"error": {"code": 0, "message": message, "status": status, "details": details}}).encode()


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
PER_DAY = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerDay"}]}
NOT_LOADED = openai("No models loaded. Please load a model in the developer page", "invalid_request_error")
RATE = openai("Rate limit reached", "requests", "rate_limit_exceeded")
_K = ErrorKind

SHARED = (
    (400, openai("bad", "invalid_request_error"), _K.REJECTED),
    (401, openai("Incorrect API key provided", "invalid_request_error", "invalid_api_key"), _K.AUTH),
    (429, RATE, _K.THROTTLE),
    (500, openai("The server had an error", "server_error"), _K.FAULT),
    (502, b"<html>Bad gateway</html>", _K.FAULT),
)
"""What all that speak OpenAI's protocol have in common."""

DOCUMENTED: dict[str, tuple[tuple[int, bytes, ErrorKind], ...]] = {
    "openai": (
        *SHARED,
        (400, openai("too long", "invalid_request_error", "context_length_exceeded"), _K.CONTEXT),
        (403, openai("Country, region, or territory not supported"), _K.AUTH),
        (404, openai("The model does not exist", "invalid_request_error", "model_not_found"), _K.MODEL_ABSENT),
        (413, openai("too large"), _K.REJECTED),
        (429, openai("Slow down", "rate_limit_error", "slow_down"), _K.THROTTLE),
        (429, openai("quota", "insufficient_quota", "insufficient_quota"), _K.MONEY),
        (429, openai("quota", "insufficient_quota", "credit_balance_exhausted"), _K.MONEY),
        (429, openai("quota", "insufficient_quota", "project_spend_limit_exceeded"), _K.MONEY),
        (503, openai("busy", "service_unavailable_error", "server_is_overloaded"), _K.OVERLOAD),
    ),
    "anthropic": (
        (400, anthropic("invalid_request_error", "messages: at least one message is required"), _K.REJECTED),
        (400, anthropic("invalid_request_error", "prompt is too long: 9 tokens > 1 maximum"), _K.CONTEXT),
        (400, anthropic("invalid_request_error", "You have reached your specified spend limit"), _K.MONEY),
        (401, anthropic("authentication_error"), _K.AUTH),
        (402, anthropic("billing_error"), _K.MONEY),
        (403, anthropic("permission_error"), _K.AUTH),
        (404, anthropic("not_found_error"), _K.MODEL_ABSENT),
        (413, anthropic("request_too_large"), _K.REJECTED),
        (429, anthropic("rate_limit_error"), _K.THROTTLE),
        (429, anthropic("rate_limit_error", code="ramp_limit_exceeded"), _K.THROTTLE),
        (429, anthropic("rate_limit_error", code="enforced_spend_limit_reached"), _K.MONEY),
        (500, anthropic("api_error"), _K.FAULT),
        (503, anthropic("api_error"), _K.OVERLOAD),
        (504, anthropic("timeout_error"), _K.FAULT),
        (529, anthropic("overloaded_error"), _K.OVERLOAD),
    ),
    "gemini": (
        (400, google("INVALID_ARGUMENT", "bad"), _K.REJECTED),
        (400, b"[" + google("INVALID_ARGUMENT", "bad") + b"]", _K.REJECTED),
        (400, google("INVALID_ARGUMENT", "API key not valid.", BAD_KEY), _K.AUTH),
        (400, google("FAILED_PRECONDITION", "User location is not supported"), _K.AUTH),
        (403, google("PERMISSION_DENIED"), _K.AUTH),
        (404, google("NOT_FOUND"), _K.MODEL_ABSENT),
        (429, google("RESOURCE_EXHAUSTED"), _K.THROTTLE),
        (429, google("RESOURCE_EXHAUSTED", "x", PER_DAY), _K.MONEY),
        (429, google("RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0"), _K.MONEY),
        (500, google("INTERNAL"), _K.FAULT),
        (503, google("UNAVAILABLE", "The model is overloaded."), _K.OVERLOAD),
        (504, google("DEADLINE_EXCEEDED"), _K.FAULT),
    ),
    "deepseek": (
        *SHARED,
        (402, openai("Insufficient Balance", "unknown_error", "invalid_request_error"), _K.MONEY),
        (422, openai("Failed to deserialize the JSON body"), _K.REJECTED),
        (503, openai("Server overloaded"), _K.OVERLOAD),
    ),
    "lmstudio": (
        *SHARED,
        (400, NOT_LOADED, _K.MODEL_ABSENT),
        (404, NOT_LOADED, _K.MODEL_ABSENT),
        (200, b'{"error":"Unexpected endpoint or method. (POST /chat)"}', _K.NOT_AN_ANSWER),
        (400, b'{"error":"Model is unloaded."}', _K.FAULT),
        (400, b'{"error":"The model has crashed without additional information. (Exit code: 6)"}', _K.FAULT),
    ),
    "docker_model_runner": (
        (400, b"request too large", _K.REJECTED),
        (404, b"model not found", _K.MODEL_ABSENT),
        (412, b"backend not installed", _K.MODEL_ABSENT),
        (500, b"unable to load runner", _K.FAULT),
        (503, b"not ready", _K.OVERLOAD),
    ),
    "ollama": (
        *SHARED,
        (404, openai('model "x" not found, try pulling it first', "not_found_error"), _K.MODEL_ABSENT),
        (404, b'{"error":"model not found"}', _K.MODEL_ABSENT),
        (503, openai("server busy, please try again", "api_error"), _K.OVERLOAD),
    ),
    "groq": (*SHARED, (498, openai("flex tier capacity exceeded", "capacity_exceeded"), _K.OVERLOAD)),
    "xai": (*SHARED, (404, openai("The model grok-x does not exist"), _K.MODEL_ABSENT)),
    "compatible": (
        *SHARED,
        (400, b'{"error":"plain words"}', _K.REJECTED),
        (400, b'{"object":"error","message":"maximum context length is 1","type":"BadRequestError"}', _K.CONTEXT),
        (404, b"404 page not found", _K.NOT_AN_ANSWER),
    ),
    "offline": SHARED,
}
"""Each vendor's errors as its documents, its source or its callers show them: status, body, and the class they are."""

CASES = [
    pytest.param(name, *case, id=f"{name}-{case[0]}-{number}")
    for name, cases in DOCUMENTED.items()
    for number, case in enumerate(cases)
]


@pytest.mark.parametrize(("name", "status", "body", "kind"), CASES)
def test_a_documented_error_is_of_its_class(name: str, status: int, body: bytes, kind: ErrorKind) -> None:
    failure = PROVIDERS[name].classify(status, {}, body)
    assert (failure.kind, failure.status) == (kind, status)


def test_every_provider_s_errors_are_documented() -> None:
    assert DOCUMENTED.keys() == PROVIDERS.keys()


def test_basic_is_user_and_password() -> None:
    assert basic(Secret("a:b")) == ((b"authorization", b"Basic YTpi"),)
    assert basic(Secret("")) == ()
