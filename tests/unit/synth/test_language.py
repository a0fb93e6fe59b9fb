"""English or Spanish, from the small words."""

from __future__ import annotations

import pytest

from proxy.synth.language import language_of


@pytest.mark.parametrize(
    "text",
    [
        "", "42", "What is the capital of Peru?", "Resume: write the summary of my CV", "hola", "日本語",
        "Translate 'el perro' into English for me please", "piñata party",
    ],
)  # fmt: skip
def test_english_or_neither(text):
    expected = "es" if text in ("hola", "piñata party") else "en"
    assert language_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "¿Cuál es la capital de Perú?", "Escribe un resumen de esta reunión", "HAZ UN POEMA SOBRE EL MAR",
        "Explica el error: TypeError: can't convert string to int en la línea 3 de mi código", "¿qué?", "mañana",
    ],
)  # fmt: skip
def test_spanish(text):
    assert language_of(text) == "es"


def test_only_the_beginning_is_looked_at():
    """So that a book costs no more than a page."""
    assert language_of("the house " * 200 + "el la los las un una " * 1000) == "en"
