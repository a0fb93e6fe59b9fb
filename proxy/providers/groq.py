"""Groq: OpenAI's protocol without log probabilities, token biases, names of messages, nulls and second answers."""

from proxy.core.decision import Quirks
from proxy.providers import Provider, bearer
from proxy.wire.meters import USUAL_METERS
from proxy.wire.openai_errors import classify

PROVIDER = Provider(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    speaks={"openai_chat": "/chat/completions"},
    auth=bearer,
    classify=classify,
    meters=USUAL_METERS,
    # As LiteLLM works around it (2026-11).
    quirks=Quirks(
        drop=("logprobs", "top_logprobs", "logit_bias", "n"),
        unnamed=True,
        no_nulls=True,
        thinks_as="reasoning",
        unstreamed=("response_format",),
    ),
    key_env="GROQ_API_KEY",
)
