"""xAI: chat in OpenAI's protocol; its completion tokens leave the reasoning out, its total does not (wire/usage.py)."""

from proxy.core.decision import Quirks
from proxy.providers import Provider, bearer
from proxy.wire.meters import USUAL_METERS
from proxy.wire.openai_errors import classify

PROVIDER = Provider(
    name="xai",
    base_url="https://api.x.ai/v1",
    speaks={"openai_chat": "/chat/completions"},
    auth=bearer,
    classify=classify,
    meters=USUAL_METERS,
    quirks=Quirks(drop=("web_search_options",)),  # its search is on an endpoint of its own
    key_env="XAI_API_KEY",
)
