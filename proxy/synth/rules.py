"""Level `rules` of offline synthesis: templates of the configuration; the last level, so one of them always answers."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from proxy.fields import Duration, Many, Section

PLACEHOLDERS = ("request_id", "model", "route", "retry_after")

Language = Literal["en", "es"]

_DEFAULT: Mapping[Language, str] = {
    "en": (
        "No language model could be reached, so this text was written by the proxy itself and does not answer the "
        "question. Nothing is wrong with the request; please try again in {retry_after} seconds. "
        "(request {request_id})"
    ),
    "es": (
        "No se pudo contactar con ningún modelo de lenguaje: este texto lo ha escrito el propio proxy y no responde "
        "a la pregunta. La petición es correcta; inténtelo de nuevo dentro de {retry_after} segundos. "
        "(petición {request_id})"
    ),
}


def _template(text: str) -> str:
    try:
        fields = [parsed[1:] for parsed in string.Formatter().parse(text) if parsed[1] is not None]
    except ValueError:
        raise ValueError("unbalanced braces; write {{ and }} for braces themselves") from None
    for name, spec, conversion in fields:
        if name not in PLACEHOLDERS:
            raise ValueError(f"unknown placeholder; known: {', '.join(f'{{{known}}}' for known in PLACEHOLDERS)}")
        if spec or conversion:
            raise ValueError(f"write {{{name}}} alone, without `:` or `!`")
    return text


Template = Annotated[str, Field(min_length=1, max_length=20_000), AfterValidator(_template)]
"""Text with the placeholders `{request_id}`, `{model}`, `{route}` and `{retry_after}` (seconds)."""


class RuleMatchConfig(Section):
    """When a rule speaks: all that is written must hold."""

    task: str | None = None
    """The task type of the request."""
    contains: Many[str] = ()
    """One of these words or phrases is in the last message, in upper or lower case."""
    language: Language | None = None
    """The language of the last message."""


class RuleConfig(Section):
    """One template; the first whose `match` holds answers."""

    name: str
    """Names the rule in logs."""
    match: RuleMatchConfig = RuleMatchConfig()
    """When it speaks; without it, always."""
    text: Template
    """What is said."""
    value: dict[str, Any] | None = None
    """For callers who asked for JSON: given instead of the text, if it satisfies their schema."""


class OfflineConfig(Section):
    """What is answered when no upstream could: the last targets of every route."""

    levels: Many[Literal["stale", "patterns", "rules"]] = ("stale", "patterns", "rules")
    """Which kinds of answer are tried, in this order; an empty list turns offline answers off."""
    self_test: Annotated[Literal["never"] | Annotated[Duration, Field(gt=0)], Field(union_mode="left_to_right")] = (
        3600.0
    )
    """How often each level is made to answer once, so that it works when it is needed; `/admin/health` shows what came
    of it."""
    rules: Many[RuleConfig] = ()
    """Templates, tried from the top."""
    default: dict[Language, Template] = Field(default=dict(_DEFAULT))
    """What is said when no rule matches, by language."""

    def said(self, language: str) -> str:
        """The template for `language` when no rule matches, in English where there is none."""
        by_language = {**_DEFAULT, **self.default}
        return by_language["es" if language == "es" else "en"]
