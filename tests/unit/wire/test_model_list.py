"""Lists of models as several servers send them, and what of them is understood."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.family import SILENT, Told
from proxy.wire.model_list import read_models


def told(**entry: Any) -> Told:
    return read_models(json.dumps({"object": "list", "data": [{"id": "m", **entry}]}).encode())["m"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"object": "model", "created": 1, "owned_by": "openai"}, SILENT),
        (
            {
                "context_length": 262144,
                "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
                "top_provider": {"context_length": 131072, "max_completion_tokens": 8192, "is_moderated": False},
                "supported_parameters": ["max_tokens", "tools", "temperature"],
            },
            Told(context=131072, output=8192, images=True, tools=True, json_schema=False),
        ),
        (
            {"architecture": {"input_modalities": ["text"]}, "supported_parameters": ["structured_outputs"]},
            Told(images=False, tools=False, json_schema=True),
        ),
        ({"context_window": 131072, "max_completion_tokens": 32768}, Told(context=131072, output=32768)),
        ({"max_model_len": 4096, "root": "/models/m"}, Told(context=4096)),
        ({"meta": {"n_ctx": 8192, "n_ctx_train": 131072}}, Told(context=8192)),
        (
            {"max_context_length": 32768, "capabilities": {"vision": False, "function_calling": True}},
            Told(context=32768, images=False, tools=True),
        ),
        ({"dmr": {"context_window": 2048, "parameters": "1B"}}, Told(context=2048)),
    ],
)
def test_each_says_it_in_its_own_words(entry: dict[str, Any], expected: Told) -> None:
    assert told(**entry) == expected


@pytest.mark.parametrize("value", [0, -1, 2**60, 1.5, "4096", True, None, {}, []])
def test_a_number_that_can_be_none_is_not_known(value: Any) -> None:
    assert told(context_length=value, max_completion_tokens=value) == SILENT


@pytest.mark.parametrize("value", ["", [], {}, 1, "vision", None])
def test_flags_that_are_none(value: Any) -> None:
    assert told(capabilities=value, architecture=value, supported_parameters=value, top_provider=value) == SILENT


def test_the_order_is_the_upstream_s() -> None:
    body = json.dumps({"data": [{"id": name} for name in "cab"]}).encode()
    assert list(read_models(body)) == ["c", "a", "b"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data":{}}', b'{"data":[1]}', b'{"data":[{"id":1}]}', b'{"models":[]}', b"<html>"]
)
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_models(body)
