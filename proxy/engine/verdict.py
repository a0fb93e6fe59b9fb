"""What the client is told when no target answered."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.errors import ErrorKind, ProxyError, UpstreamFailure

_ONE_SECOND = 1.0
_WEIGHTS = {
    ErrorKind.CONTEXT: 0,
    ErrorKind.UNTRANSLATABLE: 0,
    ErrorKind.MODEL_ABSENT: 0,
    ErrorKind.THROTTLE: 0,
    ErrorKind.RESTING: 1,
    ErrorKind.MAINTENANCE: 1,
}
"""Which of several failures decides: the last of the heaviest; all others weigh 2."""


def rejection(failure: UpstreamFailure) -> ProxyError:
    """A failure that is the client's to mend: the upstream's own words, where they are fit to be shown."""
    return ProxyError(
        failure.kind,
        failure.client_message,
        param=failure.param,
        code=failure.code,
        status=failure.status if failure.kind is ErrorKind.REJECTED else None,
    )


def exhausted(failures: Sequence[tuple[str, UpstreamFailure]]) -> ProxyError:
    """All targets failed: one error for (target, failure) pairs in the order they were tried.

    A client can act on a context error (shorten), on what cannot be translated (leave it out), on an absent model (name
    another) and on throttling (wait), so these decide only if every target said the same; otherwise the last failure
    that was not one of them does, and a target that was not even asked only where there is no other.
    """
    if not failures:
        return ProxyError(ErrorKind.NO_CANDIDATE)
    deciding = max(reversed([failure for _, failure in failures]), key=lambda failure: _WEIGHTS.get(failure.kind, 2))
    if deciding.kind in (ErrorKind.CONTEXT, ErrorKind.UNTRANSLATABLE):
        return rejection(deciding)
    told = "; ".join(f"{target}: {failure.kind.label}" for target, failure in failures)
    waits = [failure.retry_after for _, failure in failures if failure.retry_after is not None]
    return ProxyError(
        deciding.kind,
        f"{deciding.kind.facts.message} Tried {told}.",
        retry_after=_wait(deciding.kind, waits),
    )


def _wait(kind: ErrorKind, waits: Sequence[float]) -> float | None:
    """The earliest recovery any upstream named; a second where waiting helps but none was named."""
    if waits:
        return max(_ONE_SECOND, min(waits))
    return _ONE_SECOND if kind in (ErrorKind.THROTTLE, ErrorKind.OVERLOAD, ErrorKind.RESTING) else None
