"""What a call can fail with.

ModelryError
├── NotReachable            no server answers there
├── ConnectionLost          the connection broke before the answer was complete
├── TimedOut                no answer in time
├── UnexpectedAnswer        something answered that is not this API
├── JobFailed               a job that was waited for failed or was cancelled
└── ApiError                the server said no; `code` tells why
    ├── InvalidInput            mend the request and send it again
    │   ├── TensorMismatch  UnsupportedField  ContextLengthExceeded
    │   ├── ImageInvalid  ManifestInvalid  FileRefused  PayloadTooLarge  Misdirected
    │   ├── HeadersTooLarge  RowsInvalid
    │   └── NotSupported  SandboxTooWeak
    ├── Unauthenticated         no key, or one that is not known
    │   └── SignInFailed
    ├── PermissionDenied        a key without the right
    │   └── TenantSuspended
    ├── NotFound
    ├── Conflict                already there with other content, or in use
    │   └── DigestMismatch
    ├── GateNotMet              a version is not as good as it has to be
    ├── Unavailable             try again after `retry_after_s`
    │   ├── QuotaExceeded
    │   │   └── BudgetExceeded
    │   ├── Overloaded  ModelNotReady  ReplicaLost  KeyUnavailable
    │   └── AuditUnavailable
    └── ServerError             it failed over there
        └── ModelFailed  DeadlineExceeded  SourceUnavailable  InternalError
            DataDamaged  TrainingDiverged
            WorkFailed  MemoryExhausted  ScratchExhausted

No error carries the API key.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ModelryError(Exception):
    """Base of everything that this SDK raises for a call.

    Attributes:
        message: what went wrong and how to mend it.
        code: stable word for the kind of error.
        param: the offending field, tensor or file, if one is to blame.
        retry_after_s: seconds after which a retry makes sense, if it does.
        request_id: names the request in the server's log, if it got there.
        status: HTTP status, if there was an answer.
    """

    code: str = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.status = status


class NotReachable(ModelryError):
    """No server answers at the URL."""

    code = "not_reachable"


class ConnectionLost(ModelryError):
    """The connection broke before the answer was complete."""

    code = "connection_lost"


class TimedOut(ModelryError):
    """No answer, or not the awaited state, in time."""

    code = "timed_out"


class JobFailed(ModelryError):
    """A job that was waited for failed or was cancelled; `code` and words are the job's own."""

    code = "job_failed"


class UnexpectedAnswer(ModelryError):
    """Something answered that does not speak this API; is the URL right?"""

    code = "unexpected_answer"


class ApiError(ModelryError):
    """The server refused or failed; subclasses say how, `code` says why."""


class InvalidInput(ApiError):
    """The request is wrong; mend it and send it again."""

    code = "invalid_input"


class TensorMismatch(InvalidInput):
    """A tensor whose name, datatype, shape or size differs from the model's signature."""

    code = "tensor_mismatch"


class UnsupportedField(InvalidInput):
    """A field that the server does not implement."""

    code = "unsupported_field"


class ContextLengthExceeded(InvalidInput):
    """Prompt and answer do not fit the model's context."""

    code = "context_length_exceeded"


class ImageInvalid(InvalidInput):
    """Not an image that can be decoded within the limits."""

    code = "image_invalid"


class ManifestInvalid(InvalidInput):
    """`model.yaml` is wrong; the message tells line and column."""

    code = "manifest_invalid"


class FileRefused(InvalidInput):
    """A model file that is malformed, disguised or of a refused format."""

    code = "file_refused"


class NotSupported(InvalidInput):
    """The model, its runtime or the server cannot do what was asked."""

    code = "not_supported"


class RowsInvalid(InvalidInput):
    """Rows of data that cannot be used; the message names the first of them."""

    code = "rows_invalid"


class Misdirected(InvalidInput):
    """The server does not answer to the host name in your URL."""

    code = "misdirected"


class SandboxTooWeak(NotSupported):
    """The server takes models only in a sandbox that its machine does not offer."""

    code = "sandbox_too_weak"


class PayloadTooLarge(InvalidInput):
    """More bytes than the server takes."""

    code = "payload_too_large"


class HeadersTooLarge(PayloadTooLarge):
    """A URL or headers that are longer than the server reads."""

    code = "headers_too_large"


class Unauthenticated(ApiError):
    """No API key, or one that is not known, expired or revoked."""

    code = "unauthenticated"


class SignInFailed(Unauthenticated):
    """A person could not be signed in."""

    code = "sign_in_failed"


class PermissionDenied(ApiError):
    """The key is known and does not have the right."""

    code = "permission_denied"


class TenantSuspended(PermissionDenied):
    """The key's tenant is suspended, or is being deleted."""

    code = "tenant_suspended"


class NotFound(ApiError):
    """No such thing, or not one of yours."""

    code = "not_found"


class Conflict(ApiError):
    """Already there with other content, or in use."""

    code = "conflict"


class GateNotMet(ApiError):
    """A version is not as good as it has to be; nothing was registered or deployed."""

    code = "gate_not_met"


class DigestMismatch(Conflict):
    """Bytes whose digest is not the promised one."""

    code = "digest_mismatch"


class Unavailable(ApiError):
    """Not now; try again after `retry_after_s`."""

    code = "unavailable"


class QuotaExceeded(Unavailable):
    """Your own share is used up."""

    code = "quota_exceeded"


class BudgetExceeded(QuotaExceeded):
    """Your own share of the day or month is used up."""

    code = "budget_exceeded"


class Overloaded(Unavailable):
    """The server is full."""

    code = "overloaded"


class AuditUnavailable(Unavailable):
    """The server cannot write its audit log, so it did not do it."""

    code = "audit_unavailable"


class ModelNotReady(Unavailable):
    """The model is known and not loaded yet."""

    code = "model_not_ready"


class ReplicaLost(Unavailable):
    """The model's process ended under the request; a retry is safe."""

    code = "replica_lost"


class KeyUnavailable(Unavailable):
    """A key of encryption cannot be had: lost, destroyed, or its provider does not answer."""

    code = "key_unavailable"


class ServerError(ApiError):
    """It failed on the server's side."""

    code = "server_error"


class ModelFailed(ServerError):
    """Loading or running the model failed; the message has the engine's reason."""

    code = "model_failed"


class DeadlineExceeded(ServerError):
    """The server gave up on the request when its time ran out."""

    code = "deadline_exceeded"


class SourceUnavailable(ServerError):
    """A place that the server fetches models from did not answer as expected."""

    code = "source_unavailable"


class DataDamaged(ServerError):
    """What the server kept was changed outside of it; upload it again."""

    code = "data_damaged"


class WorkFailed(ServerError):
    """A job's process ended without an outcome; the message says how."""

    code = "work_failed"


class MemoryExhausted(WorkFailed):
    """A job's process needs more memory than it may use."""

    code = "memory_exhausted"


class ScratchExhausted(WorkFailed):
    """A job's process writes more than its scratch folder holds."""

    code = "scratch_exhausted"


class TrainingDiverged(ServerError):
    """A loss, a gradient or a weight is no number any more."""

    code = "training_diverged"


class InternalError(ServerError):
    """A defect of the server; tell its operator the `request_id`."""

    code = "internal_error"


def _by_code(root: type[ApiError]) -> dict[str, type[ApiError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _by_code(child)
    return found


class _Table:
    codes: ClassVar[dict[str, type[ApiError]]] = _by_code(ApiError) | {
        "malformed_body": InvalidInput,
        "invalid_api_key": Unauthenticated,
        "unsupported_parameter": UnsupportedField,
        "rate_limit_exceeded": QuotaExceeded,
        "insufficient_quota": BudgetExceeded,
        "model_not_found": NotFound,
    }
    statuses: ClassVar[dict[int, type[ApiError]]] = {
        400: InvalidInput,
        401: Unauthenticated,
        403: PermissionDenied,
        404: NotFound,
        405: InvalidInput,
        409: Conflict,
        413: PayloadTooLarge,
        422: InvalidInput,
        429: QuotaExceeded,
        503: Unavailable,
        504: DeadlineExceeded,
    }


def told_error(
    status: int,
    error: Any,
    *,
    retry_after_s: float | None = None,
    request_id: str | None = None,
) -> ApiError:
    """The exception for what a server told: `error` is the value of `"error"` in its body.

    It is an object with `code` and `message`, or (Open Inference Protocol) the message alone.
    """
    told = error if isinstance(error, dict) else {"message": error}
    code = told.get("code")
    message = told.get("message")
    by_status = _Table.statuses.get(status, ServerError if status >= 500 else InvalidInput)
    cls = _Table.codes.get(code, by_status) if isinstance(code, str) else by_status
    param = told.get("param")
    return cls(
        message if isinstance(message, str) and message else f"The server answered {status}.",
        code=code if isinstance(code, str) else None,
        param=param if isinstance(param, str) else None,
        retry_after_s=retry_after_s,
        request_id=request_id,
        status=status,
    )
