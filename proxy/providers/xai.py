"""xAI: chat in OpenAI's protocol."""

from proxy.providers import Provider, bearer
from proxy.wire.openai_errors import classify

PROVIDER = Provider(
    name="xai",
    base_url="https://api.x.ai/v1",
    speaks={"openai_chat": "/chat/completions"},
    auth=bearer,
    classify=classify,
    key_env="XAI_API_KEY",
)
