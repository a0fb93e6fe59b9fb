"""Whatever stands in a request's fields: it crosses to each provider, or is refused with the caller's own 400."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.decision import Target
from proxy.core.errors import ProxyError
from proxy.core.family import Family
from proxy.core.request import Inbound, Tenant
from proxy.providers import Provider, discover
from proxy.wire.crossing import cross, spoken_at
from proxy.wire.dialects import discover as discover_dialects
from proxy.wire.dialects.openai_chat import DIALECT as CHAT
from proxy.wire.structured import unchecked
from tests.unit.routing.given import upstream

DIALECTS = discover_dialects()
PROVIDERS = [one for one in discover().values() if not one.offline]

USER = {"role": "user", "content": "hi"}
KINDS = ("function", "custom", "allowed_tools", "json_schema", "json_object", "image_url", "text", "auto", "required")
KEYS = (*KINDS, "type", "name", "content", "url", "schema", "tools", "mode", "parameters", "arguments", "id")
odd: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.sampled_from([-1, 5, 0.5, "", *KINDS]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
forms = st.builds(lambda kind, inner: {"type": kind, kind: inner}, st.sampled_from(KINDS), odd)
FIELDS = ("tools", "tool_choice", "response_format", "stop", "reasoning_effort", "n", "modalities", "functions", "user")
fields = st.dictionaries(st.sampled_from(FIELDS), odd | forms | st.lists(forms, max_size=2), max_size=3)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": odd | st.lists(forms, max_size=2)},
    optional={"tool_calls": odd | st.lists(forms, max_size=2), "tool_call_id": odd, "name": odd},
)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
@settings(max_examples=60, deadline=None)
@example(said={"response_format": {"type": {}}}, asked=[USER], family=None)
@example(said={"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": 5}}}, asked=[USER], family=None)
@given(said=fields, asked=st.lists(messages, min_size=1, max_size=2), family=st.sampled_from([Family(), None]))
def test_nothing_else_is_raised(
    provider: Provider, said: dict[str, Any], asked: list[Any], family: Family | None
) -> None:
    body = json.dumps({**said, "model": "m", "messages": asked}).encode()
    paths = {name: path or "/" for name, path in provider.speaks.items() if name in DIALECTS}
    target = Target(replace(upstream("u"), quirks=provider.quirks, paths=paths), "m", family=family)
    with contextlib.suppress(ProxyError):
        inbound = Inbound("i", "i", CHAT.name, CHAT.paths[0], {}, body, CHAT.peek(body), Tenant("t"), 0.0)
        spoken = DIALECTS[spoken_at(target, CHAT.name, body, {})]
        cross(CHAT, spoken, inbound, target, {}, 1, unchecked)
