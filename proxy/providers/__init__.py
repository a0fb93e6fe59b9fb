"""A provider is a kind of upstream: one file of facts (where, which dialects, how to show a key, what it does oddly).

`discover()` finds the files; nothing registers itself. An endpoint that simply speaks OpenAI's protocol needs no
file: `provider: compatible` and a `url` in the configuration. A file is for facts of its own; a *dialect* only for
other bytes on the wire.
"""

from __future__ import annotations

import base64
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from proxy.core.decision import Classify, Meter, Quirks, ReadModels, Timeouts
from proxy.core.local import Keep, NativeApi
from proxy.core.secret import Secret
from proxy.fields import Count, Duration, Section

Headers = tuple[tuple[bytes, bytes], ...]

_LEARNED: Final = "auto"

CLOUD = Timeouts()
LOCAL = Timeouts(connect=0.5, first_byte=120.0, first_token=300.0, attempt=600.0)
"""A server on one's own machine accepts at once or not at all, and may load a model before it says a word."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of a vendor before any configuration.

    `base_url` is None where only the configuration can know it. `speaks` maps dialects to paths under the base, the
    preferred first; dialects that are not built in are skipped. `auth` makes headers of a key, and none of an empty
    one. `needs_key` is false where requests without a key may be welcome. `key_env` names the variable that is read
    when the configuration lists no keys. `offline` providers are answered in the process itself. `native` is the API by
    which models are loaded and unloaded, where there is one. `meters` are the headers that tell what is left of limits.
    `reads_models` reads the list of models where it has not OpenAI's form.
    """

    name: str
    base_url: str | None
    speaks: Mapping[str, str]
    auth: Callable[[Secret], Headers]
    classify: Classify
    quirks: Quirks = field(default_factory=Quirks)
    timeouts: Timeouts = CLOUD
    local: bool = False
    offline: bool = False
    needs_key: bool = True
    key_env: str | None = None
    models_path: str | None = "/models"
    reads_models: ReadModels | None = None
    native: NativeApi | None = None
    meters: tuple[Meter, ...] = ()


def bearer(key: Secret) -> Headers:
    """`Authorization: Bearer …`, what OpenAI's protocol asks for."""
    return ((b"authorization", b"Bearer " + key.reveal().encode("ascii")),) if key else ()


def basic(key: Secret) -> Headers:
    """`Authorization: Basic …` of `user:password`."""
    return ((b"authorization", b"Basic " + base64.b64encode(key.reveal().encode("ascii"))),) if key else ()


def no_auth(_key: Secret) -> Headers:
    """No header, whatever the key."""
    return ()


def discover() -> dict[str, Provider]:
    """All providers by name: each module of this package holds one `PROVIDER`."""
    found: dict[str, Provider] = {}
    for module in pkgutil.iter_modules(__path__):
        provider: Provider = importlib.import_module(f"{__name__}.{module.name}").PROVIDER
        found[provider.name] = provider
    return found


Patience = Annotated[Duration, Field(gt=0)]
"""Seconds; with none at all, nothing could ever answer."""


class TimeoutsConfig(Section):
    """How long each phase of an attempt may last; what is left out keeps the provider's own value."""

    connect: Patience | None = None
    """Name look-up and TCP connect, per address. Cloud 2s, local 500ms."""
    tls: Patience | None = None
    """TLS handshake. 3s."""
    pool: Duration | None = None
    """Waiting for a free connection, before the next target is tried. 1s."""
    write: Patience | None = None
    """Silence while the request is being sent. 10s."""
    first_byte: Patience | None = None
    """Until the head of the answer. Cloud 30s, local 120s (a model may have to be loaded)."""
    first_token: Literal["auto"] | Patience | None = None
    """Until the first word of a stream, from the moment of asking; comments and blank lines do not count. Cloud 60s,
    local 300s. `auto`: twice the time that the model usually takes with prompts of that length, at most as much as
    that, while there is another target to move on to."""
    first_token_floor: Patience = 5.0
    """With `first_token: auto`, the shortest time that a stream gets to begin."""
    idle: Patience | None = None
    """Silence between two pieces of an answer. 60s."""
    progress: Patience | None = None
    """Time between two words of a stream, whatever else comes meanwhile; it ends up to a quarter of that later. 120s;
    180s where the vendor holds back the inputs of tools until they are whole."""
    attempt: Patience | None = None
    """One try in all. Cloud 300s, local 600s."""
    total: Patience | None = None
    """The whole request, over all tries. 600s, and not yet by upstream: a route's `deadline` says it."""

    @model_validator(mode="after")
    def _is_for_auto(self) -> Self:
        if self.first_token != _LEARNED and "first_token_floor" in self.model_fields_set:
            raise ValueError("`first_token_floor` is for `first_token: auto`")
        return self

    def over(self, base: Timeouts) -> Timeouts:
        """`base` with what is written here in its place."""
        written = {name: value for name, value in self if value not in (None, _LEARNED)}
        if self.first_token != _LEARNED:
            written["first_token_floor"] = None
        return replace(base, **written)


class EnsureLoadedConfig(Section):
    """For servers that load models on demand: have the model in memory before the request is sent."""

    ttl: Duration | None = None
    """Unload what the proxy loaded after this time without a request. Not written: never."""
    context: Annotated[Literal["auto"] | Count, Field(union_mode="left_to_right")] = "auto"
    """The context length to load with, in tokens; `auto` fits it to the prompt, as far as the model allows."""
    single_flight: bool = True
    """Share one load between all requests that wait for it; `false`: each sees to it by itself, one after another."""
    pull: bool = False
    """Download a model that the server does not have."""
    min_stay: Duration = 60.0
    """How long a model stays at least before it makes room for another, so that two callers cannot drive each other's
    model out all the time."""
    most: Count | None = None
    """How many models the proxy keeps in memory at once. Not written: as many as the server takes."""
    timeout: Duration = 300.0
    """The longest time for one load, waiting for room included."""

    def keep(self) -> Keep:
        """As the policy knows it."""
        context = None if self.context == "auto" else self.context
        return Keep(self.ttl, context, self.single_flight, self.pull, self.min_stay, self.most, self.timeout)
