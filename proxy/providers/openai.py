"""OpenAI's own API: the protocol's home."""

from proxy.providers import Provider, bearer
from proxy.wire.meters import USUAL_METERS
from proxy.wire.openai_errors import classify

PROVIDER = Provider(
    name="openai",
    base_url="https://api.openai.com/v1",
    speaks={
        "openai_chat": "/chat/completions",
        "openai_completions": "/completions",
        "openai_responses": "/responses",
        "openai_embeddings": "/embeddings",
    },
    auth=bearer,
    classify=classify,
    meters=USUAL_METERS,
    key_env="OPENAI_API_KEY",
)
