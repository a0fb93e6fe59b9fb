"""Groq: OpenAI's protocol without log probabilities and token biases."""

from proxy.core.decision import Quirks
from proxy.providers import Provider, bearer
from proxy.wire.openai_errors import classify

PROVIDER = Provider(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    speaks={"openai_chat": "/chat/completions"},
    auth=bearer,
    classify=classify,
    quirks=Quirks(drop=("logprobs", "top_logprobs", "logit_bias")),
    key_env="GROQ_API_KEY",
)
