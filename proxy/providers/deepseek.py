"""DeepSeek: chat in OpenAI's protocol; blank lines and comments while a request waits are not yet an answer."""

from proxy.core.decision import Quirks
from proxy.providers import Provider, bearer
from proxy.wire.meters import USUAL_METERS
from proxy.wire.openai_errors import classify

PROVIDER = Provider(
    name="deepseek",
    base_url="https://api.deepseek.com",
    # Fill-in-the-middle lives at /beta with rules of its own, so legacy completions are mapped to chat.
    speaks={"openai_chat": "/chat/completions"},
    auth=bearer,
    classify=classify,
    meters=USUAL_METERS,
    # The newer name is ignored in silence, so that an answer would have no limit (measured by others, 2026-08).
    quirks=Quirks(
        rename={"max_completion_tokens": "max_tokens", "user": "user_id"},
        functions_only=True,
        unthinking={"thinking": {"type": "disabled"}},
        plain_text=True,
        keeps_thinking=True,
        prefix_path="/beta/chat/completions",  # its "chat prefix completion"; that thinking can be off there is assumed
        no_forms=frozenset({"json_schema"}),  # github.com/UKGovernmentBEIS/inspect_ai/issues/4916 (2026-08)
    ),
    key_env="DEEPSEEK_API_KEY",
)
