"""What the error of a response stands for, in an `error` event, in `response.failed` and in a whole answer."""

from __future__ import annotations

from typing import Any, Final

from proxy.core.errors import ErrorKind, UpstreamFailure
from proxy.wire.openai_errors import classify_inband, read_complaint
from proxy.wire.redact import redact

_CLIENTS_FAULTS: Final = frozenset({
    "invalid_prompt", "data_residency_mismatch", "bio_policy", "misalignment_policy_violation", "invalid_image",
    "invalid_image_format", "invalid_base64_image", "invalid_image_url", "image_too_large", "image_too_small",
    "image_parse_error", "image_content_policy_violation", "invalid_image_mode", "image_file_too_large",
    "unsupported_image_media_type", "empty_image_file", "failed_to_download_image", "image_file_not_found",
})  # fmt: skip
"""Codes of failed responses that are about the request: another upstream would say the same."""


def failure_of(error: Any, default: ErrorKind) -> UpstreamFailure:
    """The failure that the error of a response stands for; unlike in other answers it may be the client's fault."""
    failure = classify_inband(error, default)
    complaint = read_complaint(error)
    if complaint is None or complaint.code not in _CLIENTS_FAULTS:
        return failure
    return UpstreamFailure(
        ErrorKind.REJECTED,
        failure.detail,
        status=ErrorKind.REJECTED.facts.status,
        client_message=redact(complaint.message) or None,
        param=redact(complaint.param, 200) if complaint.param else None,
        code=complaint.code,
    )
