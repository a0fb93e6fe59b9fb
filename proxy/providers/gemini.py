"""Google's Gemini by its native API: the key goes into a header, never into the URL, where it would be logged."""

from proxy.core.secret import Secret
from proxy.providers import Headers, Provider
from proxy.wire.dialects.gemini_generate.errors import classify


def _auth(key: Secret) -> Headers:
    return ((b"x-goog-api-key", key.reveal().encode("ascii")),) if key else ()


PROVIDER = Provider(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    speaks={"gemini_generate": "/models/{model}:{method}"},
    auth=_auth,
    classify=classify,
    key_env="GEMINI_API_KEY",
    models_path="/models?pageSize=1000",
)
