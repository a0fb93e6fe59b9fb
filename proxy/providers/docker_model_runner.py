"""Docker Model Runner: OpenAI's protocol under /engines/v1, errors as plain text."""

from collections.abc import Mapping

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.providers import LOCAL, Provider, bearer
from proxy.wire.openai_errors import classify as classify_openai

_KINDS = {
    404: (ErrorKind.MODEL_ABSENT, "the model or its backend is missing"),
    412: (ErrorKind.MODEL_ABSENT, "the model's backend is not installed"),
    500: (ErrorKind.FAULT, "the model could not be loaded"),
    503: (ErrorKind.OVERLOAD, "the runner is not ready"),
}


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """By status: the bodies are sentences for people."""
    if status in _KINDS:
        kind, detail = _KINDS[status]
        return UpstreamFailure(kind, detail, status=status)
    return classify_openai(status, headers, body)


PROVIDER = Provider(
    name="docker_model_runner",
    base_url="http://localhost:12434/engines/v1",
    speaks={
        "openai_chat": "/chat/completions",
        "openai_completions": "/completions",
        "openai_responses": "/responses",
        "openai_embeddings": "/embeddings",
        "anthropic_messages": "/messages",
    },
    auth=bearer,
    classify=classify,
    timeouts=LOCAL,
    local=True,
    needs_key=False,
)
