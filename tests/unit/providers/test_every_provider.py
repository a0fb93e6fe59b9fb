"""Laws that every provider file keeps, and the facts of those that have some."""

import pytest

from proxy.config.bind import parse_url
from proxy.core.errors import ErrorKind
from proxy.core.secret import Secret
from proxy.providers import Provider, basic, discover

PROVIDERS = discover()


@pytest.fixture(params=sorted(PROVIDERS))
def provider(request: pytest.FixtureRequest) -> Provider:
    return PROVIDERS[request.param]


def test_it_is_found_by_the_name_of_its_file(provider: Provider) -> None:
    assert provider.classify.__module__.startswith("proxy.")
    assert provider.name in PROVIDERS


def test_its_address_is_one_that_a_configuration_might_hold(provider: Provider) -> None:
    """https, or plain http on this machine, and no slash at the end: paths are appended."""
    if provider.base_url is None:
        return
    origin, base = parse_url(provider.base_url)
    assert provider.base_url == f"{origin.scheme}://{origin.authority}{base}"
    assert all(path.startswith("/") for path in provider.speaks.values())


def test_no_key_means_no_credential(provider: Provider) -> None:
    """An empty bearer token is an error with some servers and a login with others."""
    assert not [value for name, value in provider.auth(Secret("")) if name in (b"authorization", b"x-api-key")]


def test_a_key_is_shown_once_and_verbatim(provider: Provider) -> None:
    shown = [value for _, value in provider.auth(Secret("sk-1")) if b"sk-1" in value]
    assert len(shown) == (0 if provider.offline else 1)


def test_whoever_needs_a_key_names_its_variable(provider: Provider) -> None:
    assert not provider.needs_key or provider.key_env


def test_it_judges_any_answer(provider: Provider) -> None:
    for status, body in ((200, b""), (404, b"not json"), (500, b'{"error": null}'), (529, b"[]"), (400, b"\xff")):
        assert isinstance(provider.classify(status, {}, body).kind, ErrorKind)


def test_basic_is_user_and_password() -> None:
    assert basic(Secret("a:b")) == ((b"authorization", b"Basic YTpi"),)
    assert basic(Secret("")) == ()


NOT_LOADED = (
    b'{"error":{"message":"No models loaded. Please load a model","type":"invalid_request_error","param":"model"}}'
)


@pytest.mark.parametrize(
    ("name", "status", "body", "kind"),
    [
        ("lmstudio", 400, NOT_LOADED, ErrorKind.MODEL_ABSENT),
        ("lmstudio", 404, NOT_LOADED, ErrorKind.MODEL_ABSENT),
        ("lmstudio", 200, b'{"error":"Unexpected endpoint or method. (POST /chat)"}', ErrorKind.NOT_AN_ANSWER),
        ("lmstudio", 400, b'{"error":"Model is unloaded."}', ErrorKind.FAULT),
        ("lmstudio", 400, b'{"error":"The model has crashed without additional information."}', ErrorKind.FAULT),
        ("ollama", 404, b'{"error":{"message":"model not found"}}', ErrorKind.MODEL_ABSENT),
        ("docker_model_runner", 404, b"model not found", ErrorKind.MODEL_ABSENT),
        ("docker_model_runner", 412, b"backend not installed", ErrorKind.MODEL_ABSENT),
        ("docker_model_runner", 503, b"not ready", ErrorKind.OVERLOAD),
        ("docker_model_runner", 500, b"failed to load", ErrorKind.FAULT),
        ("deepseek", 402, b'{"error":{"message":"Insufficient Balance"}}', ErrorKind.MONEY),
        ("anthropic", 404, b'{"type":"error","error":{"type":"not_found_error"}}', ErrorKind.MODEL_ABSENT),
        ("openai", 401, b'{"error":{"message":"x","code":"invalid_api_key"}}', ErrorKind.AUTH),
    ],
)
def test_what_a_vendor_says_in_its_own_way(name: str, status: int, body: bytes, kind: ErrorKind) -> None:
    assert PROVIDERS[name].classify(status, {}, body).kind is kind
