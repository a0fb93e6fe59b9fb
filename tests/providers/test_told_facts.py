"""What vendors say of their models in lists of their own form, made by their official SDKs' types."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from anthropic.types import ModelInfo
from google.genai.types import Model

from proxy.core.family import Told
from proxy.core.local import Instance, Keep, LocalModel, told_of
from proxy.providers.anthropic import read_models as read_anthropic
from proxy.providers.gemini import read_models as read_gemini

YES, NO = {"supported": True}, {"supported": False}
LEVELS = ("low", "medium", "high", "xhigh", "max")


def capabilities(thinking: str, efforts: str, images: bool = True) -> dict[str, Any]:
    """`thinking` and `efforts` name what is supported."""
    types = {kind: {"supported": kind in thinking} for kind in ("adaptive", "between_tools", "disabled", "enabled")}
    levels = {level: {"supported": level in efforts.split()} for level in LEVELS}
    other = ("batch", "citations", "code_execution", "pdf_input", "structured_outputs")
    return {
        **dict.fromkeys(other, YES),
        "context_management": YES,
        "server_tools": YES,
        "image_input": YES if images else NO,
        "effort": {"supported": bool(efforts), **levels},
        "thinking": {"supported": bool(thinking), "types": types},
    }


def anthropic_list(**fields: Any) -> bytes:
    facts = {
        "id": "claude-x", "type": "model", "display_name": "X", "lifecycle": "active",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    entry = ModelInfo.model_construct(**facts | fields).model_dump(mode="json")
    return json.dumps({"data": [entry], "has_more": False}).encode()


@pytest.mark.parametrize(
    ("thinking", "efforts", "expected"),
    [
        ("adaptive disabled", "low medium high max", ("adaptive", ("none", "low", "medium", "high", "max"))),
        ("adaptive", "low medium high", (None, ("low", "medium", "high"))),
        ("enabled disabled", "", ("budget", None)),
        ("", "", ("none", None)),
    ],
)
def test_anthropic_tells_limits_thinking_and_efforts(thinking: str, efforts: str, expected: Any) -> None:
    body = anthropic_list(
        max_input_tokens=1_000_000, max_tokens=128_000, capabilities=capabilities(thinking, efforts, images=False)
    )
    told = read_anthropic(body)["claude-x"]
    assert (told.context, told.output, told.images, told.json_schema) == (1_000_000, 128_000, False, True)
    assert (told.thinking, told.efforts) == expected


def test_anthropic_may_be_silent() -> None:
    assert read_anthropic(anthropic_list(max_input_tokens=None, max_tokens=None)) == {"claude-x": Told()}


@pytest.mark.parametrize(("thinks", "expected"), [(True, None), (False, "none"), (None, None)])
def test_gemini_tells_limits(thinks: bool | None, expected: str | None) -> None:
    model = Model(name="models/gemini-x", input_token_limit=1_048_576, output_token_limit=65_536)
    entry = model.model_dump(by_alias=True, exclude_none=True) | ({} if thinks is None else {"thinking": thinks})
    told = read_gemini(json.dumps({"models": [entry]}).encode())
    assert told == {"gemini-x": Told(context=1_048_576, output=65_536, thinking=expected)}


LOADED = LocalModel("m", (Instance("a", 4096), Instance("b", 8192)), 131072, None, frozenset({"tools"}))


@pytest.mark.parametrize(
    ("model", "keep", "sizes", "context"),
    [
        (LOADED, None, True, 8192),
        (LOADED, Keep(), True, 131072),
        (LOADED, Keep(context=16384), True, 16384),
        (LOADED, Keep(), False, 8192),
        (LocalModel("m", (), 131072), None, True, 131072),
        (LocalModel("m", (Instance("a"),), None), None, False, None),
    ],
)
def test_a_local_model_is_as_long_as_it_is_loaded_or_would_be(
    model: LocalModel, keep: Keep | None, sizes: bool, context: int | None
) -> None:
    assert told_of(model, keep, sizes_context=sizes).context == context


@pytest.mark.parametrize(
    ("can", "images", "tools"), [((), None, None), (("tools",), False, True), (("images",), True, None)]
)
def test_a_local_model_s_capabilities(can: tuple[str, ...], images: bool | None, tools: bool | None) -> None:
    told = told_of(LocalModel("m", capabilities=frozenset(can)), None, sizes_context=True)
    assert (told.images, told.tools) == (images, tools)
