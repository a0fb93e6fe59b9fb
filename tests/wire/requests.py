"""Golden requests: `<case>.asked.json` is what a client asked, `<case>.json` what each dialect makes of it upstream.

Each dialect asks a model of which the shipped families know much. `python -m tests.wire.requests` writes the `.json`
files anew; a person reads the difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.core.chat import Losses
from proxy.core.decision import Quirks
from proxy.core.errors import ProxyError
from proxy.routing.families import Families, load
from proxy.wire.dialects import discover, heard

FOLDER = Path(__file__).parents[1] / "golden" / "requests"
MODELS: Mapping[str, str] = {
    "anthropic_messages": "claude-sonnet-5-5",
    "gemini_generate": "gemini-3.1-pro-preview",
    "openai_chat": "gpt-5.4-mini",
    "openai_responses": "gpt-6.1-terra",
}
"""The model that is asked in each dialect."""
_DIALECTS = discover()
_CHAT = heard(_DIALECTS)["openai_chat"]
_FAMILIES = Families(load())


def names() -> list[str]:
    return sorted(path.name.removesuffix(".asked.json") for path in FOLDER.glob("*.asked.json"))


def becomes(name: str) -> dict[str, Any]:
    """By dialect: the body and what of the request is not in it, or why it cannot be asked."""
    (chat,) = _CHAT.decode_request((FOLDER / f"{name}.asked.json").read_bytes())
    found: dict[str, Any] = {}
    for dialect, model in MODELS.items():
        losses = Losses()
        asked = replace(chat, model=model)
        try:
            body = _DIALECTS[dialect].encode_request(asked, Quirks(), _FAMILIES.of("", model), losses)
        except ProxyError as error:
            found[dialect] = {"refused": error.message, "param": error.param}
        else:
            found[dialect] = {"body": json.loads(body), "losses": [str(loss) for loss in losses.found]}
    return found


if __name__ == "__main__":
    for case in names():
        (FOLDER / f"{case}.json").write_text(json.dumps(becomes(case), indent=1, ensure_ascii=False) + "\n")
