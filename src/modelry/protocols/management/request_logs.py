"""`/request-logs` and `/deployments/{name}/request-log`: requests that are kept, and which."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from modelry.domain.access import Permission
from modelry.protocols.management.auditing import note
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, KeptRequests
from modelry.protocols.management.shapes import Answer, Body, Moment
from modelry.services.privacy.ports import USUAL_REQUESTS, LogFilter, LoggedRequest, LoggingRule
from modelry.services.privacy.request_logs import (
    MAX_KEPT_BYTES,
    MAX_KEPT_REQUESTS,
    MAX_LISTED,
    MAX_RETENTION_DAYS,
)

router = managed_router("request logs")

Word = Annotated[str | None, Query(min_length=1, max_length=200)]


class Rule(Answer):
    """What is kept of a deployment's requests."""

    deployment: str
    sample_rate: float
    retention_days: int
    keep_input: bool
    keep_output: bool
    redact: bool
    max_bytes: int
    attachments: bool
    tensor_values: bool
    max_requests: int
    changed_at: datetime
    changed_by: str

    @classmethod
    def of(cls, rule: LoggingRule) -> Rule:
        """The shape of `rule`."""
        return cls(**{name: getattr(rule, name) for name in cls.model_fields})


class RuleBody(Body):
    """What to keep.

    `sample_rate`: share of the calls. `redact`: take personal data and secrets out first.
    `max_bytes`: of input and output each; what is larger is told by its size. `attachments`: keep
    bytes such as images. `tensor_values`: keep numbers, not only names and shapes. `max_requests`:
    how many; the oldest are deleted first.
    """

    sample_rate: Annotated[float, Field(strict=True, ge=0, le=1)] = 1.0
    retention_days: Annotated[int, Field(strict=True, ge=1, le=MAX_RETENTION_DAYS)] = 30
    keep_input: Annotated[bool, Field(strict=True)] = True
    keep_output: Annotated[bool, Field(strict=True)] = True
    redact: Annotated[bool, Field(strict=True)] = True
    max_bytes: Annotated[int, Field(strict=True, ge=1024, le=MAX_KEPT_BYTES)] = 64 * 1024
    attachments: Annotated[bool, Field(strict=True)] = False
    tensor_values: Annotated[bool, Field(strict=True)] = False
    max_requests: Annotated[int, Field(strict=True, ge=1, le=MAX_KEPT_REQUESTS)] = USUAL_REQUESTS


class Logged(Answer):
    """A kept call; `redacted` counts what was taken out of it."""

    log_id: str
    request_id: str
    at: datetime
    expires_at: datetime
    deployment: str
    version: int
    key_id: str
    task: str
    status: str
    duration_s: float
    redacted: dict[str, int]

    @classmethod
    def of(cls, request: LoggedRequest) -> Logged:
        """The shape of `request`."""
        return cls(version=request.version_number, **_shared(request))


class LoggedContent(Logged):
    """A kept call with what was said: `content` has `input` and `output`."""

    content: dict[str, Any]


class LoggedList(Answer):
    """Kept calls, newest first; `dropped` counts those that this server could not keep."""

    requests: list[Logged]
    next: str | None
    dropped: int


class Deleted(Answer):
    """How many were deleted."""

    deleted: int


@router.get(
    "/deployments/{name}/request-log",
    summary="What is kept of a deployment's requests",
    openapi_extra=needs(Permission.REQUEST_LOGS_READ),
)
def get_logging_rule(name: str, caller: Caller, logs: KeptRequests) -> Rule:
    """404 when nothing is kept, which is the default."""
    return Rule.of(logs.rule(caller, name))


@router.put(
    "/deployments/{name}/request-log",
    summary="Keep requests of a deployment",
    openapi_extra=needs(Permission.REQUEST_LOGS_WRITE, recorded=tuple(RuleBody.model_fields)),
)
def set_logging_rule(name: str, body: RuleBody, caller: Caller, logs: KeptRequests) -> Rule:
    """Only calls of the deployment's own tenant are kept. Takes effect at once on this server."""
    return Rule.of(logs.put_rule(caller, name, **body.model_dump()))


@router.delete(
    "/deployments/{name}/request-log",
    status_code=204,
    summary="Keep no more requests of a deployment",
    openapi_extra=needs(Permission.REQUEST_LOGS_WRITE),
)
def delete_logging_rule(name: str, caller: Caller, logs: KeptRequests) -> None:
    """What was kept stays until its time is over or it is deleted."""
    logs.delete_rule(caller, name)


@router.get(
    "/request-logs",
    summary="List kept requests",
    openapi_extra=needs(Permission.REQUEST_LOGS_READ),
)
def list_request_logs(
    *,
    caller: Caller,
    logs: KeptRequests,
    since: Moment | None = None,
    until: Moment | None = None,
    deployment: Word = None,
    key_id: Word = None,
    request_id: Word = None,
    status: Word = None,
    before: Word = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
) -> LoggedList:
    """Without what was said in them."""
    wanted = LogFilter(since, until, deployment, key_id, request_id, status)
    found = logs.find(caller, wanted, before=before, limit=limit)
    return LoggedList(
        requests=[Logged.of(one) for one in found.requests],
        next=found.following,
        dropped=logs.dropped(caller),
    )


@router.get(
    "/request-logs/{log_id}",
    summary="One kept request with what was said",
    openapi_extra=needs(Permission.REQUEST_LOGS_READ, audited=True),
)
def get_request_log(log_id: str, caller: Caller, logs: KeptRequests) -> LoggedContent:
    """Reading is entered into the audit log."""
    found = logs.get(caller, log_id)
    return LoggedContent(
        version=found.request.version_number,
        content=dict(found.content),
        **_shared(found.request),
    )


@router.delete(
    "/request-logs/{log_id}",
    status_code=204,
    summary="Delete one kept request for good",
    openapi_extra=needs(Permission.REQUEST_LOGS_WRITE),
)
def delete_request_log(log_id: str, caller: Caller, logs: KeptRequests) -> None:
    """404 when there is none."""
    logs.delete_one(caller, log_id)


@router.delete(
    "/request-logs",
    summary="Delete kept requests for good",
    openapi_extra=needs(Permission.REQUEST_LOGS_WRITE),
)
def delete_request_logs(
    *,
    caller: Caller,
    logs: KeptRequests,
    since: Moment | None = None,
    until: Moment | None = None,
    deployment: Word = None,
    key_id: Word = None,
    request_id: Word = None,
) -> Deleted:
    """All that fit what is said: of a key, a request, a time."""
    wanted = LogFilter(since, until, deployment, key_id, request_id)
    deleted = logs.delete(caller, wanted)
    note(deleted=deleted)
    return Deleted(deleted=deleted)


def _shared(request: LoggedRequest) -> Mapping[str, Any]:
    return {name: getattr(request, name) for name in Logged.model_fields if name != "version"} | {
        "redacted": dict(request.redacted)
    }
