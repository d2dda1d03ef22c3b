"""Every error that Modelry tells a caller.

ModelryError
├── InvalidInput              the request is wrong; mend it and send it again
│   ├── MalformedBody             not parseable as what it claims to be
│   ├── TensorMismatch            name, datatype, shape or byte length differ from the signature
│   ├── UnsupportedField          a field that this server does not implement
│   ├── ContextLengthExceeded     prompt and answer do not fit the context
│   ├── ImageInvalid              not an image that can be decoded within the limits
│   ├── ManifestInvalid           model.yaml is wrong (carries line and column)
│   ├── RowsInvalid               rows of data that cannot be used; names the first of them
│   ├── Misdirected               sent to a host name that is not this server's
│   └── FileRefused               a model file that is malformed, disguised or of a refused format
├── PayloadTooLarge           more bytes than the limit
│   └── HeadersTooLarge           a head that is longer than is read
├── Unauthenticated           no key, or one that is not known
│   └── SignInFailed              a person who could not be signed in
├── PermissionDenied          a key without the right
│   └── TenantSuspended           a key of a tenant that is suspended
├── NotFound                  no such thing in the caller's tenant
├── Conflict                  the thing is already there, or is in use
│   └── DigestMismatch            bytes that are not what was promised
├── QuotaExceeded             the caller's share is used up (retry later)
│   └── BudgetExceeded            that of the whole day or month is
├── Overloaded                the system is full (retry later)
├── AuditUnavailable          an act cannot be entered into the audit log, so it is not done
├── ModelNotReady             known, but not loaded yet (retry later)
├── ModelFailed               loading or running the model failed; carries the reason
├── WorkFailed                a job's process crashed, hung or ran out of memory
│   ├── MemoryExhausted           it needs more memory than it may use
│   └── ScratchExhausted          it writes more than its scratch folder holds
├── TrainingDiverged          a loss is no number any more
├── GateNotMet                a version is not as good as it has to be
├── LeaseLost                 another attempt at a job has begun; this one must end
├── ReplicaLost               the worker process died under the request (safe to retry)
├── DeadlineExceeded          the request's time ran out
├── Cancelled                 the caller went away
├── DataDamaged               kept bytes are not what was kept
├── KeyUnavailable            a key of encryption cannot be had (any more)
├── SourceUnavailable         a place to fetch a model from did not answer as expected
├── NotSupported              the model, runtime or server cannot do this
│   └── SandboxTooWeak            the sandbox that is demanded cannot be had on this machine
└── InternalError             a defect of ours

Messages say what was passed, what was expected and how to mend it; never a path of the
server, an address, a trace or another tenant's words.
"""

from __future__ import annotations

from typing import ClassVar


class ModelryError(Exception):
    """Base of all errors that are told to callers.

    Args:
        message: what was passed, what was expected, how to mend it.
        param: the name of the offending field or tensor, if one is to blame.
        retry_after_s: seconds after which a retry makes sense, for the retryable ones.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidInput(ModelryError):
    """The request is wrong; mend it and send it again."""

    code = "invalid_input"


class MalformedBody(InvalidInput):
    """A body that cannot be parsed as what it claims to be."""

    code = "malformed_body"


class TensorMismatch(InvalidInput):
    """A tensor whose name, datatype, shape or byte length differs from the signature."""

    code = "tensor_mismatch"


class UnsupportedField(InvalidInput):
    """A field or value that this server does not implement; never ignored silently."""

    code = "unsupported_field"


class ContextLengthExceeded(InvalidInput):
    """Prompt and requested answer do not fit the model's context."""

    code = "context_length_exceeded"


class ImageInvalid(InvalidInput):
    """Bytes that are not an image which can be decoded within the limits."""

    code = "image_invalid"


class ManifestInvalid(InvalidInput):
    """A `model.yaml` that does not say what it must.

    Args:
        message: what is wrong and how to mend it.
        line: 1-based line of the offending node, if known.
        column: 1-based column of the offending node, if known.
        param: dotted path of the offending key, if known.
    """

    code = "manifest_invalid"

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        param: str | None = None,
    ) -> None:
        where = f"line {line}, column {column}: " if line is not None else ""
        super().__init__(where + message, param=param)
        self.line = line
        self.column = column


class FileRefused(InvalidInput):
    """A model file that is malformed, oversized, disguised or of a refused format."""

    code = "file_refused"


class RowsInvalid(InvalidInput):
    """Rows of data that cannot be used; the message names the first of them."""

    code = "rows_invalid"


class Misdirected(InvalidInput):
    """A request to a host name that is not this server's."""

    code = "misdirected"


class PayloadTooLarge(ModelryError):
    """More bytes than the limit allows."""

    code = "payload_too_large"


class HeadersTooLarge(PayloadTooLarge):
    """A URL or headers that are longer, or more, than are read."""

    code = "headers_too_large"


class Unauthenticated(ModelryError):
    """No API key, or one that is not known, expired or revoked."""

    code = "unauthenticated"


class SignInFailed(Unauthenticated):
    """A person whom an issuer did not sign in, whose token proves nothing, or who is no member."""

    code = "sign_in_failed"


class PermissionDenied(ModelryError):
    """The key is known and does not have the right."""

    code = "permission_denied"


class TenantSuspended(PermissionDenied):
    """The key is known; its tenant is suspended or being deleted."""

    code = "tenant_suspended"


class NotFound(ModelryError):
    """No such thing in the caller's tenant."""

    code = "not_found"


class Conflict(ModelryError):
    """The thing is already there with other content, or is in use."""

    code = "conflict"


class DigestMismatch(Conflict):
    """Bytes whose digest is not the promised one."""

    code = "digest_mismatch"


class QuotaExceeded(ModelryError):
    """The caller's own share is used up; retry after `retry_after_s`."""

    code = "quota_exceeded"


class BudgetExceeded(QuotaExceeded):
    """The caller's share of the day or month is used up; retry when the next one begins."""

    code = "budget_exceeded"


class Overloaded(ModelryError):
    """The system's queue is full; retry after `retry_after_s`."""

    code = "overloaded"


class AuditUnavailable(ModelryError):
    """The act cannot be entered into the audit log, so it is not done; retry later."""

    code = "audit_unavailable"


class ModelNotReady(ModelryError):
    """The model is known and not loaded (yet); retry after `retry_after_s`."""

    code = "model_not_ready"


class ModelFailed(ModelryError):
    """Loading or running the model failed; the message carries the engine's reason."""

    code = "model_failed"


class WorkFailed(ModelryError):
    """A job's process ended without an outcome: it crashed, hung, or ran out of memory."""

    code = "work_failed"


class MemoryExhausted(WorkFailed):
    """A job's process needs more memory than it may use; let it do less at once, or allow more."""

    code = "memory_exhausted"


class ScratchExhausted(WorkFailed):
    """A job's process writes more than its scratch folder holds; give it less, or allow more."""

    code = "scratch_exhausted"


class TrainingDiverged(ModelryError):
    """A loss, a gradient or a weight is no number any more."""

    code = "training_diverged"


class GateNotMet(ModelryError):
    """A version is not as good as it has to be; nothing was registered or deployed."""

    code = "gate_not_met"


class LeaseLost(ModelryError):
    """Another attempt at a job has begun; the one that is told this must end."""

    code = "lease_lost"


class ReplicaLost(ModelryError):
    """The worker process ended under the request; a retry is safe."""

    code = "replica_lost"


class DeadlineExceeded(ModelryError):
    """The request's time ran out before an answer was there."""

    code = "deadline_exceeded"


class Cancelled(ModelryError):
    """The caller went away; the engine was told to stop."""

    code = "cancelled"


class DataDamaged(ModelryError):
    """Kept bytes that are not what was kept: changed, cut off or swapped outside of Modelry."""

    code = "data_damaged"


class KeyUnavailable(ModelryError):
    """A key of encryption that cannot be had: lost, destroyed, or its provider does not answer."""

    code = "key_unavailable"


class SourceUnavailable(ModelryError):
    """A place to fetch a model from could not be reached or answered unexpectedly."""

    code = "source_unavailable"


class NotSupported(ModelryError):
    """This model, runtime or server cannot do what was asked."""

    code = "not_supported"


class SandboxTooWeak(NotSupported):
    """Models are taken in a sandbox of some level only, which this machine does not reach."""

    code = "sandbox_too_weak"


class InternalError(ModelryError):
    """A defect of ours; the details are in the server's log under the request id."""

    code = "internal_error"


def _tree(root: type[ModelryError]) -> dict[str, type[ModelryError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


ERRORS_BY_CODE: dict[str, type[ModelryError]] = _tree(ModelryError)
"""Every error class by its stable code."""


def error_from_code(
    code: str, message: str, *, param: str | None = None, retry_after_s: float | None = None
) -> ModelryError:
    """Rebuild an error that crossed a process boundary.

    An unknown code (a worker newer than the gateway) becomes an `InternalError`.
    """
    cls = ERRORS_BY_CODE.get(code, InternalError)
    error = cls.__new__(cls)
    ModelryError.__init__(error, message, param=param, retry_after_s=retry_after_s)
    if isinstance(error, ManifestInvalid):
        error.line = error.column = None
    return error
