"""One entry of `upstreams:`, composed of the classes that live beside the code they configure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from proxy.fields import EnvSecret, EnvText, Many, Section
from proxy.policy.breaker import BreakerConfig
from proxy.policy.checkup import HealthConfig
from proxy.policy.pace import PaceConfig
from proxy.policy.slots import SlotsConfig
from proxy.providers import EnsureLoadedConfig, TimeoutsConfig


class UpstreamConfig(Section):
    """One place that requests can be sent to: a provider with a URL, keys and limits."""

    provider: str
    """What kind of upstream it is: one of the manual's providers; `compatible` is any OpenAI-like endpoint."""
    enabled: bool = True
    """`false` takes it out of service and keeps its settings."""
    url: EnvText | None = None
    """The base URL, with the `/v1` if there is one. Providers with one well-known address do not need it."""
    keys: Many[EnvSecret] | None = None
    """API keys as variables, `"${NAME:-}"`. With several, each is used and cooled down by itself. If every key is
    empty, the upstream is disabled with a warning. Not written: the provider's usual variable."""
    auth: EnvSecret | None = None
    """For servers with other ways than keys: `none`, a token, or `basic user:password`, as a variable."""
    headers: dict[str, EnvText] = Field(default={})
    """Headers to send with every request, such as `{OpenAI-Project: "${PROJECT}"}` or `{anthropic-workspace-id: …}`;
    one of the provider's own is replaced, an empty one left out. A client's headers are never passed on."""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    """How long each phase of an attempt may last."""
    breaker: BreakerConfig = BreakerConfig()
    """When one of its models is left alone because it fails, and for how long."""
    health: HealthConfig = HealthConfig()
    """How it is looked after, if it runs on your own machines."""
    slots: SlotsConfig = SlotsConfig()
    """Requests in flight at the same time, and who waits for a place among them."""
    rate: PaceConfig = PaceConfig()
    """How fast we allow ourselves to call it."""
    ensure_loaded: EnsureLoadedConfig | None = None
    """Load models before they are asked."""
    local: bool | None = None
    """Runs on your own machines: costs nothing, and gets the patient timeouts. Not written: as the provider says."""
    default_model: str | None = None
    """The model for `upstream/*` when the caller named none of its own."""
    drop: Many[str] = ()
    """Request fields it refuses; they are left out."""
    rename: dict[str, str] = Field(default={})
    """Request fields it knows under another name: `{max_completion_tokens: max_tokens}`."""
    reasoning_field: Annotated[str, Field(pattern=r"^[A-Za-z_]+$")] | None = None
    """Where its messages hold thinking text, if that is not `reasoning_content`; clients read it by that name."""
    reasoning_tag: Annotated[str, Field(pattern=r"^[A-Za-z_]+$")] | None = None
    """For chats whose text begins with the thinking, such as `<think>…</think>`: the name of that tag. Clients read the
    thinking as `reasoning_content` then, and the text without it; answers are written anew."""
    fetch_images: bool = False
    """Fetch pictures that a request names by their address, from public hosts only, and send them as data: for servers
    that do not fetch them. Otherwise such a request is refused where the server takes none, or passed on."""
    irregular: bool = False
    """Read its chat answers and write them anew, instead of passing them on byte for byte: for servers that leave out
    indexes, ids or finish reasons that strict clients need."""
    ca_file: EnvText | None = None
    """Trust these authorities (PEM) instead of the system's."""
    via: EnvText | None = None
    """`host:port` of an HTTP proxy that is asked to CONNECT."""
    insecure: bool = False
    """Allow `http://` to an address that is not on this machine or in a private network."""
