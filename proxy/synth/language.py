"""English or Spanish, from the small words of a text; what is neither counts as English."""

from __future__ import annotations

import re
from typing import Literal

Language = Literal["en", "es"]

_LOOKED_AT = 2000  # characters
_WORD = re.compile(r"[^\W\d_]+")
_SPANISH = frozenset(
    "el la los las un una unos unas de del al y o que qué en con por para como cómo es son está están no sí se su "
    "sus mi mis este esta esto ese esa eso hay más pero cuando cuándo dónde donde quién cuál hola gracias por favor "
    "puedes puede quiero necesito dime haz escribe explica traduce resume lo le les nos me te".split()
)
_ENGLISH = frozenset(
    "the a an of and or that which in with for as is are was were not yes it its my this these those there more but "
    "when where who how what hello thanks please can could want need tell make write explain translate summarize to "
    "from on at by be do does i you we they".split()
)


def language_of(text: str) -> Language:
    """The language of `text` by majority of its function words."""
    words = _WORD.findall(text[:_LOOKED_AT].lower())
    spanish = sum(word in _SPANISH for word in words)
    english = sum(word in _ENGLISH for word in words)
    if spanish == english:
        return "es" if any(mark in text[:_LOOKED_AT] for mark in "¿¡ñ") else "en"
    return "es" if spanish > english else "en"
