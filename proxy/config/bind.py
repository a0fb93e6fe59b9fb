"""From an upstream's section and its provider's facts to an `Upstream` that is ready to use, or disabled and why."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from proxy.config.upstreams import UpstreamConfig
from proxy.core.decision import Origin, Quirks, Timeouts, Upstream
from proxy.core.secret import Secret
from proxy.fields import to_secret
from proxy.providers import CLOUD, LOCAL, Headers, Provider, basic

OFFLINE = "offline"
"""The name of the upstream that is always there."""

_IN_PROCESS = Origin(scheme="offline", host="offline", port=0)
_NOWHERE = Origin(scheme="https", host="", port=443)

_PRIVATE_SUFFIXES = (".localhost", ".internal", ".local", ".home.arpa")
"""Names that never leave the machine or the private network, by RFC 6761, 6762, 8375 and ICANN's reservation."""

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()+,;=:@%-]+)*/?")
_HEADER = re.compile(r"[a-z0-9-]{1,64}")
_FRAMING = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "content-type", "content-encoding", "accept",
     "accept-encoding", "expect", "te", "trailer", "upgrade", "keep-alive", "proxy-authorization", "user-agent",
     "x-client-request-id"}
)  # fmt: skip
"""Headers that belong to the transport, or to every request alike."""

_VIA = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):([0-9]{1,5})")


class BadSetting(ValueError):
    """A setting of an upstream cannot be used; the message says why, `key` which it is."""

    def __init__(self, message: str, key: str = "url") -> None:
        super().__init__(message)
        self.key = key


def is_loopback(host: str) -> bool:
    """True if nobody but this machine can reach a server that listens on `host`."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """True if traffic to `host` stays on this machine or in its private network. Names are judged, not looked up."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.lower().rstrip(".").endswith(_PRIVATE_SUFFIXES)
    return address.is_private or address.is_loopback or address.is_link_local


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def parse_url(url: str, *, insecure: bool = False) -> tuple[Origin, str]:
    """A base URL as origin and path (without a slash at its end). Raises BadSetting."""
    # Python's parser silently drops line breaks and tabs; nothing of that kind may reach it.
    if not url.isascii() or not url.isprintable() or " " in url:
        raise BadSetting("a URL has no spaces, line breaks or letters beyond ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadSetting("this is not a URL") from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not _is_host(host):
        raise BadSetting("expected a URL such as https://api.example.com/v1")
    if parts.username is not None or parts.password is not None:
        raise BadSetting("credentials do not belong into a URL; use `keys` or `auth`")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise BadSetting("a base URL has no query and no fragment")
    if _PATH.fullmatch(parts.path) is None or port == 0:
        raise BadSetting("expected a URL such as https://api.example.com/v1")
    if parts.scheme == "http" and not insecure and not is_private(host):
        raise BadSetting("http:// would send keys and prompts in the clear; use https://, or say `insecure: true`")
    origin = Origin(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))
    return origin, parts.path.rstrip("/")


def _variables(written: Any) -> str:
    """The names of the variables in a field as it stands in the file, for a message."""
    texts = written if isinstance(written, list) else [written]
    names = [
        found[1] for text in texts if isinstance(text, str) and (found := re.match(r"\$\{(\w+)", text)) is not None
    ]
    return " or ".join(names)


def _authorise(secret: Secret) -> tuple[Secret, bool]:
    """The value of `auth:` as the credential itself, and whether it is a user and password."""
    scheme, _, rest = secret.reveal().partition(" ")
    if scheme.lower() in ("basic", "bearer") and rest:
        return Secret(rest.strip()), scheme.lower() == "basic"
    return secret, False


def _keys(config: UpstreamConfig, provider: Provider, environ: Mapping[str, str]) -> tuple[tuple[Secret, ...], bool]:
    """The keys that are not empty, each once, and whether they are `user:password`. Raises BadSetting."""
    if config.auth is not None:
        secret, is_basic = _authorise(config.auth)
        if is_basic and ":" not in secret.reveal():
            raise BadSetting("expected the variable to hold `basic user:password`", "auth")
        return ((secret,) if secret else ()), is_basic
    if config.keys is None:
        try:
            default = to_secret(environ.get(provider.key_env or "", ""))
        except ValueError as error:
            raise BadSetting(f"{provider.key_env}: {error}", "keys") from None
        return ((default,) if default else ()), False
    return tuple(dict.fromkeys(key for key in config.keys if key)), False


def _no_key(config: UpstreamConfig, provider: Provider, written: Mapping[str, Any]) -> str | None:
    """Why an upstream without a key is disabled, None if it may do without."""
    if config.keys is None and not provider.needs_key:
        return None
    if config.keys == () and not provider.needs_key:
        return None
    names = _variables(written.get("keys", written.get("auth"))) or provider.key_env
    return f"it has no key; set {names}" if names else "it has no key; write `keys`"


def _disabled(
    config: UpstreamConfig,
    provider: Provider,
    paths: Mapping[str, str],
    keys: Collection[Secret],
    written: Mapping[str, Any],
) -> str | None:
    if not config.enabled:
        return "it is switched off in the file"
    if not paths:
        return "its dialect is not built in yet"
    return None if keys else _no_key(config, provider, written)


def _timeouts(config: UpstreamConfig, provider: Provider) -> Timeouts:
    base = provider.timeouts
    if config.local is not None and config.local != provider.local:
        base = LOCAL if config.local else CLOUD
    return config.timeouts.over(base)


def bind(
    name: str,
    config: UpstreamConfig,
    provider: Provider,
    dialects: Collection[str],
    environ: Mapping[str, str],
    written: Mapping[str, Any],
) -> Upstream:
    """Make the upstream. `written` is its section as it stands in the file. Raises BadSetting."""
    url = config.url or provider.base_url
    if url is None:
        raise BadSetting(f"the provider `{provider.name}` has no address of its own; write `url`")
    origin, base = parse_url(url, insecure=config.insecure)
    if config.via is not None and not _VIA.fullmatch(config.via):
        raise BadSetting("expected the host:port of an HTTP proxy", "via")
    if config.ensure_loaded is not None and provider.native is None:
        raise BadSetting(f"the provider `{provider.name}` cannot be told to load a model", "ensure_loaded")
    keys, is_basic = _keys(config, provider, environ)
    paths = {dialect: path for dialect, path in provider.speaks.items() if dialect in dialects}
    is_local = provider.local if config.local is None else config.local
    return Upstream(
        name=name,
        provider=provider.name,
        origin=replace(origin, ca_file=config.ca_file or None, via=config.via or None),
        base=base,
        paths=paths,
        headers=_headers(config, basic if is_basic else provider.auth),
        classify=provider.classify,
        keys=keys,
        timeouts=_timeouts(config, provider),
        quirks=_quirks(config, provider.quirks),
        disabled=_disabled(config, provider, paths, keys, written),
        local=is_local,
        default_model=config.default_model,
        models_path=provider.models_path,
        reads_models=provider.reads_models,
        native=provider.native,
        keep=config.ensure_loaded.keep() if config.ensure_loaded else None,
        fetches_images=config.fetch_images,
        slots=config.slots.limits(is_local=is_local),
        pace=config.rate.limits(),
        meters=provider.meters,
        checking=config.health.limits() if is_local and provider.models_path else None,
    )


def _headers(config: UpstreamConfig, show: Callable[[Secret], Headers]) -> Callable[[Secret], Headers]:
    """How a key is shown, and the file's own headers beside it or in its place. Raises BadSetting."""
    own = {name.lower(): value for name, value in config.headers.items() if value}
    for name, value in own.items():
        if _HEADER.fullmatch(name) is None or name in _FRAMING:
            raise BadSetting(f"`{name}` is no header that can be set here", "headers")
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            raise BadSetting(f"the value of `{name}` has spaces around it, or letters that no header has", "headers")
    if not own:
        return show
    added = tuple((name.encode(), value.encode()) for name, value in own.items())
    return lambda key: (*(pair for pair in show(key) if pair[0].decode() not in own), *added)


def _quirks(config: UpstreamConfig, quirks: Quirks) -> Quirks:
    """The provider's, with what the file adds; a server for which pictures are fetched gets none by their address."""
    return replace(
        quirks,
        drop=tuple(dict.fromkeys((*quirks.drop, *config.drop))),
        rename={**quirks.rename, **config.rename},
        irregular=quirks.irregular or config.irregular,
        thinks_as=config.reasoning_field or quirks.thinks_as,
        thinking_tag=config.reasoning_tag or quirks.thinking_tag,
        inline_images=quirks.inline_images and not config.fetch_images,
    )


def bind_offline(provider: Provider, dialects: Collection[str]) -> Upstream:
    """The upstream inside this process."""
    return Upstream(
        name=OFFLINE,
        provider=provider.name,
        origin=_IN_PROCESS,
        base="",
        paths={dialect: path for dialect, path in provider.speaks.items() if dialect in dialects},
        headers=provider.auth,
        classify=provider.classify,
        timeouts=provider.timeouts,
        quirks=provider.quirks,
        local=True,
        offline=True,
        models_path=None,
    )


def unusable(name: str, provider: str, why: str) -> Upstream:
    """Stands in for an upstream that could not be made, so that targets that name it are no further problem."""
    return Upstream(
        name=name,
        provider=provider,
        origin=_NOWHERE,
        base="",
        paths={},
        headers=lambda _key: (),
        classify=_unasked,
        disabled=why,
    )


def _unasked(*_answer: Any) -> Any:
    raise AssertionError("a disabled upstream was asked")
