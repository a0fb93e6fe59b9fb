"""From a section of the file to an upstream."""

import base64
from typing import Any

import pytest

from proxy.config.bind import is_loopback, is_private, parse_url
from proxy.config.compile import exposure
from proxy.config.load import loads
from proxy.config.problems import ConfigError
from proxy.core.decision import Origin, Upstream
from proxy.core.request import Tenant
from proxy.core.secret import Secret
from proxy.providers import CLOUD, LOCAL


def upstream(section: str, **environ: str) -> Upstream:
    return loads(f"upstreams: {{u: {{{section}}}}}".encode(), "f", environ).upstreams["u"]


def shown(section: str, **environ: str) -> list[tuple[bytes, bytes]]:
    """The headers that go upstream with the first key, or without any."""
    made = upstream(section, **environ)
    return list(made.headers(made.keys[0] if made.keys else Secret("")))


@pytest.mark.parametrize(
    ("written", "header"),
    [
        ("token", b"Bearer token"),
        ("bearer token", b"Bearer token"),
        ("Basic me:pass word", b"Basic " + base64.b64encode(b"me:pass word")),
    ],
)
def test_auth_may_be_a_token_or_a_user_and_password(written: str, header: bytes) -> None:
    assert shown("provider: lmstudio, auth: '${A}'", A=written) == [(b"authorization", header)]


@pytest.mark.parametrize(
    "section", ["provider: lmstudio", "provider: lmstudio, auth: none", "provider: ollama, keys: []"]
)
def test_a_local_server_needs_no_key(section: str) -> None:
    assert (upstream(section).disabled, upstream(section).keys, shown(section)) == (None, (), [])


def test_a_key_is_shown_the_vendors_way() -> None:
    assert shown("provider: openai", OPENAI_API_KEY="k") == [(b"authorization", b"Bearer k")]
    assert shown("provider: gemini", GEMINI_API_KEY="k") == [(b"x-goog-api-key", b"k")]
    assert shown("provider: anthropic", ANTHROPIC_API_KEY="k") == [
        (b"x-api-key", b"k"),
        (b"anthropic-version", b"2023-06-01"),
    ]


def test_the_file_s_own_headers_come_beside_the_provider_s_or_in_their_place() -> None:
    own = (
        "provider: anthropic, headers: {Anthropic-Version: '2026-10-21', anthropic-workspace-id: '${W}', x-e: '${E:-}'}"
    )
    assert shown(own, ANTHROPIC_API_KEY="k", W="w1") == [
        (b"x-api-key", b"k"),
        (b"anthropic-version", b"2026-10-21"),
        (b"anthropic-workspace-id", b"w1"),
    ]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("Host: x", "`host` is no header"),
        ("content-length: '5'", "`content-length` is no header"),
        ("Transfer-Encoding: chunked", "`transfer-encoding` is no header"),
        ("'x y': z", "`x y` is no header"),
        ("'x:': z", "`x:` is no header"),
        ('x: "a\\r\\nb: c"', "the value of `x`"),
        ("x: ' a'", "the value of `x`"),
        ("x: ü", "the value of `x`"),
    ],
)
def test_a_header_that_would_break_a_request_is_refused(header: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        upstream(f"provider: lmstudio, headers: {{{header}}}")
    assert [problem.path for problem in caught.value.problems] == ["upstreams.u.headers"]
    assert told in str(caught.value)


def test_the_usual_variable_is_read_only_if_no_keys_are_written() -> None:
    environ = {"OPENAI_API_KEY": "usual", "OWN": "own"}
    assert [key.reveal() for key in upstream("provider: openai", **environ).keys] == ["usual"]
    assert [key.reveal() for key in upstream("provider: openai, keys: ['${OWN}']", **environ).keys] == ["own"]
    assert upstream("provider: openai, keys: ['${NONE:-}']", **environ).disabled == "it has no key; set NONE"


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("provider: openai", "keys"),
        ("provider: openai, keys: ['${A}']", "keys[0]"),
        ("provider: lmstudio, auth: '${A}'", "auth"),
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(section: str, path: str) -> None:
    """A line break in a variable would write headers of its own."""
    evil = "sk-1\r\nx-evil: 1"
    with pytest.raises(ConfigError) as caught:
        upstream(section, A=evil, OPENAI_API_KEY=evil)
    assert [problem.path for problem in caught.value.problems] == [f"upstreams.u.{path}"]
    assert "sk-1" not in str(caught.value)


def test_a_user_needs_a_password() -> None:
    with pytest.raises(ConfigError, match="basic user:password"):
        upstream("provider: lmstudio, auth: '${A}'", A="basic me")


def test_keys_are_kept_in_order_and_once() -> None:
    made = upstream("provider: openai, keys: ['${B}', '${A}', '${B}', '${E}']", A="a", B="b", E="")
    assert [key.reveal() for key in made.keys] == ["b", "a"]


def test_timeouts_come_from_the_file_then_the_place_then_the_provider() -> None:
    assert upstream("provider: openai").timeouts == CLOUD
    assert upstream("provider: lmstudio").timeouts == LOCAL
    assert upstream("provider: compatible, url: 'http://box/v1', local: true").timeouts == LOCAL
    assert upstream("provider: lmstudio, local: false").timeouts == CLOUD
    learned = upstream("provider: openai, timeouts: {first_token: auto}").timeouts
    assert (learned.first_token, learned.first_token_floor) == (CLOUD.first_token, 5.0)
    timeouts = upstream("provider: openai, timeouts: {first_token: auto, first_token_floor: 9s}").timeouts
    assert timeouts.first_token_floor == 9.0
    timeouts = upstream("provider: openai, timeouts: {first_token: 7s}").timeouts
    assert (timeouts.first_token, timeouts.first_token_floor) == (7.0, None)
    with pytest.raises(ConfigError, match="`first_token_floor` is for `first_token: auto`"):
        upstream("provider: openai, timeouts: {first_token: 7s, first_token_floor: 1s}")
    timeouts = upstream("provider: lmstudio, timeouts: {idle: 5s, connect: 1ms}").timeouts
    assert (timeouts.idle, timeouts.connect, timeouts.first_byte) == (5.0, 0.001, LOCAL.first_byte)
    with pytest.raises(ConfigError, match=r"timeouts\.progress: expected more than 0"):
        upstream("provider: lmstudio, timeouts: {progress: 0s}")


def test_quirks_of_file_and_provider_add_up() -> None:
    quirks = upstream("provider: groq, drop: [seed, logprobs], rename: {stop: end}").quirks
    assert quirks.drop == ("logprobs", "top_logprobs", "logit_bias", "n", "seed")
    assert quirks.rename == {"stop": "end"}
    assert upstream("provider: ollama, rename: {max_completion_tokens: n}").quirks.rename == {
        "max_completion_tokens": "n"
    }


@pytest.mark.parametrize(
    ("url", "origin", "base"),
    [
        ("https://api.example.com", Origin("https", "api.example.com", 443), ""),
        ("https://api.example.com:8443/v1/", Origin("https", "api.example.com", 8443), "/v1"),
        ("http://127.0.0.1:1/a/b", Origin("http", "127.0.0.1", 1), "/a/b"),
        ("http://[::1]/v1", Origin("http", "::1", 80), "/v1"),
        ("HTTPS://API.Example.com/V1", Origin("https", "api.example.com", 443), "/V1"),
    ],
)
def test_an_address(url: str, origin: Origin, base: str) -> None:
    assert parse_url(url) == (origin, base)


PRIVATE = [
    "127.0.0.1",
    "localhost",
    "::1",
    "10.1.2.3",
    "192.168.0.1",
    "fd00::1",
    "fe80::1",
    "llm",
    "a.local",
    "b.internal",
]
PUBLIC = ["8.8.8.8", "example.com", "localhost.example.com", "2606:4700::1111", "internal.com", "1.1"]


@pytest.mark.parametrize(
    ("host", "private"), [*((host, True) for host in PRIVATE), *((host, False) for host in PUBLIC)]
)
def test_what_is_private(host: str, private: bool) -> None:
    assert is_private(host) is private


@pytest.mark.parametrize(("host", "loopback"), [("127.8.8.8", True), ("::1", True), ("0.0.0.0", False), ("::", False)])
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("tenant", "allow", "host", "refused"),
    [
        (Tenant("t", anonymous=True), False, "0.0.0.0", True),
        (Tenant("t", anonymous=True), True, "0.0.0.0", False),
        (Tenant("t", anonymous=True), False, "::1", False),
        (Tenant("t", anonymous=True, enabled=False), False, "0.0.0.0", False),
        (None, False, "192.168.1.1", False),
    ],
)
def test_callers_without_a_key_are_served_at_home_only(tenant: Any, allow: bool, host: str, refused: bool) -> None:
    text = f"server: {{allow_anonymous: {str(allow).lower()}}}"
    server = loads(text.encode(), "f", {}).server
    assert (exposure(server, tenant, host) is not None) is refused
