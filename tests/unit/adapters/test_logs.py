"""One line per request, whatever is in it; no body, no header, no key."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.adapters.logs import RequestLog, clean, configure
from proxy.core.decision import Attempt
from proxy.core.errors import ErrorKind
from proxy.core.usage import Usage, UsageRecord

FORGED = 'x"\n\x1b[31m\u2028{"event":"request"}\r'


def record(**more: Any) -> UsageRecord:
    known: dict[str, Any] = {
        "id": "req_1", "correlation_id": "order-7", "at": datetime(2026, 1, 1, tzinfo=UTC), "tenant": "acme",
        "endpoint": "/v1/chat/completions", "stream": True, "asked_model": "auto", "route": "code", "upstream": "two",
        "model": "m", "mode": "identity", "status": 200, "ended": "stop", "usage": Usage(7, 4, source="vendor"),
        "attempts": (Attempt("one", "m", "f1", 0.5, ErrorKind.CONNECT), Attempt("two", "m", "f2", 1.0, None, 200)),
        "seconds": 1.5, "first_token": 0.25,
    }  # fmt: skip
    return UsageRecord(**known | more)


async def written(kept: UsageRecord, form: Any = "json") -> str:
    stream = io.StringIO()
    log = RequestLog(form, stream)
    log.write(kept)
    log.flush()
    return stream.getvalue()


async def test_a_line_says_what_was_asked_what_was_done_and_how_it_ended():
    line = json.loads(await written(record()))
    assert datetime.fromisoformat(line.pop("time")) == datetime(2026, 1, 1, tzinfo=UTC)
    assert line == {
        "event": "request", "id": "req_1", "correlation_id": "order-7", "tenant": "acme",
        "endpoint": "/v1/chat/completions", "stream": True, "asked": "auto", "route": "code", "upstream": "two",
        "model": "m", "mode": "identity", "status": 200, "ended": "stop", "ms": 1500.0, "first_token_ms": 250.0,
        "attempts": [
            {"target": "one/m", "outcome": "connect", "status": 0, "ms": 500.0},
            {"target": "two/m", "outcome": "success", "status": 200, "ms": 1000.0},
        ],
        "tokens": {"prompt": 7, "completion": 4, "source": "vendor"},
    }  # fmt: skip


async def test_what_is_seldom_said_is_left_out_else():
    more = {"offline": "rules", "losses": ("seed: not known",), "facts": {"task": "code", "tokens": 9}}
    line = json.loads(await written(record(**more)))
    assert (line["offline"], line["losses"], line["facts"]) == ("rules", ["seed: not known"], more["facts"])


@pytest.mark.parametrize("form", ["json", "text"])
async def test_nobody_forges_a_line(form):
    """Names come from strangers: callers choose the model's, upstreams the one they answer with and how they end."""
    names = dict.fromkeys(("tenant", "endpoint", "asked_model", "model", "ended"), FORGED)
    text = await written(record(**names, losses=(FORGED,), attempts=(Attempt("one", FORGED, None, 1.0),)), form)
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    assert not {"\x1b", "\u2028", "\r"} & set(text)


async def test_a_line_for_people():
    text = await written(record(), "text")
    assert text == (
        "2026-01-01T00:00:00.000Z 200 /v1/chat/completions auto route=code one/m connect 500ms → "
        "two/m success 1000ms stop 1500ms tokens=7+4 id=req_1 correlation=order-7\n"
    )


async def test_a_hedge_is_marked():
    attempts = (
        Attempt("two", "m", "f2", 0.1, None, 200, is_hedge=True),
        Attempt("one", "m", "f1", 1, ErrorKind.HEDGED),
    )
    line = json.loads(await written(record(attempts=attempts)))
    assert [attempt.get("hedge") for attempt in line["attempts"]] == [True, None]
    assert "two/m (hedge) success 100ms → one/m hedged 1000ms" in await written(record(attempts=attempts), "text")


async def test_the_line_of_a_request_that_nobody_was_asked_for():
    text = await written(record(attempts=(), route="", asked_model="", status=401, ended="unknown_key"), "text")
    assert " 401 /v1/chat/completions - route=- - unknown_key " in text


def test_clean_leaves_words_alone_and_keeps_to_two_kibibytes():
    assert clean("¿Qué? 日本 🙂") == "¿Qué? 日本 🙂"
    assert clean("a\nb\x00\u202e") == "a\\nb\\x00\\u202e"
    assert len(clean("x" * 5000)) == 2048


class Stream(io.StringIO):
    """Tells how often it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.flushed = asyncio.Event()

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)

    def flush(self) -> None:
        self.flushed.set()


async def test_lines_of_one_moment_leave_together_and_by_themselves():
    stream = Stream()
    log = RequestLog("json", stream)
    for _ in range(5):
        log.write(record())
    assert stream.writes == 0, "not on a client's time"
    await stream.flushed.wait()
    assert (stream.writes, len(stream.getvalue().splitlines())) == (1, 5)
    log.write(record())
    log.flush()
    log.flush()
    assert (stream.writes, len(stream.getvalue().splitlines())) == (2, 6)


async def test_lines_do_not_gather_without_end():
    stream = Stream()
    log = RequestLog("json", stream)
    for _ in range(1000):
        log.write(record())
    assert len(stream.getvalue().splitlines()) >= 500
    log.flush()
    assert len(stream.getvalue().splitlines()) == 1000


async def test_a_log_that_nobody_can_read_fails_no_request():
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    log = RequestLog("json", Broken())
    for _ in range(1000):
        log.write(record())
    log.flush()
    closed = io.StringIO()
    closed.close()
    log = RequestLog("json", closed)
    log.write(record())
    log.flush()


@pytest.fixture
def restored():
    """The process's own logger as it was."""
    log = logging.getLogger("failsoft")
    before = log.handlers[:], log.level, log.propagate
    yield log
    log.handlers[:], log.level, log.propagate = before[0], before[1], before[2]


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_processs_own_messages_keep_to_one_line_too(restored, capsys, form):
    configure(form, "warning")
    restored.info("too quiet")
    restored.warning("stream broke: %s", FORGED, extra={"request_id": "req_1"})
    (line,) = capsys.readouterr().err.split("\n")[:-1]
    assert "req_1" in line
    assert not {"\x1b", "\u2028", "\r"} & set(line)
    if form == "json":
        told = json.loads(line)
        assert (told["event"], told["level"], told["request_id"]) == ("message", "warning", "req_1")
        assert datetime.fromisoformat(told["time"]).tzinfo is not None


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_bug_keeps_its_trace(restored, capsys, form):
    configure(form, "info")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        restored.exception("attempt failed")
    told = capsys.readouterr().err
    assert "attempt failed" in told
    assert "Traceback" in told
    assert "test_logs.py" in told


def test_configuring_twice_does_not_say_everything_twice(restored, capsys):
    configure("text", "info")
    configure("text", "info")
    restored.info("once")
    assert capsys.readouterr().err.count("once") == 1
