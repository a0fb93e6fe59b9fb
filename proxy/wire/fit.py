"""What a body needs that stays in its dialect, so that its upstream and its model take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from proxy.core.decision import Quirks, Target
from proxy.core.family import UNKNOWN
from proxy.wire.choices import narrow, refuse_custom
from proxy.wire.gates import GATED, REFUSED, changes, gates_anything, says_nothing
from proxy.wire.messages import concerns, tidies, tidy
from proxy.wire.peek import top_level

_NEWER: Final = "max_completion_tokens"


def fit(body: bytes, target: Target, params: Mapping[str, Any]) -> tuple[Quirks, Mapping[str, Any], tuple[str, ...]]:
    """The upstream's quirks and the fields to write over the body, such that it is taken; and what that loses.

    `params` are the fields that are to be written in any case. Where nothing is known against a body it is not read.
    """
    quirks, family = target.upstream.quirks, target.family or UNKNOWN
    if not (quirks.drop or quirks.unthinking or quirks.choices is not None or tidies(quirks) or gates_anything(family)):
        return quirks, params, ()
    said = {**top_level(body), **params}
    refused = [name for name in quirks.drop if name in said and not says_nothing(name, decoded(said[name]))]
    losses = [f"{name}: {REFUSED}" for name in refused]
    dropped, written = list(quirks.drop), dict(params)
    for change in changes(family, {name: decoded(said[name]) for name in GATED if name in said}):
        losses.append(f"{change.name}: {change.why}")
        if change.value is None:
            dropped.append(change.name)
        else:
            written[change.name] = change.value
    if quirks.unthinking and decoded(written.get("reasoning_effort", said.get("reasoning_effort"))) == "none":
        dropped.append("reasoning_effort")
        written |= quirks.unthinking
    if quirks.functions_only and "tools" in said and (b"custom" in body or b"\\u" in body):
        refuse_custom(decoded(said["tools"]))
    if quirks.choices is not None and "tool_choice" in said:
        fields, why = narrow(decoded(said["tool_choice"]), decoded(said.get("tools")), quirks.choices)
        losses += [f"tool_choice: {why}"] if why else []
        dropped += [name for name, value in fields.items() if value is None]
        written |= {name: value for name, value in fields.items() if value is not None}
    if "messages" in said and concerns(quirks, body):
        messages = decoded(said["messages"])
        told, lost = tidy(messages, quirks)
        losses += [f"{path}: {why}" for path, why in lost]
        if told != messages:
            written["messages"] = told
    rename = quirks.rename
    if not family.max_tokens and _NEWER not in rename and "messages" in said:
        rename = {**rename, "max_tokens": _NEWER}
        if _NEWER in said and "max_tokens" not in written:  # the caller said both
            dropped.append("max_tokens")
    return replace(quirks, drop=tuple(dropped), rename=rename), written, tuple(losses)


def decoded(field: Any) -> Any:
    """The value of a field of `top_level`."""
    return msgspec.json.decode(field) if isinstance(field, msgspec.Raw) else field
