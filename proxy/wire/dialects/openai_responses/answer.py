"""Whole responses: bytes to the events of `Reading`."""

from __future__ import annotations

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.core.events import Event
from proxy.wire.dialects.openai_responses.errors import failure_of
from proxy.wire.dialects.openai_responses.reading import Reading
from proxy.wire.lenient import read_json


def decode_body(body: bytes) -> list[Event]:
    """The events of a whole response; raises UpstreamFailure for one that failed and for what is none."""
    try:
        response = read_json(body.lstrip())
    except ValueError:
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"not a JSON answer: {body[:200]!r}") from None
    if not isinstance(response, dict):
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"not a response: {body[:200]!r}")
    status = response.get("status")
    if response.get("error") or status in ("failed", "cancelled"):
        raise failure_of(response.get("error"), ErrorKind.FAULT if status else ErrorKind.NOT_AN_ANSWER)
    if not isinstance(response.get("output"), list) or status not in (None, "completed", "incomplete"):
        raise UpstreamFailure(ErrorKind.NOT_AN_ANSWER, f"a response without an output: {body[:200]!r}")
    return list(Reading().whole(response))
