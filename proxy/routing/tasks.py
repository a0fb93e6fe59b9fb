"""What a request asks for and how demanding it is, told from its own words: no model, no network, no clock.

Theory: a prompt is an *ask* ("translate", "hazme un resumen") and what it is asked about. The ask decides, the rest
only breaks ties, so `translate this stack trace` is a translation. One pass over the words keeps two pieces of state:

    start   1 where a sentence begins, less after a comma or "and", kept through fillers ("could you please"), 0 within
    reach   how far after a maker ("write", "dame") the first *thing* ("poem", "resumen") is what is being asked for

Every word of the data file is an ask, a thing, a topic or grammar. Besides words count *shapes* of single tokens (an
address, a file name) and *signs*, pieces of text that only one kind of payload has. The task with the most points wins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import compress, count, filterfalse, islice
from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from proxy.routing.lexicon import BREAK, Lexicon, Point, Sense, accents, compile_lexicon, tokenise

Task = Literal[
    "code",
    "architecture",
    "planning",
    "verification",
    "analysis",
    "extraction",
    "summarization",
    "translation",
    "writing",
    "security",
    "general",
]
Complexity = Literal["simple", "complex"]

TASKS: Final[tuple[Task, ...]] = get_args(Task)
COMPLEXITIES: Final[tuple[Complexity, ...]] = get_args(Complexity)

_HEAD, _TAIL, _SYSTEM = 600, 250, 350  # an ask stands at an end of its text
INSPECTED: Final = _HEAD + _TAIL + _SYSTEM
"""Characters of a request that are looked at, at most: both ends of the user's text, the head of the system's."""

_REACH = 8  # tokens between a maker and the thing it makes
_WITHIN = 0.25  # an ask or a thing where none is expected
_MIDDLE = 0.4  # any word between the first and the last line: mostly pasted text
_LATER = 0.6  # each further ask of a request
_OF_SYSTEM = 0.45  # the system prompt says what the caller does in general, the user what is wanted now
_GENERAL = 1.5  # what a task must beat
_EVIDENCE = 8  # pieces of evidence that a verdict carries

_LONG_QUOTE = re.compile(r"[«“][^«»“”]*[»”]")

_SOURCES = "py|jsx?|tsx?|rs|go|java|kt|cs|cpp|c|h|rb|php|sql|sh|ipynb|scala|swift|vue"
_SHAPES: Final[Mapping[str, tuple[Task, float, str]]] = {
    "address": ("security", 2.5, r"(?:\w+://)?\d{1,3}(?:\.\d{1,3}){3}(?:[:/].*)?"),
    "vulnerability": ("security", 3.0, r"cve-\d{4}-\d{4,7}"),
    "technique": ("security", 3.0, r"t1\d{3}(?:\.\d{3})?"),
    "hash": ("security", 2.5, r"[0-9a-f]{32}(?:[0-9a-f]{8}|[0-9a-f]{32})?"),
    "registry_key": ("security", 3.0, r"hk(?:lm|cu|cr|ey_\w+)\\.*"),
    "defanged": ("security", 3.0, r"[^\[]+\[[.@]\].*"),
    "executable": ("security", 2.5, r".+\.(?:exe|dll|ps1|bat|scr|vbs)"),
    "source_file": ("code", 1.5, rf".+\.(?:{_SOURCES})(?::.*)?"),
    "identifier": ("code", 0.7, r"[^\W_]+_\w+"),
}
_SHAPE = re.compile("|".join(f"(?P<{name}>{pattern})" for name, (_, _, pattern) in _SHAPES.items()))
_MANY = 32  # odd tokens that are matched against the shapes

_ALIASES: Final[Mapping[str, tuple[Task, Complexity]]] = {
    "complex_generation": ("writing", "complex"),
    "simple_generation": ("writing", "simple"),
    "conversation": ("general", "simple"),
    "chat": ("general", "simple"),
}


@dataclass(frozen=True, slots=True)
class Words:
    """What a classifier reads of a request; texts of any length.

    `system` joins the system and developer messages, `turns` counts user and assistant messages, `chars` the
    characters of all text (0: of these two texts).
    """

    system: str = ""
    last_user: str = ""
    turns: int = 1
    chars: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A task, its complexity, and why. `scores` has the points per task; it is empty when the caller stated the task.

    `states_complexity` is false for a stated task whose complexity the caller left open.
    """

    task: Task
    complexity: Complexity
    evidence: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    states_complexity: bool = True


class TaskWords(BaseModel):
    """What a user adds to one task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: Mapping[str, Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)]] = Field(
        description="Words or phrases of up to three words and their points; `*` at the end stands for any ending."
    )

    @field_validator("words")
    @classmethod
    def _spelled(cls, words: Mapping[str, float]) -> Mapping[str, float]:
        for word in words:
            parts = tokenise(word.removesuffix("*"))
            if not 1 <= len(parts) <= 3 or "*" in word[:-1]:
                raise ValueError(f"{word!r} is not one to three words, with `*` at the end only")
        return words


class TasksConfig(RootModel[dict[Task, TaskWords]]):
    """`tasks:` of routes.yaml: words that the user adds, per task."""

    model_config = ConfigDict(frozen=True)

    root: dict[Task, TaskWords] = Field(default_factory=dict)

    def extra_words(self) -> Mapping[str, Mapping[str, float]]:
        """Points by word by task, as `Classifier` takes them."""
        return {task: added.words for task, added in self.root.items()}


@cache
def load() -> Lexicon:
    """The words that are shipped with the package; the first call reads a file, all others give the same object."""
    return compile_lexicon(json.loads(resources.files(__package__).joinpath("tasks.json").read_bytes()))


def parse_stated(text: str) -> Verdict | None:
    """The task that a caller names, as in `code`, `code:complex` or `simple_generation`; None if there is no such."""
    name = re.sub(r"[\s:/,_-]+", "_", text.strip().lower()[:64])
    because = (f"stated {name!r}",)
    if name in _ALIASES:
        return Verdict(*_ALIASES[name], because)
    for task in TASKS:
        if name == task:
            return Verdict(task, "simple", because, states_complexity=False)
        for complexity in COMPLEXITIES:
            if name in (f"{task}_{complexity}", f"{complexity}_{task}"):
                return Verdict(task, complexity, because)
    return None


class Classifier:
    """Tells the task of a request from the words that are shipped (`load()`) and those that users added."""

    __slots__ = ("_lexicon", "_own_phrases", "_own_words")

    def __init__(self, lexicon: Lexicon, extra_words: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self._lexicon = lexicon
        self._own_words, self._own_phrases = _own(extra_words or {})

    def classify(self, words: Words) -> Verdict:
        """The task with the most points, `general` where none has enough; any text is answered."""
        user, system = _cut(words.last_user, _HEAD, _TAIL), words.system[:_SYSTEM]
        ask = _unquoted(user)
        tokens, frame = tokenise(ask), tokenise(system)
        points = self._read(tokens, 1.0)
        points += self._read(frame, _OF_SYSTEM)
        points += _shapes(tokens)
        points += self._payload(user)
        if self._own_words or self._own_phrases:
            points += self._added(tokenise(user), 1.0)
            points += self._added(frame, _OF_SYSTEM)
        scores: dict[str, float] = dict.fromkeys(TASKS, 0.0)
        scores["general"] = _GENERAL
        scores["complex"] = 0.0
        for amount, name, _, _ in points:
            scores[name] += amount
        demand = scores.pop("complex")
        task = max(TASKS, key=scores.__getitem__)
        demand += self._lexicon.tendency[task] + _bulk(ask, words)
        return Verdict(
            task,
            "complex" if demand > 0 else "simple",
            _evidence(task, points),
            {name: score for name, score in scores.items() if score > 0},
        )

    def believe(self, stated: Verdict, words: Words) -> Verdict:
        """The verdict of a caller who stated the task; what was left open is worked out."""
        if stated.states_complexity:
            return stated
        return Verdict(stated.task, self.classify(words).complexity, stated.evidence)

    def _senses(self, tokens: list[str]) -> Iterator[tuple[int, bool, Sense]]:
        """The known words and phrases: where each begins, whether it follows another at once, what it is."""
        lexicon = self._lexicon.words
        after = 0
        for i in compress(count(), map(lexicon.__contains__, tokens)):
            if i < after:
                continue  # a later word of a phrase
            sense, phrases = lexicon[tokens[i]]
            width = 1
            if phrases and i + 1 < len(tokens) and tokens[i + 1] in phrases:
                for rest, phrase in phrases[tokens[i + 1]]:
                    if tokens[i + 2 : i + 2 + len(rest)] == rest:
                        sense, width = phrase, 2 + len(rest)
                        break
            if sense:
                yield i, i == after, sense
                after = i + width

    def _read(self, tokens: list[str], factor: float) -> list[Point]:
        """One pass over the words; the module's docstring has the rules."""
        points: list[Point] = []
        ceiling, most = self._lexicon.ceiling.get, self._lexicon.ceiling["default"]
        topics: dict[str, float] = {}
        seen: set[str] = set()
        first, last = _lines(tokens)
        start, order, making, reach = 1.0, 1.0, 0.0, -1
        for i, follows, (text, starts, is_filler, maker, ask, thing, topic) in self._senses(tokens):
            if not follows:
                start = 0.0
            if starts:
                start = max(start, starts)
                if starts == 1.0:
                    reach = -1
                if i == last:
                    order = 1.0  # what follows pasted text is as good as what went before it
                continue
            weight = factor * _MIDDLE if first < i < last else factor
            if ask:
                force = weight * (start * order or _WITHIN)
                points += [(force * w, task, "ask", text) for task, w in ask]
                if start:
                    order *= _LATER
            if thing and (i <= reach or not topic):
                force = weight * (making if i <= reach else _WITHIN)
                points += [(force * w, task, "thing", text) for task, w in thing]
                if i <= reach:
                    reach = -1
            if topic and text not in seen:
                seen.add(text)
                for task, w in topic:
                    used = topics.get(task, 0.0)
                    topics[task] = min(used + w * weight, ceiling(task, most) * factor)
                    points.append((topics[task] - used, task, "topic", text))
            if maker:
                making, reach = maker * (start or _WITHIN), i + _REACH
            elif not is_filler:
                start = 0.0
        return points

    def _payload(self, text: str) -> list[Point]:
        """Points for pieces of text that only one kind of payload has."""
        found: list[Point] = []
        for some, others, points in self._lexicon.signs:
            for piece in some:
                if piece in text:
                    if not any(other in text for other in others):
                        found += points
                    break
        return found

    def _added(self, tokens: list[str], factor: float) -> list[Point]:
        """Points for the users' words: in full wherever they stand, on top of everything else, so never against it."""
        found = [self._own_words[token] for token in self._own_words.keys() & set(tokens)]
        line = f" {' '.join(tokens)} "
        found += [points for piece, points in self._own_phrases if piece in line]
        return [(amount * factor, task, kind, word) for points in found for amount, task, kind, word in points]


def _cut(text: str, head: int, tail: int) -> str:
    """The two ends of a text that is longer than both together, parted by a line break."""
    return text if len(text) <= head + tail else f"{text[:head]}\n{text[-tail:]}"


def _unquoted(text: str) -> str:
    """The text without fenced and quoted parts: what is quoted is not asked for."""
    if "```" in text:
        text = "\n".join(text.split("```")[::2])
    if text.count('"') > 1:
        text = " , ".join(text.split('"')[::2])
    return _LONG_QUOTE.sub(" , ", text) if "«" in text or "“" in text else text


def _lines(tokens: Sequence[str]) -> tuple[int, int]:
    """The indices of the first and the last line break; the words between them stand in the middle."""
    if BREAK not in tokens:
        return len(tokens), -1
    return tokens.index(BREAK), len(tokens) - 1 - tokens[::-1].index(BREAK)


def _shapes(tokens: Iterable[str]) -> list[Point]:
    """Points for tokens whose form tells what they are; half more where there are several of a kind."""
    found: dict[str, int] = {}
    odd = dict.fromkeys(token for token in filterfalse(str.isalpha, tokens) if len(token) > 3)
    for token in islice(odd, _MANY):
        match = _SHAPE.fullmatch(token)
        if match and match.lastgroup:
            found[match.lastgroup] = found.get(match.lastgroup, 0) + 1
    return [
        (_SHAPES[name][1] * (1.5 if times > 2 else 1.0), _SHAPES[name][0], "shape", name.replace("_", " "))
        for name, times in found.items()
    ]


def _bulk(ask: str, words: Words) -> float:
    """How demanding a request is by its size: length and parts of the ask, all the text, the conversation."""
    parts = 0.45 * min(ask.count(", "), 6) + min(ask.count(" and ") + ask.count(" y "), 4)
    chars = words.chars or len(words.system) + len(words.last_user)
    return min(len(ask), 900) / 360 + parts + min(chars, 40_000) / 20_000 + min(words.turns, 20) / 40 - 1.5


def _evidence(task: str, points: Iterable[Point]) -> tuple[str, ...]:
    """What spoke for the task, the strongest first, then what spoke for others.

    It names words of the data file and of the configuration, never the caller's own text, so it may be logged.
    """
    told = [point for point in points if point[1] != "complex" and abs(point[0]) >= 0.1]
    told.sort(key=lambda point: (point[1] != task, -point[0]))
    return tuple([f"{kind} {word!r} → {name} {amount:+.1f}" for amount, name, kind, word in told[:_EVIDENCE]])


def _own(
    extra: Mapping[str, Mapping[str, float]],
) -> tuple[dict[str, tuple[Point, ...]], list[tuple[str, tuple[Point, ...]]]]:
    """The users' words: single ones by token; phrases and stems as pieces of a blank-separated line of tokens."""
    words: dict[str, list[Point]] = {}
    pieces: dict[str, list[Point]] = {}
    for task, added in extra.items():
        for word, weight in added.items():
            spelled = tokenise(word.removesuffix("*"))
            piece = " " + " ".join(spelled) + ("" if word.endswith("*") else " ")
            single = len(spelled) == 1 and not word.endswith("*")
            for key in accents(spelled[0] if single else piece):
                (words if single else pieces).setdefault(key, []).append((weight, task, "added", word))
    return {k: tuple(v) for k, v in words.items()}, [(k, tuple(v)) for k, v in pieces.items()]
