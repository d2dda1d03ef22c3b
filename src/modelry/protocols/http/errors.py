"""HTTP status of each error code; the doors add their own shapes."""

from __future__ import annotations

import math

from modelry.domain.errors import ERRORS_BY_CODE, ModelryError, QuotaExceeded

STATUS_BY_CODE: dict[str, int] = {
    "error": 500,
    "invalid_input": 400,
    "malformed_body": 400,
    "tensor_mismatch": 400,
    "unsupported_field": 400,
    "context_length_exceeded": 400,
    "image_invalid": 400,
    "manifest_invalid": 422,
    "file_refused": 422,
    "payload_too_large": 413,
    "headers_too_large": 431,
    "rows_invalid": 422,
    "misdirected": 421,
    "unauthenticated": 401,
    "sign_in_failed": 401,
    "permission_denied": 403,
    "tenant_suspended": 403,
    "not_found": 404,
    "conflict": 409,
    "digest_mismatch": 409,
    "quota_exceeded": 429,
    "budget_exceeded": 429,
    "overloaded": 503,
    "audit_unavailable": 503,
    "model_not_ready": 503,
    "model_failed": 500,
    "work_failed": 500,
    "memory_exhausted": 500,
    "scratch_exhausted": 500,
    "training_diverged": 500,
    "gate_not_met": 409,
    "lease_lost": 409,
    "replica_lost": 503,
    "deadline_exceeded": 504,
    "cancelled": 499,
    "data_damaged": 500,
    "key_unavailable": 503,
    "source_unavailable": 502,
    "not_supported": 400,
    "sandbox_too_weak": 501,
    "internal_error": 500,
}
"""One status per code; a test holds it against the error tree."""


def status_of(error: ModelryError) -> int:
    """The HTTP status for `error`: its code's, or that of its nearest ancestor."""
    for cls in type(error).__mro__:
        if issubclass(cls, ModelryError) and cls.code in STATUS_BY_CODE:
            return STATUS_BY_CODE[cls.code]
    return 500


def error_headers(error: ModelryError) -> dict[str, str]:
    """`Retry-After` and `WWW-Authenticate` where they belong.

    `Retry-After` has whole seconds; `retry-after-ms`, which official OpenAI clients look for
    first, is exact.
    """
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
        if isinstance(error, QuotaExceeded):
            headers["retry-after-ms"] = str(math.ceil(error.retry_after_s * 1000))
    if error.code == "unauthenticated":
        headers["www-authenticate"] = "Bearer"
    return headers


def undocumented_codes() -> set[str]:
    """Codes of the error tree without a status here; empty unless a change forgot one."""
    return set(ERRORS_BY_CODE) - set(STATUS_BY_CODE)
