"""Templates of the configuration are checked when they are read, so that they cannot fail when they are needed."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.synth.rules import PLACEHOLDERS, OfflineConfig, RuleConfig


@pytest.mark.parametrize(
    "text",
    [
        "{requestid}",
        "{}",
        "{0}",
        "{model.name}",
        "{model",
        "model}",
        "",
        "{model!r}",
        "{model:d}",
        "{retry_after:>{x}}",
    ],
)
def test_a_template_that_could_not_be_filled_in_is_refused(text):
    with pytest.raises(ValidationError):
        RuleConfig.model_validate({"name": "x", "text": text})


def test_what_is_accepted_can_be_filled_in():
    text = "".join(f"{{{name}}}" for name in PLACEHOLDERS) + " {{literally}}"
    rule = RuleConfig.model_validate({"name": "x", "text": text})
    assert rule.text.format(**dict.fromkeys(PLACEHOLDERS, "-")) == "---- {literally}"


@pytest.mark.parametrize(("language", "begins"), [("en", "No language"), ("es", "No se pudo"), ("fr", "No language")])
def test_there_is_always_something_to_say(language, begins):
    assert OfflineConfig().said(language).startswith(begins)
    assert OfflineConfig.model_validate({"default": {"en": "No language, sorry"}}).said(language).startswith(begins)
