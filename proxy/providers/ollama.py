"""Ollama: OpenAI's protocol from a local server that ignores what it does not know."""

from collections.abc import Mapping

from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.providers import LOCAL, Provider, bearer
from proxy.wire.openai_errors import classify as classify_openai


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """404 means that the model was never pulled, whatever the text says."""
    if status == 404:
        return UpstreamFailure(ErrorKind.MODEL_ABSENT, "the model is not pulled", status=status)
    return classify_openai(status, headers, body)


PROVIDER = Provider(
    name="ollama",
    base_url="http://localhost:11434/v1",
    speaks={
        "openai_chat": "/chat/completions",
        "openai_completions": "/completions",
        "openai_embeddings": "/embeddings",
    },
    auth=bearer,
    classify=classify,
    # It takes max_tokens only and silently ignores the newer name, so an answer would have no limit.
    quirks=Quirks(rename={"max_completion_tokens": "max_tokens"}),
    timeouts=LOCAL,
    local=True,
    needs_key=False,
)
