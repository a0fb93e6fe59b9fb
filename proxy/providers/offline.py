"""Answers made in this process by `synth/`: its models are the levels of offline synthesis."""

from proxy.providers import Provider, no_auth
from proxy.wire.openai_errors import classify

PROVIDER = Provider(
    name="offline",
    base_url=None,
    speaks={"openai_chat": "/chat/completions", "openai_completions": "/completions"},
    auth=no_auth,
    classify=classify,
    local=True,
    offline=True,
    needs_key=False,
    models_path=None,
)
