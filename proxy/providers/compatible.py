"""Any endpoint that speaks OpenAI's protocol: the facts come from the configuration."""

from proxy.providers import Provider, bearer
from proxy.wire.meters import USUAL_METERS
from proxy.wire.openai_errors import classify

PROVIDER = Provider(
    name="compatible",
    base_url=None,
    speaks={
        "openai_chat": "/chat/completions",
        "openai_completions": "/completions",
        "openai_embeddings": "/embeddings",
    },
    auth=bearer,
    classify=classify,
    meters=USUAL_METERS,
    needs_key=False,
)
