"""From numbers to tables: medians with their spread, ratios within a round, targets and verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Values = Mapping[str, Mapping[str, list[float]]]
"""[rival][metric] → one number per round."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the main table."""

    key: str
    title: str
    digits: int
    best: Callable[[list[float]], float] = min


METRICS = (
    Metric("us_request", "µs/request", 1),
    Metric("us_chunk", "µs/chunk", 1),
    Metric("requests_s", "requests/s", 0, max),
    Metric("chunks_s", "chunks/s, unpaced", 0, max),
    Metric("p50_ms", "p50 ms at 100/s", 3),
    Metric("p99_ms", "p99 ms at 100/s", 3),
    Metric("idle_mib", "idle MiB", 1),
    Metric("kib_stream", "KiB/stream", 1),
    Metric("freed_one_s", "1 abandoned stream freed, s", 4),
    Metric("freed_s", "1,000 freed, s", 3),
    Metric("held", "streams held", 0, max),
    Metric("start_s", "start to first answer, s", 3),
)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(values: list[float], metric: Metric) -> str:
    """`median / best (lowest to highest)`, or `-` where nothing was measured."""
    if not values:
        return "-"
    middle, best, low, high = (
        f"{number:,.{metric.digits}f}"
        for number in (statistics.median(values), metric.best(values), min(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} / {best} ({low} to {high})"


def ratios(values: Values, rival: str, other: str, key: str) -> list[float]:
    """The rival's number over the other's, round by round."""
    pairs = zip(values.get(rival, {}).get(key, ()), values.get(other, {}).get(key, ()), strict=False)
    return [one / two for one, two in pairs if two]


def added(values: Values, rival: str, key: str) -> list[float]:
    """The rival's number minus that of the same round without a proxy."""
    pairs = zip(values.get(rival, {}).get(key, ()), values.get("direct", {}).get(key, ()), strict=False)
    return [one - two for one, two in pairs]


def main_table(values: Values) -> str:
    """One row per metric, one column per rival: median / best (spread)."""
    shown = [metric for metric in METRICS if any(rival.get(metric.key) for rival in values.values())]
    rows = [
        [metric.title, *(figure(rival.get(metric.key, []), metric) for rival in values.values())] for metric in shown
    ]
    return table(["median / best (spread)", *values], rows)


def ratio_table(values: Values) -> str:
    """CPU over nginx's, and the latency added to none, each within a round."""
    times, milliseconds = Metric("", "", 2), Metric("", "", 3)
    rows = []
    for rival in values:
        if rival != "direct":
            over = [figure(ratios(values, rival, "nginx", key), times) for key in ("us_request", "us_chunk")]
            rows.append(
                [rival, *over, *(figure(added(values, rival, key), milliseconds) for key in ("p50_ms", "p99_ms"))]
            )
    return table(["", "request × nginx", "chunk × nginx", "added p50, ms", "added p99, ms"], rows)


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the table of targets: what is judged is the median."""

    name: str
    must: float
    aim: float | None
    unit: str
    measure: Callable[[Values], list[float]]
    at_least: bool = False


def _own(key: str) -> Callable[[Values], list[float]]:
    return lambda values: values.get("failsoft", {}).get(key, [])


def _over(other: str, key: str, rival: str = "failsoft") -> Callable[[Values], list[float]]:
    return lambda values: ratios(values, rival, other, key)


TARGETS = (
    Target("CPU per request against nginx", 3, 2, "×", _over("nginx", "us_request")),
    Target("CPU per paced chunk against nginx", 2.5, 1.5, "×", _over("nginx", "us_chunk")),
    Target("request against vllm-router", 1.2, 0.75, "×", _over("vllm-router", "us_request")),
    Target("chunk against vllm-router", 1.4, 1.0, "×", _over("vllm-router", "us_chunk")),
    Target("request against LiteLLM", 1 / 100, 1 / 200, "×", _over("litellm", "us_request")),
    Target("chunk against LiteLLM", 1 / 12, 1 / 20, "×", _over("litellm", "us_chunk")),
    Target("translated stream, per chunk against nginx", 3, 2, "×", _over("nginx", "us_chunk", "translated")),
    Target("memory per open stream", 20, 12, "KiB", _own("kib_stream")),
    Target("memory idle", 60, None, "MiB", _own("idle_mib")),
    Target("open streams in one worker", 5000, 10000, "", _own("held"), at_least=True),
    Target("added p50 at 100 requests/s", 0.4, None, "ms", lambda values: added(values, "failsoft", "p50_ms")),
    Target("upstream freed when the client of a silent stream leaves", 0.25, 0.1, "s", _own("freed_one_s")),
    Target("process start to first answer", 1.5, 0.8, "s", _own("start_s")),
)


def verdict(target: Target, measured: list[float]) -> str:
    """`met`, `missed`, or `not measured`."""
    if not measured:
        return "not measured"
    middle = statistics.median(measured)

    def reaches(goal: float) -> bool:
        return middle >= goal if target.at_least else middle <= goal

    if target.aim is not None and reaches(target.aim):
        return "met, and the aim"
    return "met" if reaches(target.must) else "**missed**"


def verdict_table(values: Values) -> str:
    """Targets, what was measured, and whether it is enough."""
    rows = []
    for target in TARGETS:
        measured = target.measure(values)
        sign = "≥" if target.at_least else "≤"
        goal = f"{sign} {target.must:.3g} {target.unit}".strip() if target.must < 1000 else f"{sign} {target.must:,.0f}"
        found = figure(measured, Metric("", "", 0 if target.at_least else 4 if target.must < 0.3 else 2))
        rows.append([target.name, goal, found, verdict(target, measured)])
    return table(["target", "must", "measured: median / best (spread)", "verdict"], rows)
