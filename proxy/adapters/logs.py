"""One structured line per request, and the process's own messages, on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Literal

import msgspec

from proxy.core.usage import UsageRecord

_FIELD_LIMIT = 2048
_FLUSH_AFTER = 0.05  # seconds; lines of one burst leave in one write
_FLUSH_LINES = 128
_EXTRAS = ("request_id",)


def clean(text: str) -> str:
    """`text` on one line and at most 2 KiB: control characters and line separators as escapes."""
    text = text[:_FIELD_LIMIT]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class AttemptLine(msgspec.Struct, omit_defaults=True):
    target: str
    outcome: str
    status: int
    ms: float
    hedge: bool = False


class TokensLine(msgspec.Struct):
    prompt: int
    completion: int
    source: str


class Line(msgspec.Struct, omit_defaults=True):
    """What is logged of a request: never a body, a header or a key. Times are in milliseconds."""

    time: datetime
    event: str
    id: str
    correlation_id: str
    tenant: str
    endpoint: str
    stream: bool
    asked: str
    route: str
    upstream: str
    model: str
    mode: str
    status: int
    ended: str
    ms: float
    first_token_ms: float | None
    attempts: list[AttemptLine]
    tokens: TokensLine
    facts: Mapping[str, Any] = {}
    offline: str | None = None
    losses: list[str] = []


def line_of(record: UsageRecord) -> Line:
    """The line of one request; what a stranger may have named is cleaned."""
    usage = record.usage
    return Line(
        record.at,
        "request",
        record.id,
        record.correlation_id,  # well-formed, or our own
        clean(record.tenant),
        clean(record.endpoint),
        record.stream,
        clean(record.asked_model),
        record.route,
        record.upstream,
        clean(record.model),
        record.mode,
        record.status,
        clean(record.ended),  # perhaps a finish that the upstream made up
        round(record.seconds * 1000, 3),
        None if record.first_token is None else round(record.first_token * 1000, 3),
        [
            AttemptLine(
                f"{attempt.upstream}/{clean(attempt.model)}",
                attempt.kind.label if attempt.kind else "success",
                attempt.status,
                round(attempt.seconds * 1000, 3),
                attempt.is_hedge,
            )
            for attempt in record.attempts
        ],
        TokensLine(usage.prompt, usage.completion, usage.source),
        record.facts,
        record.offline,
        [clean(loss) for loss in record.losses],
    )


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_text(line: Line) -> str:
    """The same line for human eyes."""
    tried = (
        " → ".join(f"{a.target}{' (hedge)' if a.hedge else ''} {a.outcome} {a.ms:.0f}ms" for a in line.attempts) or "-"
    )
    return (
        f"{_written(line.time)} {line.status} {line.endpoint} {line.asked or '-'} "
        f"route={line.route or '-'} {tried} {line.ended} {line.ms:.0f}ms "
        f"tokens={line.tokens.prompt}+{line.tokens.completion} id={line.id} correlation={line.correlation_id}"
    )


class RequestLog:
    """A `Ledger` that writes lines; they are buffered for a moment, never on a client's time."""

    def __init__(self, form: Literal["json", "text"], stream: IO[str] | None = None) -> None:
        self._form = form
        self._stream = stream or sys.stderr
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, record: UsageRecord) -> None:
        line = line_of(record)
        text = self._encode(line).decode() if self._form == "json" else as_text(line)
        self._lines.append(text)
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_AFTER, self.flush)

    def flush(self) -> None:
        """Write out what is buffered; called at the end of the process too."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = self._lines, []
            with contextlib.suppress(OSError, ValueError):  # nobody reads: no reason to fail a request
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()


class _Formatter(logging.Formatter):
    """The process's own messages in the form of the request lines; an exception keeps its trace for the operator."""

    def __init__(self, form: Literal["json", "text"]) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _written(datetime.fromtimestamp(record.created, UTC)),
            "event": "message",
            "level": record.levelname.lower(),
            "message": clean(record.getMessage()),
        }
        line.update({name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        if self._form == "json":
            return json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        said = " ".join(line[name] for name in ("time", "level", "message", *_EXTRAS) if name in line)
        return f"{said}\n{line['trace']}" if "trace" in line else said


def configure(form: Literal["json", "text"], level: str) -> None:
    """Send the messages of this process to standard error in one form."""
    stream = logging.StreamHandler()
    stream.setFormatter(_Formatter(form))
    root = logging.getLogger("failsoft")
    root.handlers[:] = [stream]
    root.setLevel(level.upper())
    root.propagate = False
