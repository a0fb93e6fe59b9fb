"""LM Studio: OpenAI's protocol from a local server that reports some failures with status 200."""

from collections.abc import Mapping

from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.providers import LOCAL, Provider, bearer
from proxy.wire.openai_errors import classify as classify_openai

_SIGNS = (
    (b"No models loaded", ErrorKind.MODEL_ABSENT, "no model is loaded"),
    (b"Model is unloaded", ErrorKind.FAULT, "the model was unloaded during the request"),
    (b"The model has crashed", ErrorKind.FAULT, "the model crashed"),
    # What it says with status 200 at every path it does not know, above all when the URL lacks /v1.
    (b"Unexpected endpoint or method", ErrorKind.NOT_AN_ANSWER, "unknown path; does the url end in /v1?"),
)


def classify(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamFailure:
    """Its own texts first: they come with 200, 400 and 404 alike."""
    for text, kind, detail in _SIGNS:
        if text in body:
            return UpstreamFailure(kind, detail, status=status)
    return classify_openai(status, headers, body)


PROVIDER = Provider(
    name="lmstudio",
    base_url="http://localhost:1234/v1",
    speaks={
        "openai_chat": "/chat/completions",
        "openai_completions": "/completions",
        "openai_responses": "/responses",
        "openai_embeddings": "/embeddings",
        "anthropic_messages": "/messages",
    },
    auth=bearer,
    classify=classify,
    quirks=Quirks(rename={"max_completion_tokens": "max_tokens"}),
    timeouts=LOCAL,
    local=True,
    needs_key=False,
)
