"""How well and how fast task types are told: accuracy per part of the labelled prompts, confusions, time per prompt."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

from proxy.routing.tasks import TASKS, Classifier, Verdict, Words, load

PROMPTS = Path(__file__).parent.parent / "tests" / "data" / "tasks"
PARTS = ("train", "holdout", "fresh")
LIMIT = 60.0  # microseconds for a prompt of 2 KB
SIZE = 2048
ROUNDS, REPEATS = 15, 200

Labelled = tuple[dict[str, str], Words]


def read(part: str) -> list[Labelled]:
    """The labels and the words of one part."""
    rows = [json.loads(line) for line in (PROMPTS / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row, Words(row.get("system", ""), row["text"], row.get("turns", 1))) for row in rows]


def accuracy(prompts: list[Labelled], verdicts: list[Verdict]) -> tuple[float, float]:
    """Shares of prompts whose task, and whose complexity, is the labelled one."""
    pairs = list(zip(prompts, verdicts, strict=True))
    task = sum(verdict.task == label["task"] for (label, _), verdict in pairs)
    complexity = sum(verdict.complexity == label["complexity"] for (label, _), verdict in pairs)
    return task / len(pairs), complexity / len(pairs)


def confusion(prompts: list[Labelled], verdicts: list[Verdict]) -> str:
    """A row per labelled task, a column per verdict."""
    counts = Counter((label["task"], verdict.task) for (label, _), verdict in zip(prompts, verdicts, strict=True))
    lines = [f"{'label / verdict':<16}" + "".join(f"{task[:5]:>7}" for task in TASKS)]
    for label in TASKS:
        lines.append(f"{label:<16}" + "".join(f"{counts[label, task] or '·':>7}" for task in TASKS))
    return "\n".join(lines)


def microseconds(classifier: Classifier, words: Words) -> float:
    """Processor time of one verdict, the least of many rounds: what the machine's other work adds is not ours."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(REPEATS):
            classifier.classify(words)
        best = min(best, (time.process_time() - begun) / REPEATS * 1e6)
    return best


def main() -> None:
    """Print everything."""
    classifier = Classifier(load())
    for part in PARTS:
        prompts = read(part)
        verdicts = [classifier.classify(words) for _, words in prompts]
        task, complexity = accuracy(prompts, verdicts)
        print(f"{part}: {len(prompts)} prompts, task {task:.1%}, complexity {complexity:.1%}\n")
        print(confusion(prompts, verdicts), end="\n\n")
    prompts = [words for part in PARTS for _, words in read(part)]
    long = [words for words in prompts if len(words.last_user) > 600]
    sized = [Words(words.system, (words.last_user * 4)[:SIZE], words.turns) for words in long]
    times = sorted(microseconds(classifier, words) for words in sized)
    short = sorted(microseconds(classifier, words) for words in prompts[:20])
    print(f"µs per prompt of {SIZE} characters: median {times[len(times) // 2]:.0f}, most {times[-1]:.0f}")
    print(f"µs per short prompt: median {short[len(short) // 2]:.0f}; aim for {SIZE} characters: {LIMIT:.0f}")


if __name__ == "__main__":
    main()
