"""Google's Gemini by its native API: the key goes into a header, never into the URL, where it would be logged."""

from collections.abc import Mapping

from proxy.core.family import Told
from proxy.core.secret import Secret
from proxy.providers import Headers, Provider
from proxy.wire.dialects.gemini_generate.errors import classify
from proxy.wire.model_list import count, entries


def _auth(key: Secret) -> Headers:
    return ((b"x-goog-api-key", key.reveal().encode("ascii")),) if key else ()


def read_models(body: bytes) -> Mapping[str, Told]:
    """See `ReadModels`; the models stand in the folder `models/` (the SDK google-genai 3.4.0: `Model`)."""
    return {
        model["name"].removeprefix("models/"): Told(
            context=count(model.get("inputTokenLimit")),
            output=count(model.get("outputTokenLimit")),
            thinking="none" if model.get("thinking") is False else None,
        )
        for model in entries(body, "models", "name")
    }


PROVIDER = Provider(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    speaks={"gemini_generate": "/models/{model}:{method}"},
    auth=_auth,
    classify=classify,
    key_env="GEMINI_API_KEY",
    models_path="/models?pageSize=1000",
    reads_models=read_models,
)
