"""Anthropic: its own Messages protocol; the vendor's OpenAI layer loses too much to be used."""

from proxy.core.secret import Secret
from proxy.providers import Headers, Provider
from proxy.wire.dialects.anthropic_messages.errors import classify

# The newer version refuses temperature, top_p and top_k even at their defaults, which older models still take.
_VERSION = (b"anthropic-version", b"2023-06-01")


def _auth(key: Secret) -> Headers:
    return ((b"x-api-key", key.reveal().encode("ascii")), _VERSION) if key else (_VERSION,)


PROVIDER = Provider(
    name="anthropic",
    base_url="https://api.anthropic.com",
    speaks={"anthropic_messages": "/v1/messages"},
    auth=_auth,
    classify=classify,
    key_env="ANTHROPIC_API_KEY",
    models_path="/v1/models",
)
