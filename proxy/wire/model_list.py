"""Read an upstream's list of its models: their names, and what it says of each that routing can use.

OpenAI's own list has names only; servers in its shape add facts under names of their own. Places as seen in OpenRouter,
Groq, vLLM, llama.cpp, Mistral and Docker Model Runner (documents and sources, 2026); what stands nowhere is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from proxy.core.family import Told

Place = tuple[str, ...]

_CONTEXT: Final[tuple[Place, ...]] = (
    ("top_provider", "context_length"),  # of who really serves it, which may be less
    ("context_length",),
    ("max_model_len",),
    ("context_window",),
    ("max_context_length",),
    ("meta", "n_ctx"),
    ("dmr", "context_window"),
)
_OUTPUT: Final[tuple[Place, ...]] = (
    ("top_provider", "max_completion_tokens"),
    ("max_completion_tokens",),
    ("max_output_tokens",),
)
_MOST: Final = 2**40


def read_models(body: bytes) -> Mapping[str, Told]:
    """The models of `{"data": [{"id": …}]}` in their order. Raises ValueError for what is no such list."""
    return {model["id"]: _told(model) for model in entries(body, "data", "id")}


def entries(body: bytes, field: str, name: str) -> list[Mapping[str, Any]]:
    """The objects of the list under `field`; each has a `name`. Raises ValueError for what is no such list."""
    answer = msgspec.json.decode(body)
    found = answer.get(field) if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(at(one, name), str) for one in found):
        raise ValueError(f"no list of objects with {name} under {field}")
    return found


def at(value: Any, *place: str) -> Any:
    """What stands at a place of nested objects, None if there is no such place."""
    for step in place:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def count(value: Any) -> int | None:
    """A number of tokens; what can be none is not known."""
    return value if type(value) is int and 0 < value < _MOST else None


def flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _told(model: Mapping[str, Any]) -> Told:
    return Told(
        context=_first(model, _CONTEXT),
        output=_first(model, _OUTPUT),
        images=_either(at(model, "capabilities", "vision"), at(model, "architecture", "input_modalities"), "image"),
        tools=_either(at(model, "capabilities", "function_calling"), at(model, "supported_parameters"), "tools"),
        json_schema=_either(None, at(model, "supported_parameters"), "structured_outputs"),
    )


def _first(model: Mapping[str, Any], places: Collection[Place]) -> int | None:
    found = (count(at(model, *place)) for place in places)
    return next((value for value in found if value is not None), None)


def _either(said: Any, words: Any, word: str) -> bool | None:
    """A flag, or else whether a list of words has one; a list that is empty says nothing."""
    if isinstance(said, bool):
        return said
    return word in words if isinstance(words, list) and words else None
